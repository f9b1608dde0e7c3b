"""A decision on the packet's way: the command that a person would ask with, and the line it shows."""

from __future__ import annotations

from dataclasses import dataclass

from nankeen.forwarding import Answered, Cause, Consulted, Dropped, End, Hop, Walk
from nankeen.inspect.walk.surroundings import Surroundings
from nankeen.model.observed import BridgeEntry, OtherRoute
from nankeen.model.state import MAIN_TABLE, Bridge, Route
from nankeen.model.tunnel import TunnelPeer, TunnelSocket

DATA_PATH = "nankeen.tunnel"
"""The process that has the udp backend's device open."""
_LOCAL_TABLE = 255


@dataclass(frozen=True, slots=True)
class Decision:
    """A table that was asked, and its answer."""

    host: str
    command: str
    line: str
    """The table's own line; "" where it has none, which is why the packet goes no further."""

    @classmethod
    def of(cls, hop: Hop, around: Surroundings | None = None) -> Decision:
        """`around` tells what the device is, which an entry that is not there does not."""
        command = command_of(hop)
        if around is not None and hop.consulted is Consulted.FDB and _is_bridge(hop, around):
            command = f"bridge fdb show br {hop.device}"
        table = command.partition(" show table ")[2]
        return cls(hop.host, command, hop.line.replace(f" table {table}", "", 1) if table else hop.line)


def command_of(hop: Hop) -> str:
    """The command that shows the line, as narrow as it can be."""
    version = hop.before.ip.version if _is_ip(hop) else 4
    ip = "ip" if version == 4 else "ip -6"
    match hop.consulted:
        case Consulted.ROUTE | Consulted.LOCAL:
            return f"{ip} route{_table(hop)}"
        case Consulted.RULE:
            return f"{ip} rule"
        case Consulted.NEIGHBOUR:
            return f"{ip} neigh show dev {hop.device}"
        case Consulted.FDB:
            is_bridge = isinstance(hop.entry, BridgeEntry) and hop.entry.bridge
            return f"bridge fdb show {'br' if is_bridge else 'dev'} {hop.device}"
        case Consulted.BRIDGE:
            return f"bridge -d link show dev {getattr(hop.entry, 'device', hop.device)}"
        case Consulted.LINK:
            return f"ip -d link show {hop.device}"
        case Consulted.TUNNEL:
            ours = isinstance(hop.entry, TunnelPeer | TunnelSocket) or not hop.entry
            return f"{DATA_PATH}: its peers" if ours else f"wg show {hop.device}"
        case Consulted.NAT if str(hop.entry).startswith("conntrack"):
            return "conntrack -L"
        case Consulted.SETTING:
            return "sysctl " + hop.line.partition(" = ")[0]
    return hop.consulted.command


def _is_bridge(hop: Hop, around: Surroundings) -> bool:
    link = around.world.hosts[hop.host].tables.links.get(hop.device)
    return link is not None and isinstance(link.kind, Bridge)


def _is_ip(hop: Hop) -> bool:
    try:
        return bool(hop.before.ip)
    except TypeError:
        return False


def _table(hop: Hop) -> str:
    table = hop.entry.table if isinstance(hop.entry, Route | OtherRoute) else MAIN_TABLE
    if table == MAIN_TABLE and hop.consulted is Consulted.ROUTE:
        return ""
    return f" show table {'local' if table in (_LOCAL_TABLE, MAIN_TABLE) else table}"


_ASKED = {
    Cause.NO_ROUTE: Consulted.ROUTE,
    Cause.BLACKHOLE: Consulted.ROUTE,
    Cause.NOT_FORWARDING: Consulted.SETTING,
    Cause.MARTIAN_SOURCE: Consulted.ROUTE,
    Cause.MARTIAN_DESTINATION: Consulted.ROUTE,
    Cause.REVERSE_PATH: Consulted.ROUTE,
    Cause.NO_SOURCE: Consulted.LOCAL,
    Cause.NO_NEIGHBOUR: Consulted.NEIGHBOUR,
    Cause.NO_FORWARDING_ENTRY: Consulted.FDB,
    Cause.BLOCKED_PORT: Consulted.BRIDGE,
    Cause.NO_TUNNEL: Consulted.LINK,
    Cause.NO_PEER: Consulted.TUNNEL,
}
"""What was asked in vain, where a packet ends so."""
_LINES = frozenset({Cause.BLACKHOLE, Cause.NOT_FORWARDING, Cause.MARTIAN_DESTINATION, Cause.BLOCKED_PORT})
"""Where the detail is the line that says so."""
_MARKED = frozenset({Cause.MARTIAN_SOURCE, Cause.REVERSE_PATH})
"""Where the line follows the cause in it."""
_LINKS = frozenset({Cause.TOO_BIG, Cause.LINK_DOWN, Cause.NO_CARRIER, Cause.OTHER_STATION, Cause.NO_LINK})
"""Where the device's own line says so."""


def ending(walk: Walk, around: Surroundings) -> Hop | None:
    """The decision that a packet which does not arrive ends with; None where it is the last of its hops, or none is
    known.
    """
    end = walk.end
    if isinstance(end, Answered | Dropped):
        if end.cause is Cause.FILTERED:
            return None
        asked = Consulted.LINK if end.cause in _LINKS else _ASKED.get(end.cause)
        if asked is not None:
            return Hop(end.host, end.device, asked, _entry(end, around), walk.last, walk.last)
    return None


def _entry(end: Answered | Dropped, around: Surroundings) -> object:
    if end.cause in _LINES:
        return end.detail
    if end.cause in _MARKED:
        return end.detail.removeprefix(f"{end.cause.value}: ")
    if end.cause in _LINKS:
        return around.world.hosts[end.host].tables.links.get(end.device, "")
    is_route = end.cause is Cause.NO_ROUTE and not end.detail.startswith("no route")
    return end.detail if is_route else ""


def told(end: End) -> str:
    """Where and why a packet ends, in a sentence without its full stop."""
    if not isinstance(end, Answered | Dropped) or end.cause not in _LINES | {Cause.FILTERED}:
        return str(end)
    who, _, _ = str(end).partition(f": {end.detail}")
    return f"{who}: {end.cause.value}: {end.detail}"
