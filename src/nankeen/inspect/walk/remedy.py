"""What to do about a packet that does not arrive: a sentence, for each cause and place."""

from __future__ import annotations

from nankeen.forwarding import Answered, Cause, Dropped
from nankeen.inspect.walk.journey import Journey
from nankeen.inspect.walk.surroundings import Role, Surroundings
from nankeen.model.state import Bridge, Ipip, LinkKind, Tun, Vxlan

_AGENT = "its agent writes it: see whether that runs and what differs, with `nankeen lab status`"
_REMEDIES = {
    Cause.BLACKHOLE: "remove the route on {host}, or find out who made it: its protocol number says so",
    Cause.NOT_FORWARDING: "set {detail_name} to 1 on {host}: its agent does so when it starts",
    Cause.MARTIAN_SOURCE: "see who has the source's address: two have it, or it came to {host} by the wrong device",
    Cause.MARTIAN_DESTINATION: "the route on {host} leads to no host: ask for an address that one has",
    Cause.REVERSE_PATH: "give {host} a route back by {device}, or set rp_filter of {device} and all to 0 or 2",
    Cause.NO_SOURCE: "give {host} the address it sends from, or ask for another source",
    Cause.LINK_DOWN: "set {device} of {host} up: ip link set {device} up",
    Cause.NO_CARRIER: "plug in, or set up, what is at the other end of {device} of {host}",
    Cause.NO_LINK: "there is no {device} on {host}; " + _AGENT,
    Cause.OTHER_STATION: "the frame's hardware address is out of date: compare it with `ip link` on {host}",
    Cause.BLOCKED_PORT: "look at the port on {host}: bridge -d link show",
    Cause.FILTERED: "look for who has this rule on {host}: nft list ruleset",
    Cause.TOO_BIG: "send smaller packets, or make the MTU the same on the whole way; pods take theirs from their agent",
    Cause.NO_TUNNEL: "{host} does not take the tunnel's packets: compare VNI, port and address on both sides with "
    "`ip -d link`; its agent makes the device",
    Cause.NO_PEER: "no peer is known for it: " + _AGENT,
    Cause.LOOP: "follow the routes: two hosts send the packet to each other, or its time to live was too short",
    Cause.NOT_FOR_IP: "send it to another device",
}
_ON_POD = "the pod's own table lacks it: attach the pod anew, CNI gives it its routes"


def remedy(journey: Journey, around: Surroundings) -> str:
    """What to do, "" where the packet arrives or nothing is known of its end."""
    end = journey.end
    if not isinstance(end, Answered | Dropped):
        return ""
    text = _REMEDIES.get(end.cause) or _missing(end, journey, around)
    name = end.detail.partition(" = ")[0]
    return text.format(host=end.host, device=end.device or "its device", detail_name=name)


def _missing(end: Answered | Dropped, journey: Journey, around: Surroundings) -> str:
    """For an entry that is not there: who should have made it."""
    if around.role(end.host) is Role.POD and end.cause is Cause.NO_ROUTE:
        return _ON_POD
    link = around.world.hosts[end.host].tables.links.get(end.device)
    if end.cause is Cause.NO_FORWARDING_ENTRY and link is not None and isinstance(link.kind, Bridge):
        return "no port of {device} leads there: see whether the pod still runs and its port is up, with `bridge link`"
    if end.cause is Cause.NO_NEIGHBOUR and (link is None or not _is_tunnel(link.kind)):
        return "nobody has that address there: see whether the pod or node still runs, and has it, with `ip address`"
    if end.cause is Cause.NO_ROUTE and around.holder(journey.question.packet.ip.destination) is None:
        return "nobody here has that address; for one outside give {host} a route to it"
    what = {Cause.NO_ROUTE: "route", Cause.NO_NEIGHBOUR: "neighbour entry"}.get(end.cause, "forwarding entry")
    return f"{{host}} lacks a {what} for that peer: {_AGENT}"


def _is_tunnel(kind: LinkKind) -> bool:
    return isinstance(kind, Vxlan | Ipip | Tun)
