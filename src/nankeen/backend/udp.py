"""UDP: pod packets as the payload of UDP datagrams, without a header of their own, as flannel's udp backend sends them.

With N the pod network, B the base address of the node's own subnet, S a peer's subnet and X its underlay address:

    N dev flannel0 scope link           all pods are behind a TUN device,
    udp flannel0 S to X:8285            which a process of the node's reads, and knows which peer has which

A packet to a subnet that no peer has goes to that process, too, which answers for it. One device carries both families;
its packets travel in their own. The device outlives the process, and the process the agent.

Different from flannel on purpose: there is IPv6, and packets of no peer are dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from nankeen.backend import Node
from nankeen.model.address import Family, HardwareAddress, IPAddress, IPInterface, IPNetwork, family_of
from nankeen.model.errors import ConfigError, InputError
from nankeen.model.gojson import Fields
from nankeen.model.lease import Endpoint, Lease, Reach
from nankeen.model.state import Address, Link, Object, Route, State, Sysctl, Tun
from nankeen.model.tunnel import TunnelPeer, TunnelSocket

NAME = "udp"
DEVICE = "flannel0"
DEFAULT_PORT = 8285

_OVERHEAD = {Family.IPV4: 28, Family.IPV6: 48}
"""Bytes added to an inner packet: outer IP 20 or 40, UDP 8."""
_SMALLEST_MTU = {Family.IPV4: 68, Family.IPV6: 1280}
"""What each link must carry (RFC 791 §3.2, RFC 8200 §5)."""
_ERRORS_ARRIVE = "1"
"""Of accept_local (Documentation/networking/ip-sysctl.rst): what the process tells senders comes out of the device from
the node's own address, and would be dropped.
"""
_NO_LINK_LOCAL = "1"
"""IN6_ADDR_GEN_MODE_NONE (linux/if_link.h): nobody behind the device is a neighbour."""


@dataclass(frozen=True, slots=True)
class UdpBackend:
    """The options, checked. See `nankeen.backend.Backend` for what the methods promise."""

    port: int = DEFAULT_PORT
    """UDP port, the same on all nodes: leases do not tell it."""

    @property
    def name(self) -> str:
        return NAME

    @property
    def announces(self) -> str:
        return ""  # as flannel

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"tun"})

    def devices(self, node: Node) -> frozenset[str]:  # noqa: ARG002  (the same on every one)
        return frozenset({DEVICE})

    def receives(self, node: Node) -> Mapping[str, int]:  # noqa: ARG002  (as above)
        return {DEVICE: self.port}

    def mtu(self, node: Node) -> int:
        return min(_inner_mtu(node, family) for family in node.families)

    def reaches(self, node: Node) -> tuple[Reach, ...]:
        return tuple(Reach(node.public_address(family)) for family in node.families)

    def announced(self, lease: Lease) -> Mapping[str, HardwareAddress]:  # noqa: ARG002  (its device has no such address)
        return {}

    def state(self, node: Node, peers: Iterable[Lease]) -> State:
        own = self._tunnel(node) if node.subnets else ()
        return State([*own, *(item for lease in peers for item in self.peer(node, lease))])

    def peer(self, node: Node, lease: Lease) -> tuple[Object, ...]:
        families = node.families
        return tuple(self._peer(lease.node, endpoint) for endpoint in lease.endpoints if endpoint.family in families)

    def receiving(self, node: Node, lease: Lease) -> tuple[Object, ...]:
        """Whatever backends the peer's lease names, its address is all there is to know."""
        try:
            return self.peer(node, lease)
        except InputError:
            return ()

    def _tunnel(self, node: Node) -> Iterator[Object]:
        """The node's own end: the device, and what its process binds to."""
        yield Link(DEVICE, Tun(), mtu=self.mtu(node))
        yield Sysctl(f"net/ipv4/conf/{DEVICE}/accept_local", _ERRORS_ARRIVE)
        yield Sysctl(f"net/ipv6/conf/{DEVICE}/accept_ra", "0")
        yield Sysctl(f"net/ipv6/conf/{DEVICE}/addr_gen_mode", _NO_LINK_LOCAL)
        for subnet in node.subnets:
            yield Address(DEVICE, _alone(subnet))
            yield TunnelSocket(DEVICE, _local(node, family_of(subnet)), self.port, subnet)
        leased = {family_of(subnet) for subnet in node.subnets}
        for network in node.networks:
            if family_of(network) in leased:
                yield Route(network, DEVICE)

    def _peer(self, name: str, endpoint: Endpoint) -> TunnelPeer:
        address = endpoint.reach.address
        if address.is_link_local:
            raise InputError(f"its address {address} is link-local, and datagrams are sent to none such")
        return TunnelPeer(DEVICE, endpoint.subnet, address, self.port, name)


def parse(options: Fields) -> UdpBackend:
    """The backend with these options; raises `ConfigError`."""
    return UdpBackend(port=options.integer("Port", 0, 0, 65_535) or DEFAULT_PORT)


def _inner_mtu(node: Node, family: Family) -> int:
    outer = node.underlay.mtu
    inner = outer - _OVERHEAD[family]
    if inner < _SMALLEST_MTU[family]:
        raise ConfigError(
            f"an outer MTU of {outer} leaves pods {inner} bytes, and {family} needs {_SMALLEST_MTU[family]}",
            where=node.underlay.device,
            remedy="raise the interface's MTU",
        )
    return inner


def _local(node: Node, family: Family) -> IPAddress:
    address = node.local_address(family)
    if address.is_link_local:
        raise ConfigError(
            f"its {family} address {address} is link-local, and datagrams are sent from none such",
            where=node.underlay.device,
            remedy="give the interface another address, or choose another backend",
        )
    return address


def _alone(subnet: IPNetwork) -> IPInterface:
    """The subnet's base address as a network of its own: /32 or /128."""
    if subnet.version == 4:
        return IPv4Interface((subnet.network_address, 32))
    return IPv6Interface((subnet.network_address, 128))
