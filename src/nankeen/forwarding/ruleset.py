"""A host's packet filter as values, and its verdicts: nftables (nft(8)), as far as it decides about pods' packets.

A rule whose conditions are not all understood is kept, and told as what cannot be predicted, should a packet meet all
that is understood of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property

from nankeen.forwarding.packet import IcmpKind
from nankeen.forwarding.tables import Unpredictable
from nankeen.model.address import IPAddress, IPNetwork

_JUMPS = 16
"""NFT_JUMP_STACK_SIZE (linux/netfilter/nf_tables.h)."""


class Hook(Enum):
    """Where the kernel asks (linux/netfilter.h)."""

    PREROUTING = "prerouting"
    INPUT = "input"
    FORWARD = "forward"
    OUTPUT = "output"
    POSTROUTING = "postrouting"

    __hash__ = object.__hash__  # there is one of each, looked up often, and an enumeration's own hash is slow


@dataclass(frozen=True, slots=True)
class Look:
    """What conditions may look at of a packet, by nft's names for it: `meta iifname`, `ip saddr`, `ct state`.

    What takes a lookup to tell is a function, called where a rule asks.
    """

    facts: Mapping[str, object]

    def get(self, name: str) -> object | None:
        return self.facts.get(name)


@dataclass(frozen=True, slots=True)
class Members:
    """Values that a condition compares with."""

    single: frozenset[object] = frozenset()
    networks: tuple[IPNetwork, ...] = ()
    ranges: tuple[tuple[object, object], ...] = ()
    beginnings: tuple[str, ...] = ()
    """Of names of devices."""

    def __contains__(self, value: object) -> bool:
        return (
            value in self.single
            or any(value in network for network in self.networks if isinstance(value, type(network.network_address)))
            or any(type(low) is type(value) and low <= value <= high for low, high in self.ranges)  # type: ignore[operator]
            or (bool(self.beginnings) and str(value).startswith(self.beginnings))
        )


@dataclass(frozen=True, slots=True)
class Match:
    """A condition. One of a header that the packet does not have never holds."""

    name: str
    """What is looked at, as `Look` calls it."""
    members: Members
    negated: bool = False
    mask: int | None = None
    """Bits of a number that count."""

    def holds(self, look: Look) -> bool:
        value = look.get(self.name)
        if callable(value):
            value = value()
        if value is None:
            return False
        if self.mask is not None and isinstance(value, int):
            value &= self.mask
        return (value in self.members) is not self.negated


class Act(Enum):
    """What a rule does with a packet that it matches."""

    CONTINUE = "continue"
    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"
    RETURN = "return"
    JUMP = "jump"
    GOTO = "goto"
    MASQUERADE = "masquerade"
    SNAT = "snat"
    DNAT = "dnat"
    REDIRECT = "redirect"
    MARK = "mark"
    NOTRACK = "notrack"
    UNKNOWN = "unknown"

    __hash__ = object.__hash__  # as above


@dataclass(frozen=True, slots=True)
class Lookup:
    """Where a map leads by what stands in the packet: `ip daddr . meta l4proto . th dport map @one4`."""

    names: tuple[str, ...]
    """What is looked at, as `Look` calls it."""
    entries: Mapping[tuple[object, ...], tuple[IPAddress | None, int | None]]
    """Address and port, by the values of those; None for what stays."""
    version: int | None = None
    """The version of IP that is meant, where one is."""

    def find(self, look: Look) -> tuple[IPAddress | None, int | None] | None:
        """None where nothing stands in the map for such a packet."""
        if self.version is not None and look.get("meta nfproto") != f"ipv{self.version}":
            return None
        values = (look.get(name) for name in self.names)
        return self.entries.get(tuple(value() if callable(value) else value for value in values))


_TRANSLATING = frozenset({Act.MASQUERADE, Act.SNAT, Act.DNAT, Act.REDIRECT})


@dataclass(frozen=True, slots=True)
class Action:
    """An act and what it needs."""

    act: Act
    chain: str = ""
    address: IPAddress | None = None
    port: int | None = None
    error: IcmpKind = IcmpKind.PORT_UNREACHABLE
    reset: bool = False
    value: int = 0
    """Of the new mark: the bits to set."""
    keep: int = 0
    """The bits of the old mark that stay."""
    lookup: Lookup | None = field(default=None, compare=False)
    """A map that address and port stand in; where it leads nowhere, the rule does not match."""


_NOTHING = Action(Act.CONTINUE)


@dataclass(frozen=True, slots=True)
class Rule:
    """Conditions, and what happens where all hold."""

    matches: tuple[Match, ...]
    actions: tuple[Action, ...]
    text: str
    unknown: tuple[str, ...] = ()
    """Conditions that are not understood."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Chain:
    """Rules in order."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Base:
    """A chain that the kernel enters by itself."""

    table: str
    """Family and name: `inet nankeen`."""
    chain: str
    hook: Hook
    priority: int
    kind: str
    """`filter`, `nat` or `route`."""
    drops: bool
    """Its policy."""

    def __str__(self) -> str:
        return f"table {self.table} chain {self.chain} policy {'drop' if self.drops else 'accept'}"

    def is_for(self, version: int) -> bool:
        family = self.table.partition(" ")[0]
        return family in ("inet", "ip" if version == 4 else "ip6")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the chains of a hook say."""

    action: Action
    """ACCEPT, DROP, REJECT, or a translation."""
    by: Rule | Base | None
    """What said so; None where nothing did."""
    mark: int


@dataclass(frozen=True)
class Ruleset:
    """All tables of a host."""

    bases: tuple[Base, ...] = ()
    chains: Mapping[tuple[str, str], Chain] = field(default_factory=dict)
    """By table and name."""
    unread: tuple[str, ...] = ()
    """What else decides, and is not understood: rules of other families or programs."""

    @cached_property
    def _ordered(self) -> dict[tuple[Hook, bool, int], tuple[Base, ...]]:
        """By hook, whether of kind nat, and version of IP; by priority."""
        found = sorted(self.bases, key=lambda base: base.priority)
        return {
            (hook, nat, version): tuple(
                base for base in found if base.hook is hook and (base.kind == "nat") is nat and base.is_for(version)
            )
            for hook in Hook
            for nat in (False, True)
            for version in (4, 6)
        }

    @cached_property
    def tracks(self) -> bool:
        """Whether connections are tracked: the kernel does that where a rule translates, or asks for a state. Packets
        in fragments are put together for it.
        """
        rules = [rule for chain in self.chains.values() for rule in chain.rules]
        return any(action.act in _TRANSLATING for rule in rules for action in rule.actions) or any(
            match.name.startswith("ct ") for rule in rules for match in rule.matches
        )

    def has(self, hook: Hook, version: int, *, nat: bool) -> bool:
        """Whether any chain has a say."""
        return bool(self._ordered[hook, nat, version])

    def verdict(self, hook: Hook, look: Look, version: int, *, nat: bool, mark: int = 0) -> Outcome:
        """What the chains that translate, or those that filter, say at a hook. Raises `Unpredictable`."""
        by: Rule | Base | None = None
        for base in self._ordered[hook, nat, version]:
            outcome = self._base(base, look, mark)
            mark = outcome.mark
            by = outcome.by or by
            if outcome.action.act is not Act.ACCEPT:
                return outcome
        return Outcome(Action(Act.ACCEPT), by, mark)

    def _base(self, base: Base, look: Look, mark: int) -> Outcome:
        found = self._chain(base.table, base.chain, look, mark, 0)
        if found.action.act in (Act.CONTINUE, Act.RETURN):
            return Outcome(Action(Act.DROP if base.drops else Act.ACCEPT), base if base.drops else None, found.mark)
        return found

    def _chain(self, table: str, name: str, look: Look, mark: int, depth: int) -> Outcome:
        if depth > _JUMPS:
            raise Unpredictable(f"the chains of table {table} lead in a circle")
        seen = Look({**look.facts, "meta mark": mark})
        for rule in self.chains[table, name].rules:
            if not all(match.holds(seen) for match in rule.matches):
                continue
            if rule.unknown and any(action.act is not Act.CONTINUE for action in rule.actions):
                raise Unpredictable(f"{', '.join(rule.unknown)} is not understood: {rule}")
            for action in rule.actions:
                found = self._act(table, rule, action, seen, mark, depth)
                if found.mark != mark:
                    mark = found.mark
                    seen = Look({**look.facts, "meta mark": mark})
                if found.action.act is not Act.CONTINUE:
                    return found
        return Outcome(_NOTHING, None, mark)

    def _act(self, table: str, rule: Rule, action: Action, look: Look, mark: int, depth: int) -> Outcome:
        match action.act:
            case Act.UNKNOWN:
                raise Unpredictable(f"what the rule does is not understood: {rule}")
            case Act.MARK:
                return Outcome(_NOTHING, None, mark & action.keep | action.value)
            case Act.JUMP | Act.GOTO:
                found = self._chain(table, action.chain, look, mark, depth + 1)
                if found.action.act in (Act.CONTINUE, Act.RETURN):
                    return replace(found, action=Action(Act.RETURN) if action.act is Act.GOTO else _NOTHING)
                return found
            case Act.CONTINUE | Act.NOTRACK:
                return Outcome(_NOTHING, None, mark)
        if action.lookup is not None:
            place = action.lookup.find(look)
            action = _NOTHING if place is None else replace(action, address=place[0], port=place[1], lookup=None)
        return Outcome(action, rule if action is not _NOTHING else None, mark)


NO_RULES = Ruleset()
