"""A cluster on paper: `node1` and as many peers as a test wants, one or both families."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from nankeen.backend import Node, Underlay
from nankeen.model.address import HardwareAddress
from nankeen.model.lease import Endpoint, Lease, Reach

IPV4, IPV6 = ip_network("10.5.0.0/16"), ip_network("fc00:5::/48")


def mac(number: int, family: int = 4) -> HardwareAddress:
    return HardwareAddress(bytes([2, 0, 0, 0, family, number]))


def node(*networks: str, mtu: int = 1500, public: str = "", own: bool = True) -> Node:
    """`node1`, of these pod networks."""
    wanted = tuple(ip_network(network) for network in networks or [str(IPV4)])
    subnets = {4: ip_network("10.5.1.0/24"), 6: ip_network("fc00:5:0:1::/64")}
    return Node(
        "node1",
        Underlay("eth0", mtu, (ip_address("10.99.0.1"), ip_address("fd99::1"))),
        wanted,
        tuple(subnets[network.version] for network in wanted) if own else (),
        (ip_address(public),) if public else (),
        {"flannel.1": mac(1), "flannel-v6.1": mac(1, 6)},
    )


def endpoint(number: int, subnet: str = "", address: str = "", data: str | None = "") -> Endpoint:
    """The IPv4 part of a peer; what is left out follows from its number."""
    return Endpoint(
        ip_network(subnet or f"10.5.{number}.0/24"),
        Reach(ip_address(address or f"10.99.0.{number}"), vtep_data(mac(number)) if data == "" else data),
    )


def endpoint6(number: int, address: str = "", data: str | None = "") -> Endpoint:
    """The IPv6 part of a peer; what is left out follows from its number."""
    return Endpoint(
        ip_network(f"fc00:5:0:{number}::/64"),
        Reach(ip_address(address or f"fd99::{number}"), vtep_data(mac(number, 6)) if data == "" else data),
    )


def vtep_data(address: HardwareAddress) -> str:
    return f'{{"VNI":1,"VtepMAC":"{address}"}}'


def lease(number: int, *endpoints: Endpoint, backend: str = "vxlan") -> Lease:
    return Lease(f"node{number}", backend, endpoints or (endpoint(number),), 0.0)
