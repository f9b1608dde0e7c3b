"""States written as the lines that `ip`, `bridge` and `sysctl` print, as far as these tests need it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_interface, ip_network

from nankeen.forwarding import Host
from nankeen.forwarding.derived import completed
from nankeen.forwarding.ruleset import NO_RULES, Ruleset
from nankeen.model.address import Family, HardwareAddress
from nankeen.model.observed import NextHop, OtherRoute, RouteType, RoutingRule
from nankeen.model.state import (
    Address,
    Bridge,
    Device,
    ForwardingEntry,
    Ipip,
    Link,
    LinkKind,
    Neighbour,
    Object,
    Route,
    State,
    Sysctl,
    Veth,
    Vxlan,
)

_KINDS = {"physical", "bridge", "veth", "vxlan", "ipip", "wireguard"}
_TYPES = {kind.name.lower() for kind in RouteType}


def host(name: str, text: str, ruleset: Ruleset = NO_RULES) -> Host:
    """A host with these lines, and what its kernel has besides."""
    return Host(name, completed(state(text)), ruleset)


def state(text: str) -> State:
    return State([item for line in text.split("\n") if line for item in _objects(line.split())])


def _objects(words: list[str]) -> Iterator[Object]:
    after = {word: words[place + 1] for place, word in enumerate(words[:-1])}
    if words[0].endswith(":") and words[0][:-1].isdigit():
        yield _rule(words, after)
    elif words[0].endswith(":") and words[1] in _KINDS:
        yield _link(words, after)
    elif words[0].startswith("inet"):
        yield Address(after["dev"], ip_interface(words[1]))
    elif "=" in words:
        yield Sysctl(words[0].replace(".", "/"), words[2])
    elif "lladdr" in words:
        yield Neighbour(after["dev"], ip_address(words[0]), HardwareAddress.parse(after["lladdr"]))
    elif "self" in words:
        yield ForwardingEntry(after["dev"], HardwareAddress.parse(words[0]), ip_address(after["dst"]))
    else:
        yield _route(words, after)


def _link(words: list[str], after: dict[str, str]) -> Link:
    kinds: dict[str, LinkKind] = {
        "bridge": Bridge(),
        "veth": Veth(),
        "physical": Device(""),
        "wireguard": Device("wireguard"),
    }
    if words[1] == "vxlan":
        kinds["vxlan"] = Vxlan(int(after["id"]), None, ip_address(after["local"]), learning="learning" in words)
    if words[1] == "ipip":
        kinds["ipip"] = Ipip(ip_address(after["local"]))
    address = HardwareAddress.parse(after["address"]) if "address" in after else None
    mtu = int(after.get("mtu", "1500"))
    return Link(words[0][:-1], kinds[words[1]], mtu, address, "down" not in words, after.get("master", ""))


def _route(words: list[str], after: dict[str, str]) -> Route | OtherRoute:
    kind, rest = (words[0], words[1:]) if words[0] in _TYPES else ("unicast", words)
    six = ":" in after.get("via", "")
    network = ip_network(("::/0" if six else "0.0.0.0/0") if rest[0] == "default" else rest[0])
    table, metric = int(after.get("table", "254")), int(after["metric"]) if "metric" in after else None
    if kind != "unicast":
        return OtherRoute(RouteType[kind.upper()], network, (), metric or 0, table)
    hops = [
        NextHop(rest[place + 4], ip_address(rest[place + 2]))
        for place, word in enumerate(rest) if word == "nexthop"
    ]  # fmt: skip
    if hops:
        return OtherRoute(RouteType.UNICAST, network, tuple(hops), metric or 0, table)
    gateway = next(
        (ip_address(after[word]) for word in ("inet6", "via") if word in after and after[word] != "inet6"), None
    )
    source = ip_address(after["src"]) if "src" in after else None
    return Route(network, after["dev"], gateway, "onlink" in words, metric, table, source=source)


def _rule(words: list[str], after: dict[str, str]) -> RoutingRule:
    source = None if after["from"] == "all" else ip_network(after["from"])
    six = (source is not None and source.version == 6) or "ipv6" in words
    tables = {"local": 255, "main": 254}
    table = after.get("lookup", "0")
    return RoutingRule(
        Family.IPV6 if six else Family.IPV4,
        int(words[0][:-1]),
        tables.get(table) or int(table),
        RouteType[words[-1].upper()] if words[-1] in _TYPES else RouteType.UNICAST,
        source,
        ip_network(after["to"]) if "to" in after else None,
        after.get("iif", ""),
        mark=int(after.get("fwmark", "0"), 0),
        mask=0xFFFF_FFFF if "fwmark" in after else 0,
        invert="not" in words,
        suppress=int(after.get("suppress_prefixlength", "-1")),
        other=("uidrange",) if "uidrange" in words else (),
    )
