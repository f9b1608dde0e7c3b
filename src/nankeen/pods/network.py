"""The pod network as one node sees it: its pod subnets, and the bridge that they are on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from nankeen.model.address import Family, HardwareAddress, IPAddress, IPInterface, IPNetwork, family_of
from nankeen.model.state import Address, Bridge, Link, Object, State, Sysctl
from nankeen.model.tunnel import GSO_MAX_SIZE

BRIDGE = "cni0"
_PREFIX = b"\x0a\x58"
"""Locally administered; what kubenet put before a pod's IPv4 address."""


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """What the agent knows and an attachment needs."""

    subnets: tuple[IPNetwork, ...]
    """The node's pod subnets, at most one of each family, IPv4 first."""
    mtu: int
    """Of pods' interfaces, in bytes: what is left when the backend has added its headers."""
    networks: tuple[IPNetwork, ...] = ()
    """The cluster's pod networks: pods have routes to them, also where their default route leads elsewhere."""
    gso_max_size: int = GSO_MAX_SIZE
    """Of pods' interfaces, in bytes: the largest packet that they leave to others to be segmented."""


def gateway(subnet: IPNetwork) -> IPAddress:
    """The bridge's address in a pod subnet: the first after the subnet's own."""
    return subnet[1]


def interface_address(address: IPAddress, subnet: IPNetwork) -> IPInterface:
    """The address, on the network that is the subnet."""
    text = f"{address}/{subnet.prefixlen}"
    return IPv4Interface(text) if address.version == 4 else IPv6Interface(text)


def hardware_address(address: IPAddress) -> HardwareAddress:
    """The hardware address that goes with an IP address.

    Whoever is given the IP address again is found by the neighbours that still remember its last holder.
    """
    packed = address.packed if address.version == 4 else hashlib.sha256(address.packed).digest()[:4]
    return HardwareAddress(_PREFIX + packed)


def bridge_state(
    subnets: Sequence[IPNetwork], mtu: int, name: str = BRIDGE, address: HardwareAddress | None = None
) -> State:
    """The bridge that pods hang on, their gateway. `mtu` in bytes.

    Its hardware address is fixed, because a bridge without one takes that of its lowest port, and every pod would keep
    losing its gateway. `address` is one to keep where a bridge with pods stands already.
    """
    gateways = [interface_address(gateway(subnet), subnet) for subnet in subnets]
    families = {family_of(subnet) for subnet in subnets}
    objects: list[Object] = [
        Link(name, Bridge(), mtu, address or hardware_address(gateways[0].ip)),
        # Whatever the families: a pod must not be able to hand the node a router (CVE-2020-10749).
        Sysctl(f"net/ipv6/conf/{name}/accept_ra", "0"),
        *(Address(name, interface) for interface in gateways),
    ]
    if Family.IPV4 in families:
        objects.append(Sysctl("net/ipv4/ip_forward", "1"))
    if Family.IPV6 in families:
        objects += [Sysctl("net/ipv6/conf/all/forwarding", "1"), Sysctl(f"net/ipv6/conf/{name}/accept_dad", "0")]
    return State(objects)
