"""IPIP (RFC 2003): pod packets in IPv4, without any header of their own. IPv4 only, as flannel makes it.

With S a peer's subnet and X its underlay address, a peer takes one route: on this device, its gateway is the far end of
the tunnel.

    S via X dev flannel.ipip onlink

With `DirectRouting`, a peer that is on-link takes the plain route of `nankeen.backend.host_gw` instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface

from nankeen.backend import Node
from nankeen.backend.host_gw import direct_route
from nankeen.model.address import Family, HardwareAddress, family_of
from nankeen.model.errors import ConfigError
from nankeen.model.gojson import Fields
from nankeen.model.lease import Endpoint, Lease, Reach
from nankeen.model.netconf import WHERE
from nankeen.model.state import Address, Ipip, Link, Object, Route, State

NAME = "ipip"
DEVICE = "flannel.ipip"
_OVERHEAD = 20
"""Bytes added to an inner packet: the outer IPv4 header (RFC 2003 §3.1)."""


@dataclass(frozen=True, slots=True)
class IpipBackend:
    """The options, checked. See `nankeen.backend.Backend` for what the methods promise."""

    direct_routing: bool = False
    """Whether peers on the same link are reached without encapsulation."""

    @property
    def name(self) -> str:
        return NAME

    @property
    def announces(self) -> str:
        return NAME

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"ipip"})

    def devices(self, node: Node) -> frozenset[str]:
        _refuse_ipv6(node)
        return frozenset({DEVICE})

    def receives(self, node: Node) -> Mapping[str, int]:  # noqa: ARG002  (its tunnel has no port)
        return {}

    def mtu(self, node: Node) -> int:
        return node.underlay.mtu - _OVERHEAD

    def reaches(self, node: Node) -> tuple[Reach, ...]:
        _refuse_ipv6(node)
        return (Reach(node.public_address(Family.IPV4)),)

    def announced(self, lease: Lease) -> Mapping[str, HardwareAddress]:  # noqa: ARG002  (its device has no such address)
        return {}

    def state(self, node: Node, peers: Iterable[Lease]) -> State:
        own = self._tunnel(node) if node.subnets else ()
        return State([*own, *(item for lease in peers for item in self.peer(node, lease))])

    def peer(self, node: Node, lease: Lease) -> tuple[Object, ...]:
        endpoint = lease.endpoint(Family.IPV4)
        return (self._route(node, endpoint),) if endpoint is not None else ()

    def receiving(self, node: Node, lease: Lease) -> tuple[Object, ...]:  # noqa: ARG002  (nobody is kept out)
        return ()

    def _tunnel(self, node: Node) -> tuple[Object, ...]:
        """The node's own end of all tunnels."""
        return (
            Link(DEVICE, Ipip(node.local_address(Family.IPV4)), mtu=self.mtu(node)),
            *(Address(DEVICE, IPv4Interface((int(subnet.network_address), 32))) for subnet in node.subnets),
        )

    def _route(self, node: Node, endpoint: Endpoint) -> Route:
        if self.direct_routing and node.is_on_link(endpoint.reach.address):
            return direct_route(node, endpoint)
        return Route(endpoint.subnet, DEVICE, gateway=endpoint.reach.address, onlink=True)


def parse(options: Fields) -> IpipBackend:
    """The backend with these options; raises `ConfigError`."""
    return IpipBackend(direct_routing=options.boolean("DirectRouting", default=False))


def _refuse_ipv6(node: Node) -> None:
    for network in node.networks:
        if family_of(network) is not Family.IPV4:
            raise ConfigError(
                f"{NAME} carries IPv4 only, and the pod network {network} is {family_of(network)}",
                where=WHERE,
                remedy="set EnableIPv6 to false, or choose a backend for both, such as vxlan",
            )
