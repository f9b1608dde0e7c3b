"""The steps of a packet's way in words: of each, the decision that it is about, and what that means for the packet."""

from __future__ import annotations

from collections.abc import Callable

from nankeen.forwarding import Consulted, Delivered, Direction, Hop, Passage
from nankeen.forwarding.packet import Ethernet, Udp
from nankeen.inspect.walk.decision import DATA_PATH
from nankeen.inspect.walk.headers import overhead
from nankeen.inspect.walk.journey import Journey
from nankeen.inspect.walk.part import Leg, Part
from nankeen.inspect.walk.surroundings import Role, Surroundings
from nankeen.model.address import IPAddress
from nankeen.model.observed import BridgeEntry, DynamicNeighbour, OtherRoute
from nankeen.model.state import Bridge, ForwardingEntry, Link, Neighbour, Route, Tun, Vxlan
from nankeen.model.tunnel import TunnelPeer

_LEADING: dict[Part, tuple[Consulted, ...]] = {
    Part.VXLAN: (Consulted.NEIGHBOUR,),
    Part.SECOND: (Consulted.LINK,),
    Part.UDP: (Consulted.TUNNEL, Consulted.FDB),
    Part.IPIP: (Consulted.LINK,),
    Part.WIREGUARD: (Consulted.TUNNEL,),
    Part.UNDERLAY: (Consulted.NEIGHBOUR,),
    Part.BRIDGE: (Consulted.FDB, Consulted.BRIDGE),
    Part.DELIVERY: (Consulted.ROUTE, Consulted.NEIGHBOUR, Consulted.LOCAL),
}
"""What each part is about, the first that there is; the others are about routes."""
_ROUTES = (Consulted.ROUTE, Consulted.LOCAL)


def leading(leg: Leg) -> int:
    """The place of the decision that the leg is about."""
    kinds = [hop.consulted for hop in leg.hops]
    for wanted in _LEADING.get(leg.part, _ROUTES):
        if wanted in kinds:
            return kinds.index(wanted)
    return 0


def tell_leg(leg: Leg, journey: Journey, around: Surroundings) -> str:
    """What the leg means for the packet, without a full stop."""
    return _TELL[leg.part](_Telling(leg, journey, around)) + _translated(leg)


def _translated(leg: Leg) -> str:
    """What a packet filter makes of its addresses."""
    said = []
    for hop in leg.hops:
        before, after = (hop.before.ip, hop.after.ip) if hop.consulted is Consulted.NAT else (None, None)
        if before and after and before.source != after.source:
            said.append(f"its source becomes {after.source}")
        if before and after and before.destination != after.destination:
            said.append(f"its destination becomes {after.destination}")
    return "".join(f"; {each}" for each in said)


class _Telling:
    """A leg, and what its words need of the rest."""

    def __init__(self, leg: Leg, journey: Journey, around: Surroundings) -> None:
        self.leg = leg
        self.journey = journey
        self.around = around
        self.hop = leg.hops[leading(leg)]
        self.host = leg.host

    @property
    def destination(self) -> IPAddress:
        return self.hop.before.ip.destination

    def holder(self, address: IPAddress | None) -> str:
        """The device that has an address, and whose it is; "" where it is not one's alone."""
        found = self.around.holder(address) if address is not None else None
        if found is None or address is None:
            return ""
        host = self.around.world.hosts[found]
        held = host.tables.held.get(address, ()) if host.is_read else ()
        return f"{held[0].device} of {found}" if held else found

    def name(self, address: IPAddress | None) -> str:
        found = self.around.holder(address) if address is not None else None
        return f", {found}" if found else ""

    def link(self, device: str, host: str = "") -> Link | None:
        return self.around.world.hosts[host or self.host].tables.links.get(device)

    def passed(self, direction: Direction) -> Passage | None:
        """The last device that the packet passes in the leg in that direction."""
        found = [item for item in self.leg.items if isinstance(item, Passage) and item.direction is direction]
        return found[-1] if found else None


def _route(telling: _Telling) -> tuple[str, str, IPAddress | None]:
    """Destination, device and next hop of the leg's route."""
    entry = telling.hop.entry
    match entry:
        case Route():
            return str(entry.destination), entry.device, entry.gateway
        case OtherRoute(hops=(hop, *_)):
            return str(entry.destination), hop.device, hop.gateway
    return str(telling.destination), telling.hop.device, None


def _container(telling: _Telling) -> str:
    _, device, gateway = _route(telling)
    if telling.hop.consulted is Consulted.LOCAL:
        return f"{telling.destination} is the pod's own address: the packet never leaves it"
    if gateway is None:
        return f"{telling.destination} is on the pod's own network: the packet leaves by {device} straight to it"
    holder = telling.holder(gateway)
    return f"The packet leaves by {device} to the next hop {gateway}{f': {holder}' if holder else ''}"


def _host(telling: _Telling) -> str:
    destination, device, gateway = _route(telling)
    link = telling.link(device)
    if telling.hop.consulted is Consulted.LOCAL:
        return f"{telling.destination} is an address of {telling.host} itself: the packet never leaves it"
    if link is not None and isinstance(link.kind, Tun):
        return f"All of {destination} is behind {device}: {DATA_PATH} has that open, and reads the packet"
    if gateway is None:
        where = f"on {telling.host} itself, behind" if link and isinstance(link.kind, Bridge) else "on-link at"
        return f"{destination} is {where} {device}: the packet goes straight to who has its address"
    holder = telling.holder(gateway) if link is None or not isinstance(link.kind, Vxlan) else ""
    where = f"behind {device}, next hop {gateway}{f': {holder}' if holder else ''}"
    return (
        f"All that has no route of its own is {where}"
        if destination.endswith("/0")
        else f"All of {destination} is {where}"
    )


def _vxlan(telling: _Telling) -> str:
    entry = telling.hop.entry
    if isinstance(entry, Neighbour | DynamicNeighbour):
        return f"The VTEP that holds {entry.destination} has the address {entry.address}; the inner frame goes to that"
    return "The VTEP's address was asked for; the inner frame goes to who answered"


def _second(telling: _Telling) -> str:
    link = telling.link(telling.hop.device)
    vni = link.kind.vni if link is not None and isinstance(link.kind, Vxlan) else "?"
    text = f"The frame is wrapped once more, with VNI {vni}, into UDP and IP that the underlay carries"
    return text + _grown(telling, link, 14)


def _grown(telling: _Telling, link: Link | None, inner: int = 0) -> str:
    """What the wrapping costs, counted from IP packet to IP packet: an inner Ethernet header is part of the cost."""
    more = overhead(telling.hop.before, telling.hop.after) + inner
    if link is None or link.mtu is None:
        return f": {more} bytes more"
    return f": {more} bytes more, so that a packet of {link.mtu} bytes becomes one of {link.mtu + more}"


def _udp(telling: _Telling) -> str:
    entry = telling.hop.entry
    if isinstance(entry, TunnelPeer):
        wraps = next((hop for hop in telling.leg.hops if hop.consulted is Consulted.LINK), None)
        text = f"{DATA_PATH} sends the packet to {entry.node} as the payload of a datagram"
        if wraps is None:
            return text
        telling.hop = wraps
        return text + _grown(telling, telling.link(wraps.device))
    peer = entry.destination if isinstance(entry, ForwardingEntry | BridgeEntry) else None
    out = next((hop.device for hop in telling.leg.hops if hop.consulted is Consulted.ROUTE), "")
    port = next((f": UDP port {ports}" for ports in _ports(telling.leg.hops)), "")
    return f"That VTEP is at {peer}{telling.name(peer)}{port}{f', out by {out}' if out else ''}"


def _ports(hops: tuple[Hop, ...]) -> list[int]:
    """The destination ports of outer packets."""
    return [
        header.destination
        for hop in hops
        for header in hop.after.headers[:3]
        if isinstance(header, Udp) and hop.consulted in (Consulted.ROUTE, Consulted.LOCAL)
    ]


def _ipip(telling: _Telling) -> str:
    peer = telling.hop.after.ip.destination
    return f"The packet becomes the payload of another, to {peer}{telling.name(peer)}" + _grown(
        telling, telling.link(telling.hop.device)
    )


def _wireguard(telling: _Telling) -> str:
    return f"The packet is encrypted for the peer that is allowed {telling.destination}, and sent to its endpoint"


def _underlay(telling: _Telling) -> str:
    packet = telling.hop.before
    there = packet.ip.destination
    entry = telling.hop.entry
    hop = getattr(entry, "destination", None)
    where = f"{hop}{telling.name(hop)}," if hop is not None else str(there)
    as_is = " as it is: nothing is wrapped around it" if not _is_tunnelled(telling) else ""
    return f"The packet goes to {where} by {telling.hop.device}{',' * bool(as_is)}{as_is}"


def _is_tunnelled(telling: _Telling) -> bool:
    return sum(type(header).__name__ == "Ip" for header in telling.hop.before.headers) > 1


def _bridge(telling: _Telling) -> str:
    out = telling.passed(Direction.LEAVES)
    header = telling.hop.before.headers[0]
    station = f"the frame for {header.destination}" if isinstance(header, Ethernet) else "the frame"
    by = f" by {out.device}" if out else ""
    return f"{telling.hop.device} sends {station} out{by}, and no router sees it: {_handed(telling)}"


def _handed(telling: _Telling) -> str:
    end = telling.journey.end
    entered = telling.passed(Direction.ENTERS)
    if entered is not None and telling.around.role(entered.host) is Role.POD:
        return f"it comes in by {entered.device} of {entered.host}"
    return f"it is {end}" if isinstance(end, Delivered) else "it goes on"


def _decapsulation(telling: _Telling) -> str:
    inner = next((hop for hop in telling.leg.hops if len(hop.after.headers) < len(hop.before.headers)), None)
    device = inner.device if inner else "The tunnel"
    if inner is not None and isinstance(getattr(telling.link(device), "kind", None), Tun):
        return f"{DATA_PATH} there writes the payload to {device} as it is, and {_delivery(telling)}"
    return f"{device} unwraps the packet, unchanged, and {_delivery(telling)}"


def _delivery(telling: _Telling) -> str:
    end = telling.journey.end
    routed = next((hop for hop in telling.leg.hops if hop.consulted is Consulted.ROUTE), None)
    entered = telling.passed(Direction.ENTERS)
    if entered is not None and entered.host != telling.host and telling.around.role(entered.host) is Role.POD:
        by = routed.device if routed else telling.hop.device
        return f"{by} hands it to {entered.device} of {entered.host}"
    if isinstance(end, Delivered):
        return f"{end.address} is an address of {end.host} itself, which takes the packet in"
    return f"{telling.host} takes it in"


_TELL: dict[Part, Callable[[_Telling], str]] = {
    Part.CONTAINER_ROUTE: _container,
    Part.HOST_ROUTE: _host,
    Part.BRIDGE: _bridge,
    Part.VXLAN: _vxlan,
    Part.SECOND: _second,
    Part.UDP: _udp,
    Part.IPIP: _ipip,
    Part.WIREGUARD: _wireguard,
    Part.UNDERLAY: _underlay,
    Part.DECAPSULATION: _decapsulation,
    Part.DELIVERY: _delivery,
}
