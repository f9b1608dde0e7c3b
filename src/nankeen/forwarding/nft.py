"""What `nft --json list ruleset` prints (libnftables-json(5)), read into a `Ruleset`.

The text is the kernel's own, of rules that anybody may have made: what is not understood of a rule is kept as its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from nankeen.forwarding.packet import IcmpKind
from nankeen.forwarding.ruleset import Act, Action, Base, Chain, Hook, Lookup, Match, Members, Rule, Ruleset
from nankeen.model.address import IPAddress, parse_address, parse_network
from nankeen.model.errors import InputError

_IP_FAMILIES = ("inet", "ip", "ip6")
_HARMLESS = frozenset({"counter", "log", "comment", "flow", "quota_none"})
_PLAIN = {
    "accept": Act.ACCEPT,
    "drop": Act.DROP,
    "return": Act.RETURN,
    "continue": Act.CONTINUE,
    "notrack": Act.NOTRACK,
}
_TRANSLATE = {"masquerade": Act.MASQUERADE, "snat": Act.SNAT, "dnat": Act.DNAT, "redirect": Act.REDIRECT}
_ERRORS = {
    "port-unreachable": IcmpKind.PORT_UNREACHABLE,
    "host-unreachable": IcmpKind.HOST_UNREACHABLE,
    "addr-unreachable": IcmpKind.HOST_UNREACHABLE,
    "net-unreachable": IcmpKind.NO_ROUTE,
    "no-route": IcmpKind.NO_ROUTE,
    "admin-prohibited": IcmpKind.PROHIBITED,
    "host-prohibited": IcmpKind.HOST_PROHIBITED,
    "net-prohibited": IcmpKind.NET_PROHIBITED,
}
_NAMES = {
    "meta": {"iifname", "oifname", "l4proto", "nfproto", "mark", "iif", "oif"},
    "ip": {"saddr", "daddr", "protocol", "ttl"},
    "ip6": {"saddr", "daddr", "nexthdr", "hoplimit"},
    "tcp": {"sport", "dport"},
    "udp": {"sport", "dport"},
    "sctp": {"sport", "dport"},
    "th": {"sport", "dport"},
    "icmp": {"type"},
    "icmpv6": {"type"},
    "fib": {"daddr type"},
    "ct": {"state"},
}
_WORDS = {
    "icmp": 1, "tcp": 6, "udp": 17, "ipv6-icmp": 58, "icmpv6": 58, "esp": 50, "ah": 51, "sctp": 132, "dccp": 33,
    "udplite": 136, "gre": 47, "ipip": 4,
}  # fmt: skip
_HANDLE = re.compile(r"^(?P<text>.*?)\s*# handle (?P<handle>[0-9]+)$")

Sets = Mapping[tuple[str, str], list[Any]]
"""The elements of sets and maps, by table and name."""


class _NotUnderstood(Exception):  # noqa: N818  (a condition or statement that is kept by its name)
    pass


def parse(document: str, listing: str = "") -> Ruleset:
    """From the JSON document; `listing` is what `nft --handle list ruleset` prints, for the rules' own words.

    Raises `InputError` where it is no such document.
    """
    try:
        items: list[dict[str, Any]] = json.loads(document)["nftables"]
        texts = _texts(listing)
        named = [item[kind] for item in items for kind in ("set", "map") if kind in item]
        sets = {(_table(item), item["name"]): item.get("elem", []) for item in named}
        chains = [item["chain"] for item in items if "chain" in item]
        rules = [item["rule"] for item in items if "rule" in item]
        return _ruleset(chains, rules, sets, texts)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"not a document of nft: {error!r}"[:200], where="nft --json list ruleset") from error


def _ruleset(
    chains: list[dict[str, Any]],
    rules: list[dict[str, Any]],
    sets: Sets,
    texts: Mapping[tuple[str, str, int], str],
) -> Ruleset:
    members: dict[tuple[str, str], list[Rule]] = {(_table(chain), chain["name"]): [] for chain in chains}
    other = set()
    for rule in rules:
        table, chain, handle = _table(rule), rule["chain"], rule["handle"]
        if rule["family"] not in _IP_FAMILIES:
            other.add(f"table {table}")
            continue
        text = texts.get((table, chain, handle), f"table {table} chain {chain} handle {handle}")
        members[table, chain].append(_rule(rule, text, sets))
    bases = [_base(chain) for chain in chains if "hook" in chain and chain["family"] in _IP_FAMILIES]
    return Ruleset(
        tuple(base for base in bases if base is not None),
        {key: Chain(tuple(found)) for key, found in members.items()},
        tuple(sorted(other)),
    )


def _table(item: Mapping[str, Any]) -> str:
    return f"{item['family']} {item['table']}"


def _base(chain: Mapping[str, Any]) -> Base | None:
    if chain["hook"] not in {hook.value for hook in Hook}:
        return None  # ingress and egress of family inet
    drops = chain.get("policy", "accept") == "drop"
    return Base(_table(chain), chain["name"], Hook(chain["hook"]), int(chain["prio"]), chain["type"], drops)


def _texts(listing: str) -> dict[tuple[str, str, int], str]:
    """The words of each rule, by table, chain and handle."""
    found, table, chain = {}, "", ""
    for line in listing.split("\n"):
        words = line.split()
        if line.startswith("table ") and len(words) > 2:
            table = f"{words[1]} {words[2]}"
        elif line.startswith("\tchain ") and len(words) > 1:
            chain = words[1]
        elif line.startswith("\t\t") and (match := _HANDLE.match(line.strip())):
            found[table, chain, int(match["handle"])] = match["text"]
    return found


def _rule(rule: Mapping[str, Any], text: str, sets: Sets) -> Rule:
    matches: list[Match] = []
    actions: list[Action] = []
    unknown: list[str] = []
    for expression in rule.get("expr", []):
        ((kind, content),) = expression.items()
        try:
            if kind == "match":
                matches.append(_match(content, _table(rule), sets))
            elif kind == "xt" and content.get("type") == "match":
                unknown += [] if content.get("name") == "comment" else [f"match {content.get('name')}"]
            elif kind not in _HARMLESS:
                actions += _actions(kind, content, _table(rule), sets)
        except _NotUnderstood as what:
            unknown.append(str(what))
        except InputError:
            unknown.append(kind)
    return Rule(tuple(matches), tuple(actions), text, tuple(unknown))


def _actions(
    kind: str,
    content: Any,  # noqa: ANN401  (JSON)
    table: str,
    sets: Sets,
) -> Iterator[Action]:
    if kind in _PLAIN:
        yield Action(_PLAIN[kind])
    elif kind in ("jump", "goto"):
        yield Action(Act(kind), chain=content["target"])
    elif kind in _TRANSLATE:
        yield _translation(_TRANSLATE[kind], content or {}, table, sets)
    elif kind == "reject":
        yield _reject(content or {})
    elif kind == "mangle":
        yield _mark(content)
    elif kind == "xt" and content.get("name") == "MASQUERADE":
        yield Action(Act.MASQUERADE)
    elif kind in ("limit", "quota", "connlimit", "meter"):
        raise _NotUnderstood(kind)
    else:
        yield Action(Act.UNKNOWN)


def _translation(act: Act, content: Mapping[str, Any], table: str, sets: Sets) -> Action:
    address, port = content.get("addr"), content.get("port")
    if isinstance(address, dict) and "map" in address and port is None:
        version = {"ip": 4, "ip6": 6}.get(content.get("family", ""))
        try:
            return Action(act, lookup=_lookup(address["map"], version, table, sets))
        except _NotUnderstood:
            return Action(Act.UNKNOWN)
    if not isinstance(address, str | None) or not isinstance(port, int | None):
        return Action(Act.UNKNOWN)
    return Action(act, address=parse_address(address) if address else None, port=port)


def _lookup(content: Mapping[str, Any], version: int | None, table: str, sets: Sets) -> Lookup:
    """A map, named or written out, whose data are addresses, or addresses and ports."""
    names = tuple(_name(part) for part in _parts(content["key"]))
    data = content["data"]
    pairs = sets[table, data[1:]] if isinstance(data, str) else data["set"]
    entries: dict[tuple[object, ...], tuple[IPAddress | None, int | None]] = {}
    for key, value in pairs:
        parts = _parts(key["elem"]["val"] if isinstance(key, dict) and "elem" in key else key)
        address, *rest = _parts(value)
        port = rest[0] if rest else None
        if not isinstance(address, str) or not isinstance(port, int | None):
            raise _NotUnderstood(str(value)[:80])
        if any(isinstance(part, dict) for part in parts):  # ranges and networks
            raise _NotUnderstood(str(key)[:80])
        entries[tuple(map(_value, names, parts))] = parse_address(address), port
    return Lookup(names, entries, version)


def _parts(value: Any) -> list[Any]:  # noqa: ANN401  (JSON)
    """Those of a concatenation; else it is one alone."""
    return list(value["concat"]) if isinstance(value, dict) and "concat" in value else [value]


def _reject(content: Mapping[str, Any]) -> Action:
    if content.get("type") == "tcp reset":
        return Action(Act.REJECT, reset=True)
    return Action(
        Act.REJECT, error=_ERRORS.get(str(content.get("expr", "port-unreachable")), IcmpKind.PORT_UNREACHABLE)
    )


def _mark(content: Mapping[str, Any]) -> Action:
    """`meta mark set V`, `… set mark | V`, `… set mark & V`; else what is set does not decide on a packet's way."""
    if content["key"] != {"meta": {"key": "mark"}}:
        return Action(Act.CONTINUE if "ct" in content["key"] else Act.UNKNOWN)
    match content["value"]:
        case int(value):
            return Action(Act.MARK, value=value)
        case {"|": [{"meta": {"key": "mark"}}, int(value)]}:
            return Action(Act.MARK, value=value, keep=0xFFFF_FFFF & ~value)
        case {"&": [{"meta": {"key": "mark"}}, int(mask)]}:
            return Action(Act.MARK, keep=mask)
    return Action(Act.UNKNOWN)


def _match(content: Mapping[str, Any], table: str, sets: Sets) -> Match:
    left, mask = content["left"], None
    if isinstance(left, dict) and "&" in left:
        left, mask = left["&"]
        if not isinstance(mask, int):
            raise _NotUnderstood(str(mask))
    name = _name(left)
    values = _values(content["right"], table, sets)
    if content["op"] not in ("==", "!=", "in"):
        raise _NotUnderstood(f"{name} {content['op']}")
    return Match(name, _members(name, values), content["op"] == "!=", mask)


def _name(left: Any) -> str:  # noqa: ANN401  (JSON)
    match left:
        case {"meta": {"key": key}}:
            kind = "meta"
        case {"payload": {"protocol": kind, "field": key}}:
            pass
        case {"ct": {"key": key}}:
            kind = "ct"
        case {"fib": {"result": "type", "flags": "daddr" | ["daddr"]}}:
            kind, key = "fib", "daddr type"
        case _:
            raise _NotUnderstood(str(left)[:80])
    if key not in _NAMES.get(kind, ()):
        raise _NotUnderstood(f"{kind} {key}")
    return f"{kind} {key}"


def _values(right: Any, table: str, sets: Sets) -> list[Any]:  # noqa: ANN401  (JSON)
    match right:
        case str(name) if name.startswith("@"):
            return [item for element in sets[table, name[1:]] for item in _values(element, table, sets)]
        case {"set": elements} if isinstance(elements, list):
            return [item for element in elements for item in _values(element, table, sets)]
        case {"elem": {"val": value}}:
            return _values(value, table, sets)
        case list(elements):
            return list(elements)
        case _:
            return [right]


def _members(name: str, values: list[Any]) -> Members:
    single: set[object] = set()
    networks, ranges, beginnings = [], [], []
    for value in values:
        match value:
            case {"prefix": {"addr": address, "len": length}}:
                networks.append(parse_network(f"{address}/{length}"))
            case {"range": [low, high]}:
                ranges.append((_value(name, low), _value(name, high)))
            case str(text) if text.endswith("*") and "ifname" in name:
                beginnings.append(text.removesuffix("*"))
            case str() | int():
                single.add(_value(name, value))
            case _:
                raise _NotUnderstood(f"{name} {value}"[:80])
    return Members(frozenset(single), tuple(networks), tuple(ranges), tuple(beginnings))


def _value(name: str, value: str | int) -> object:
    """A value as `Look` has it: addresses as such, protocols by number, what nft calls `echo-request` by its name."""
    if name.endswith("addr"):
        return _address(str(value))
    if name in ("meta l4proto", "ip protocol", "ip6 nexthdr") and value in _WORDS:
        return _WORDS[str(value)]
    return value


def _address(text: str) -> IPAddress:
    return parse_address(text)
