"""Host gateway: each peer's node is the gateway to its pods, as a router would be. Nothing is encapsulated.

With S a peer's subnet and X its underlay address, a peer takes one route for each family:

    S via X dev eth0 proto 110

All nodes must be on one link: a router between two of them knows nothing of pods. The number tells our routes by the
underlay from anybody else's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nankeen.backend import Node
from nankeen.model.address import Family, HardwareAddress, IPAddress
from nankeen.model.errors import ConfigError, InputError
from nankeen.model.gojson import Fields
from nankeen.model.lease import Endpoint, Lease, Reach
from nankeen.model.state import PROTOCOL_NANKEEN, Object, Route, State

NAME = "host-gw"


@dataclass(frozen=True, slots=True)
class HostGatewayBackend:
    """It has no options. See `nankeen.backend.Backend` for what the methods promise."""

    @property
    def name(self) -> str:
        return NAME

    @property
    def announces(self) -> str:
        return NAME

    @property
    def needs(self) -> frozenset[str]:
        return frozenset()

    def devices(self, node: Node) -> frozenset[str]:  # noqa: ARG002  (it makes none)
        return frozenset()

    def receives(self, node: Node) -> Mapping[str, int]:  # noqa: ARG002  (it has no tunnel)
        return {}

    def mtu(self, node: Node) -> int:
        return node.underlay.mtu

    def reaches(self, node: Node) -> tuple[Reach, ...]:
        return tuple(Reach(_gateway(node, family)) for family in node.families)

    def announced(self, lease: Lease) -> Mapping[str, HardwareAddress]:  # noqa: ARG002  (it has no devices)
        return {}

    def state(self, node: Node, peers: Iterable[Lease]) -> State:
        return State(item for lease in peers for item in self.peer(node, lease))

    def peer(self, node: Node, lease: Lease) -> tuple[Object, ...]:
        families = node.families
        return tuple(direct_route(node, endpoint) for endpoint in lease.endpoints if endpoint.family in families)

    def receiving(self, node: Node, lease: Lease) -> tuple[Object, ...]:  # noqa: ARG002  (nobody is kept out)
        return ()


def parse(options: Fields) -> HostGatewayBackend:  # noqa: ARG001  (flannel's are for Windows)
    """The backend; it takes whatever options are written."""
    return HostGatewayBackend()


def direct_route(node: Node, endpoint: Endpoint) -> Route:
    """The way to a peer's pods without encapsulation; raises `InputError` where the peer is not on-link."""
    address, device = endpoint.reach.address, node.underlay.device
    if not node.is_on_link(address):
        raise InputError(f"{address} is not on-link: {_way(node, address)}")
    return Route(endpoint.subnet, device, gateway=address, protocol=PROTOCOL_NANKEEN)


def _way(node: Node, address: IPAddress) -> str:
    """How an address that is not on-link is reached, in words."""
    hop = node.routes.next_hop(address)
    if hop is None:
        return "there is no route to it"
    if hop.gateway is not None:
        return f"the route to it leads via {hop.gateway}"
    return f"it is at {hop.device}, and not at {node.underlay.device}"


def _gateway(node: Node, family: Family) -> IPAddress:
    """The address that peers route by. A public one is of no use to them: no packet to a pod would arrive there."""
    public, own = node.public_address(family), node.local_address(family)
    if public != own:
        raise ConfigError(
            f"{NAME} cannot be reached at {public}, which is not the interface's own address {own}",
            where=node.underlay.device,
            remedy="advertise the interface's own address, or choose a backend with a tunnel, such as vxlan",
        )
    return public
