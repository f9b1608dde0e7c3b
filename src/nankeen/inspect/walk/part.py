"""The parts of a packet's way, in the order in which it is taught: each a few decisions, and the devices between them.

From pod to pod over VXLAN they are six: container route, host route, VXLAN encapsulation, second encapsulation, UDP to
the peer, decapsulation and delivery. The kernel looks for the peer's address before it wraps the frame for it; here the
headers come first, and then where they lead, because the one is easier understood with the other before one's eyes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from nankeen.forwarding import Consulted, Direction, Hop, Packet, Passage, Walk
from nankeen.forwarding.packet import Ip
from nankeen.inspect.walk.surroundings import Role, Surroundings
from nankeen.model.observed import BridgeEntry
from nankeen.model.state import Bridge, ForwardingEntry, Ipip, LinkKind, Tun, Vxlan
from nankeen.model.tunnel import TunnelPeer

Item = Hop | Passage


class Part(Enum):
    """What a step of the way is about, as its title says it."""

    CONTAINER_ROUTE = "Container route"
    HOST_ROUTE = "Host route"
    BRIDGE = "Bridge"
    VXLAN = "VXLAN encapsulation"
    SECOND = "Second encapsulation"
    UDP = "UDP to the peer"
    IPIP = "IPIP encapsulation"
    WIREGUARD = "WireGuard encapsulation"
    UNDERLAY = "To the peer"
    DECAPSULATION = "Decapsulation and delivery"
    DELIVERY = "Delivery"


@dataclass(frozen=True, slots=True)
class Leg:
    """One part of the way, with all that happens there."""

    part: Part
    items: tuple[Item, ...]

    @property
    def hops(self) -> tuple[Hop, ...]:
        return tuple(item for item in self.items if isinstance(item, Hop))

    @property
    def host(self) -> str:
        """Where it is decided; for a delivery by another host, that one."""
        return self.hops[0].host


def legs(walk: Walk, around: Surroundings, ending: Hop | None = None) -> tuple[Leg, ...]:
    """The way in parts. `ending` is the decision that a lost packet ends with, where it is none of the walk's hops."""
    course = [*_taught(walk.course), *([ending] if ending else [])]
    reader = _Reader(around, course)
    found: list[tuple[Part, list[Item]]] = []
    for place, item in enumerate(course):
        if isinstance(item, Hop):
            part = reader.part(place, item, found[-1][0] if found else None)
            if not found or found[-1][0] is not part:
                found.append((part, []))
        if found:
            found[-1][1].append(item)
    return tuple(Leg(part, tuple(items)) for part, items in found)


def _taught(course: Sequence[Item]) -> list[Item]:
    """The order of the lesson: a VXLAN device first, then its forwarding entry."""
    found = list(course)
    for place, (item, following) in enumerate(pairwise(course)):
        if isinstance(item, Hop) and isinstance(following, Hop) and _leads_to_peer(item) and _wraps(following):
            found[place], found[place + 1] = following, item
    return found


def depth(packet: Packet) -> int:
    """How many IP packets are in one another."""
    return sum(isinstance(header, Ip) for header in packet.headers)


def _wraps(hop: Hop) -> bool:
    return depth(hop.after) > depth(hop.before)


def _leads_to_peer(hop: Hop) -> bool:
    """Whether it is a VXLAN device's forwarding entry, and not a bridge's."""
    if hop.consulted is not Consulted.FDB:
        return False
    return isinstance(hop.entry, ForwardingEntry) or (isinstance(hop.entry, BridgeEntry) and not hop.entry.bridge)


class _Reader:
    """Reads the course, one decision after the other."""

    def __init__(self, around: Surroundings, course: Sequence[Item]) -> None:
        self._around = around
        self._course = course
        self._source = course[0].host if course else ""
        self._through: LinkKind | None = None
        """The tunnel that the packet is in."""

    def part(self, place: int, hop: Hop, current: Part | None) -> Part:
        kind = self._kind(hop)
        if _wraps(hop):
            self._through = kind
            return _wrapping(kind)
        if depth(hop.after) < depth(hop.before):
            return Part.DECAPSULATION
        if depth(hop.before) > 1:
            return self._underway(hop, current)
        if self._is_tunnels(hop, kind):
            return self._entering(hop, kind)
        return self._plain(place, hop, current)

    def _kind(self, hop: Hop) -> LinkKind | None:
        link = self._around.world.hosts[hop.host].tables.links.get(hop.device)
        return link.kind if link else None

    def _underway(self, hop: Hop, current: Part | None) -> Part:
        """The tunnel's own packet."""
        arrives = hop.consulted is Consulted.LOCAL
        if current is Part.DECAPSULATION or arrives:
            return Part.DECAPSULATION
        return Part.UDP if isinstance(self._through, Vxlan | Tun) else Part.UNDERLAY

    def _is_tunnels(self, hop: Hop, kind: LinkKind | None) -> bool:
        if hop.consulted is Consulted.TUNNEL or _leads_to_peer(hop):
            return True
        missing = hop.consulted in (Consulted.NEIGHBOUR, Consulted.FDB)
        return missing and isinstance(kind, Vxlan)

    def _entering(self, hop: Hop, kind: LinkKind | None) -> Part:
        if hop.consulted is Consulted.TUNNEL:
            return Part.UDP if isinstance(hop.entry, TunnelPeer) or isinstance(kind, Tun) else Part.WIREGUARD
        return Part.VXLAN if hop.consulted is Consulted.NEIGHBOUR else Part.UDP

    def _plain(self, place: int, hop: Hop, current: Part | None) -> Part:
        role = self._around.role(hop.host)
        match current:
            case None:
                return Part.CONTAINER_ROUTE if role is Role.POD else Part.HOST_ROUTE
            case Part.CONTAINER_ROUTE:
                return self._after_container(hop)
            case Part.HOST_ROUTE:
                return self._after_host(place, hop)
            case Part.UNDERLAY if role in (Role.SWITCH, Role.ROUTER) or hop.consulted is Consulted.NEIGHBOUR:
                return Part.UNDERLAY
            case Part.DECAPSULATION | Part.DELIVERY | Part.BRIDGE:
                is_next = hop.consulted is Consulted.NEIGHBOUR and self._leaves_for_underlay(place, hop)
                return Part.UNDERLAY if is_next else current
        return Part.DELIVERY

    def _after_container(self, hop: Hop) -> Part:
        if hop.host == self._source:
            return Part.CONTAINER_ROUTE
        if hop.consulted in (Consulted.FDB, Consulted.BRIDGE):
            is_for_host = isinstance(hop.entry, BridgeEntry) and (hop.entry.local or hop.entry.device == hop.device)
            return Part.CONTAINER_ROUTE if is_for_host else Part.BRIDGE
        is_node = self._around.role(hop.host) is not Role.POD and hop.consulted is not Consulted.LOCAL
        return Part.HOST_ROUTE if is_node else Part.DELIVERY

    def _after_host(self, place: int, hop: Hop) -> Part:
        if hop.consulted in (Consulted.ROUTE, Consulted.RULE, Consulted.FILTER, Consulted.NAT, Consulted.SETTING):
            return Part.HOST_ROUTE if self._around.role(hop.host) is Role.NODE else Part.DELIVERY
        if hop.consulted is Consulted.LINK:
            return Part.HOST_ROUTE
        is_underlay = hop.consulted is Consulted.NEIGHBOUR and self._leaves_for_underlay(place, hop)
        return Part.UNDERLAY if is_underlay else Part.DELIVERY

    def _leaves_for_underlay(self, place: int, hop: Hop) -> bool:
        """Whether it goes on to another node, a router or a switch. Where it goes nowhere, the device tells."""
        entered = _next_host(self._course[place:], hop.host)
        if entered is None:
            return not isinstance(self._kind(hop), Bridge)
        return self._around.role(entered) is not Role.POD


def _next_host(rest: Iterable[Item], host: str) -> str | None:
    """Who takes the packet in next."""
    entered = (each for each in rest if isinstance(each, Passage) and each.direction is Direction.ENTERS)
    return next((each.host for each in entered if each.host != host), None)


def _wrapping(kind: LinkKind | None) -> Part:
    match kind:
        case Vxlan():
            return Part.SECOND
        case Tun():
            return Part.UDP
        case Ipip():
            return Part.IPIP
    return Part.WIREGUARD
