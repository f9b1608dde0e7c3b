"""The packet filter that a node shall have (`nankeen.model.firewall`), as a `Ruleset`: what `plan` asks about."""

from __future__ import annotations

from nankeen.forwarding.ruleset import NO_RULES, Act, Action, Base, Chain, Hook, Match, Members, Rule, Ruleset
from nankeen.model import firewall
from nankeen.model.firewall import TABLE, AddressSet, Firewall, Inside, Jump, Outside, Verdict

_TABLE = f"inet {TABLE}"
_ACTS = {
    Verdict.RETURN: Act.RETURN,
    Verdict.DROP: Act.DROP,
    Verdict.MASQUERADE: Act.MASQUERADE,
    Verdict.MASQUERADE_FULLY_RANDOM: Act.MASQUERADE,
}
_PRIORITIES = {"filter": 0, "srcnat": 100, "dstnat": -100}


def ruleset_of(wanted: Firewall) -> Ruleset:
    """What the kernel holds once the firewall stands, in a namespace without other rules."""
    if wanted.table is None:
        return NO_RULES
    return Ruleset(
        tuple(_base(chain) for chain in wanted.table.chains if chain.hook),
        {
            (_TABLE, chain.name): Chain(tuple(_rule(rule, wanted) for rule in chain.rules))
            for chain in wanted.table.chains
        },
    )


def _base(chain: firewall.Chain) -> Base:
    """From `type filter hook input priority filter`."""
    _, kind, _, hook, _, priority = chain.hook.split()
    return Base(_TABLE, chain.name, Hook(hook), _PRIORITIES[priority], kind, drops=False)


def _rule(rule: firewall.Rule, wanted: Firewall) -> Rule:
    matches = []
    if rule.mark is not None:
        matches.append(Match("meta mark", Members(frozenset({rule.mark})), mask=rule.mark))
    if rule.device is not None:
        matches.append(Match("meta iifname", Members(frozenset({rule.device}))))
    if rule.ports:
        matches.append(Match("udp dport", Members(frozenset(rule.ports))))
    matches += [_address(rule.source, "saddr", wanted)] if rule.source else []
    matches += [_address(rule.destination, "daddr", wanted)] if rule.destination else []
    verdict = rule.verdict
    action = Action(Act.JUMP, chain=verdict.chain) if isinstance(verdict, Jump) else Action(_ACTS[verdict])
    return Rule(tuple(matches), (action,), str(rule))


def _address(condition: Inside, end: str, wanted: Firewall) -> Match:
    name = f"{'ip' if condition.family.value == 4 else 'ip6'} {end}"
    if isinstance(condition.place, AddressSet):
        members = Members(frozenset(wanted.elements(condition.place)))
    else:
        members = Members(networks=(condition.place,))
    return Match(name, members, isinstance(condition, Outside))
