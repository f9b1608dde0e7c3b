"""Routing: which route a packet takes, by rules and tables (ip-rule(8)), and what source address it gets.

fib_lookup and fib_table_lookup of net/ipv4, fib6_rule_lookup and rt6_select of net/ipv6: rules by priority, in a table
the longest prefix, of one prefix the lowest metric whose device is up. A type that is an error ends the search; `throw`
goes on with the next rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple

from nankeen.forwarding.tables import LOCAL_TABLE, Entry, Tables, Unpredictable
from nankeen.model.address import IPAddress
from nankeen.model.observed import NextHop, OtherRoute, RouteType, RoutingRule
from nankeen.model.state import Address, AddressFlag, Route

_OWN = frozenset({RouteType.LOCAL, RouteType.BROADCAST, RouteType.ANYCAST})
_ERRORS = frozenset({RouteType.BLACKHOLE, RouteType.UNREACHABLE, RouteType.PROHIBIT})


@dataclass(frozen=True, slots=True)
class Decision:
    """What the tables say of a destination."""

    type: RouteType
    device: str
    """"" for a type that is an error."""
    gateway: IPAddress | None
    source: IPAddress | None
    """What the route prefers packets of the host itself to carry."""
    shown: Route | OtherRoute | RoutingRule | str
    """The line that decided."""
    is_local: bool = False
    """Whether the packet is for the host itself."""


class Query(NamedTuple):
    """What is asked of the tables, besides the destination."""

    source: IPAddress | None = None
    iif: str = "lo"
    """What the packet came in by; `lo` for one of the host itself."""
    oif: str = ""
    """The only device that will do; "" for any."""
    mark: int = 0


ANY = Query()
EVERYBODY = IPv4Address("255.255.255.255")
"""On this link (RFC 919 §7)."""


def is_broadcast(destination: IPAddress, decision: Decision) -> bool:
    """Whether a packet to there is for all on the link."""
    return decision.type is RouteType.BROADCAST or destination == EVERYBODY


def lookup(tables: Tables, destination: IPAddress, query: Query = ANY) -> Decision | None:
    """The route to the destination; None where there is none. Raises `Unpredictable`."""
    version = destination.version
    # Where rules are the kernel's own, nothing but the destination and the device counts.
    key = (destination, query) if tables.has_own_rules[version] else (destination, query.oif)
    found = tables.remembered.get(key)
    if found is None:
        found = _lookup(tables, destination, query) or False
        tables.remember(key, found)
    return found or None  # type: ignore[return-value]  # only decisions are remembered under such keys


def lookup_own(
    tables: Tables, destination: IPAddress, given: IPAddress | None, oif: str, mark: int
) -> tuple[Decision | None, IPAddress | None]:
    """The route of a packet of the host itself, and the source that is certain by now. In IPv6, a packet that finds no
    route without a source is given one, and looked at again with it (ip6_dst_lookup_tail). Raises `Unpredictable`.
    """
    found = lookup(tables, destination, Query(given, "lo", oif, mark))
    if given is not None or destination.version == 4 or (found is not None and found.device):
        return found, given
    source = _select6(tables, "", destination)
    return (lookup(tables, destination, Query(source, "lo", oif, mark)) if source is not None else found), source


def _lookup(tables: Tables, destination: IPAddress, query: Query) -> Decision | None:
    for rule in tables.rules[destination.version]:
        if not _matches(rule, destination, query):
            continue
        if not rule.table:
            return Decision(rule.action, "", None, None, rule)
        found = _in_table(tables, destination, rule, query)
        if found is not None:
            return found if found.type is not RouteType.THROW else None
    return None


def _matches(rule: RoutingRule, destination: IPAddress, query: Query) -> bool:
    known = (
        (rule.source is None or (query.source is not None and query.source in rule.source))
        and (rule.destination is None or destination in rule.destination)
        and rule.iif in ("", query.iif)
        and rule.oif in ("", query.oif)
        and query.mark & rule.mask == rule.mark & rule.mask
    )
    if rule.other and (known or rule.invert):
        raise Unpredictable(f"whether the rule matches depends on {' '.join(rule.other)}: {rule}")
    return known is not rule.invert


def _in_table(tables: Tables, destination: IPAddress, rule: RoutingRule, query: Query) -> Decision | None:
    """What the rule's table has; None where the search goes on with the next rule."""
    prefixes = tables.routes.get((destination.version, rule.table))
    for entries in prefixes.matches(destination) if prefixes else ():
        for entry in entries:
            found = _decide(tables, entry, query.oif)
            if found is None:
                continue
            if found.type is RouteType.THROW or entry.length <= rule.suppress:
                return None
            return found
    return None


def _decide(tables: Tables, entry: Entry, oif: str) -> Decision | None:
    """The route as a decision; None where it cannot be taken now."""
    if entry.tos:
        return None  # packets that carry no type of service are all that is asked about
    if entry.type in _ERRORS or entry.type is RouteType.THROW:
        return Decision(entry.type, "", None, None, entry.shown)
    stays = entry.type is RouteType.LOCAL  # a host has its addresses also while their devices are down
    hops = [hop for hop in entry.hops if (stays or _is_alive(tables, hop)) and oif in ("", hop.device)]
    if not hops:
        return None
    if len(hops) > 1 or not hops[0].device:
        raise Unpredictable(f"the kernel chooses one of several next hops: {entry.shown}")
    hop = hops[0]
    return Decision(entry.type, hop.device, hop.gateway, entry.source, entry.shown, entry.type in _OWN)


def _is_alive(tables: Tables, hop: NextHop) -> bool:
    if not hop.device:
        return True
    link = tables.links.get(hop.device)
    if link is None or not link.up or hop.dead:
        return False
    if link.carrier is not False:
        return True
    names = (f"net/ipv{version}/conf/{hop.device}/ignore_routes_with_linkdown" for version in (4, 6))
    return all(tables.settings.get(name, "0") == "0" for name in names)


def is_local(tables: Tables, address: IPAddress) -> bool:
    """Whether packets to the address are delivered on the host, whatever rules say."""
    table = tables.routes.get((address.version, LOCAL_TABLE))
    entry = table.longest(address) if table else None
    return entry is not None and entry.type is RouteType.LOCAL


def source_for(tables: Tables, destination: IPAddress, decision: Decision) -> IPAddress | None:
    """The source address of a packet that the host itself sends without one; None where it has none to give."""
    if decision.source is not None:
        return decision.source
    if decision.type is RouteType.LOCAL:
        return destination
    if destination.version == 4:
        return _select4(tables, decision.device, decision.gateway)
    return _select6(tables, decision.device, destination)


def error_source(tables: Tables, source: IPAddress, destination: IPAddress, inbound: str) -> IPAddress | None:
    """What an error about a packet with those addresses is sent from: what it was sent to, if that is the host itself,
    and in IPv6 what the device that it came in by suggests (icmp_send, icmp6_send). None where its own route decides.
    """
    if is_local(tables, destination):
        return destination
    return _select6(tables, inbound, source) if inbound and source.version == 6 else None


def select_source(tables: Tables, device: str, destination: IPAddress) -> IPAddress | None:
    """An address of the host to ask for a neighbour with: one on the device, of the destination's network if there is
    one.
    """
    return _select4(tables, device, destination) if destination.version == 4 else _link_local(tables, device)


def _select4(tables: Tables, device: str, near: IPAddress | None) -> IPAddress | None:
    """inet_select_addr of net/ipv4/devinet.c."""
    own = [address.interface for address in tables.addresses.get(device, ()) if address.interface.version == 4]
    for interface in own:
        if near is not None and near in interface.network:
            return interface.ip
    if own:
        return own[0].ip
    for address in tables.state.of(Address):
        if address.interface.version == 4 and not address.interface.ip.is_loopback:
            return address.interface.ip
    return None


def _select6(tables: Tables, device: str, destination: IPAddress) -> IPAddress | None:
    """RFC 6724 §5, rules 1, 2, 3, 5 and 8: labels and privacy addresses play no part between pods."""
    wanted = scope(destination)

    def preference(address: Address) -> tuple[bool, bool, int, bool, bool, int]:
        own = address.interface.ip
        enough = scope(own) >= wanted
        deprecated = bool((address.flags or AddressFlag(0)) & AddressFlag.DEPRECATED)
        common = min(128 - (int(own) ^ int(destination)).bit_length(), address.interface.network.prefixlen)
        nearness = -scope(own) if enough else scope(own)
        return own == destination, enough, nearness, not deprecated, address.device == device, common

    usable = [
        address
        for address in tables.state.of(Address)
        if address.interface.version == 6
        and not (address.flags or AddressFlag(0)) & AddressFlag.DADFAILED
        and (address.device == device or scope(address.interface.ip) > _LINK_SCOPE)
        and not address.interface.ip.is_loopback
    ]
    return max(usable, key=preference).interface.ip if usable else None


_LINK_SCOPE, _GLOBAL_SCOPE = 2, 14


def scope(address: IPAddress) -> int:
    """RFC 4291 §2.7; unique local addresses are of global scope (RFC 4193)."""
    return _LINK_SCOPE if address.is_link_local or address.is_loopback else _GLOBAL_SCOPE


def _link_local(tables: Tables, device: str) -> IPAddress | None:
    own = (address.interface.ip for address in tables.addresses.get(device, ()) if address.interface.version == 6)
    return next((address for address in own if address.is_link_local), None)
