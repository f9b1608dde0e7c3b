"""The pod network model as rules, and the judgement of what was seen against them.

The model (Kubernetes, "The Kubernetes network model"): every pod has an address of its own; every pod reaches every
other, and every node every pod, without NAT; a pod sees itself under the address that others see it under. To that
comes the MTU: packets of the pod's MTU pass, larger ones with DF set are refused in words (RFC 1191, RFC 8201).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from nankeen.inspect.coverage import Coverage
from nankeen.inspect.outcome import Answered, Observation, Outcome, Refused
from nankeen.inspect.party import Cluster, Kind, Party
from nankeen.inspect.plan import Aim, Pair, Probe, Protocol, is_local_refusal
from nankeen.model.address import Family, IPAddress, family_of


class Rule(Enum):
    """What the model demands."""

    ADDRESS = "every pod has one address of its own"
    REACH = "reaches"
    SOURCE = "is seen under its own address (no NAT)"
    FULL_MTU = "packets of full MTU pass"
    TOO_LARGE = "larger packets are refused, with the MTU named"

    __hash__ = object.__hash__  # there is one of each, counted often, and an enumeration's own hash is slow


@dataclass(frozen=True, slots=True)
class Matter:
    """What was judged: a rule, for one relation (`pod → pod`; "pod" for the address), family and protocol."""

    rule: Rule
    relation: str
    family: Family
    protocol: Protocol | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A demand that is not met: who, what was expected and what was seen instead."""

    matter: Matter
    source: str
    """The pod that it is about, or that asked."""
    destination: str | None
    """Who was asked, where anybody was."""
    expected: str
    seen: str

    @property
    def subject(self) -> str:
        """The pod, or the pair: `pod1 → pod2`."""
        return self.source if self.destination is None else f"{self.source} → {self.destination}"

    def __str__(self) -> str:
        protocol = f" {self.matter.protocol.value}" if self.matter.protocol else ""
        return f"{self.subject}, {self.matter.family}{protocol}: expected {self.expected}; {self.seen}"


@dataclass(frozen=True, slots=True)
class Tally:
    """How often a matter was proven, and how often it failed."""

    matter: Matter
    proven: int
    failed: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found."""

    cluster: str
    nodes: int
    pods: int
    families: tuple[Family, ...]
    tallies: tuple[Tally, ...]
    findings: tuple[Finding, ...]
    seconds: float
    coverage: Coverage | None = None
    """Of a sample."""

    @property
    def holds(self) -> bool:
        """Whether the model was proven: nothing failed, and something was tested."""
        return not self.findings and any(tally.proven for tally in self.tallies)

    @property
    def proven(self) -> int:
        """How many single demands were proven."""
        return sum(tally.proven for tally in self.tallies)


@dataclass(frozen=True, slots=True)
class _Judgement:
    matter: Matter
    finding: Finding | None


def report(
    cluster: Cluster,
    observations: Iterable[Observation],
    seconds: float,
    concerns: Callable[[Party], bool] = lambda _: True,
) -> Report:
    """Judges the addresses of the pods that it concerns, and every observation."""
    judgements = [*_judge_addresses(cluster, [pod for pod in cluster.pods if concerns(pod)])]
    for observation in observations:
        judgements += _judge(cluster, observation)
    findings = tuple(judgement.finding for judgement in judgements if judgement.finding)
    failed = Counter(finding.matter for finding in findings)
    total = Counter(judgement.matter for judgement in judgements)
    return Report(
        cluster=cluster.name,
        nodes=len(cluster.nodes),
        pods=len(cluster.pods),
        families=cluster.families,
        tallies=tuple(Tally(matter, count - failed[matter], failed[matter]) for matter, count in total.items()),
        findings=findings,
        seconds=seconds,
    )


def _judge_addresses(cluster: Cluster, pods: Sequence[Party]) -> Iterator[_Judgement]:
    for family in cluster.families:
        matter = Matter(Rule.ADDRESS, "pod", family)
        for pod in pods:
            complaint = _address_complaint(cluster, pod, family)
            finding = Finding(matter, pod.name, None, "one address of its own", complaint) if complaint else None
            yield _Judgement(matter, finding)


def _address_complaint(cluster: Cluster, pod: Party, family: Family) -> str | None:
    held = [address for address in pod.addresses if family_of(address) is family]
    assigned = [address for address in pod.assigned if family_of(address) is family]
    if not held:
        return f"its devices hold none, though it was given {assigned[0]}" if assigned else "it has none"
    if len(held) > 1:
        return f"it has {_list(held)}"
    if assigned and held != assigned:
        return f"it has {held[0]}, though it was given {_list(assigned)}"
    others = [name for name in cluster.holders(held[0]) if name != pod.name]
    return f"{held[0]} is also the address of {', '.join(others)}" if others else None


def _judge(cluster: Cluster, observation: Observation) -> Iterator[_Judgement]:
    probe, outcome = observation.probe, observation.outcome
    pair = probe.pair
    match probe.aim:
        case Aim.REACH:
            yield _judged(Rule.REACH, probe, _reach_complaint(cluster, pair, outcome))
            if isinstance(outcome, Answered) and outcome.source is not None:
                seen = None if outcome.source in _sources(pair) else _source_text(cluster, outcome.source, pair)
                yield _judged(Rule.SOURCE, probe, seen)
        case Aim.FULL_MTU:
            complaint = _reach_complaint(cluster, pair, outcome)
            yield _judged(Rule.FULL_MTU, probe, complaint and complaint + _what_passes(observation))
        case Aim.TOO_LARGE:
            yield _judged(Rule.TOO_LARGE, probe, _refusal_complaint(pair, outcome))


def _judged(rule: Rule, probe: Probe, seen: str | None) -> _Judgement:
    pair = probe.pair
    matter = _matter(rule, pair.relation, pair.family, probe.protocol)
    if seen is None:
        return _Judgement(matter, None)
    return _Judgement(matter, Finding(matter, pair.source.name, pair.destination.name, _expectation(rule, probe), seen))


_matter = lru_cache(maxsize=None)(Matter)


def _expectation(rule: Rule, probe: Probe) -> str:
    pair = probe.pair
    match rule:
        case Rule.SOURCE:
            return f"the source address {_list(_sources(pair), 'or')}"
        case Rule.FULL_MTU:
            return f"packets of {pair.mtu} bytes to pass with DF set"
        case Rule.TOO_LARGE:
            return f"{probe.size} bytes with DF set to be refused {_refusal_text(pair)}"
        case _:
            return "an answer"


def _reach_complaint(cluster: Cluster, pair: Pair, outcome: Outcome) -> str | None:
    if not isinstance(outcome, Answered):
        return _with_name(cluster, outcome)
    if outcome.by == pair.destination.name:
        return None
    return f"{pair.address} was answered by {outcome.by or 'somebody outside the cluster'}"


def _what_passes(observation: Observation) -> str:
    """The measured path MTU, where nobody has named it."""
    named = observation.outcome.mtu if isinstance(observation.outcome, Refused) else None
    if observation.path_mtu in (None, named):
        return ""
    return f"; packets of up to {observation.path_mtu} bytes pass"


def _with_name(cluster: Cluster, outcome: Outcome) -> str:
    """The outcome in words, with the name of the party whose ICMP message it was."""
    if isinstance(outcome, Refused) and outcome.by:
        names = ", ".join(cluster.holders(outcome.by))
        return str(outcome).replace(f"{outcome.by} says", f"{names} at {outcome.by} says") if names else str(outcome)
    return str(outcome)


def _sources(pair: Pair) -> tuple[IPAddress, ...]:
    """The source addresses that the destination may see."""
    source = pair.source
    if source.kind is Kind.NODE:
        return tuple(address for address in source.addresses if family_of(address) is pair.family)
    own = source.address(pair.family)
    return (own,) if own else ()


def _source_text(cluster: Cluster, source: IPAddress, pair: Pair) -> str:
    holders = ", ".join(cluster.holders(source)) or "nobody in the cluster"
    return f"{pair.destination.name} saw {source}, the address of {holders}"


def _refusal_text(pair: Pair) -> str:
    local = is_local_refusal(pair)
    message = "fragmentation needed" if pair.family is Family.IPV4 else "packet too big"
    ways = [f"by {pair.source.name}'s own kernel (EMSGSIZE)"] if local is not False else []
    ways += [f"by a router (ICMP {message})"] if local is not True else []
    return f"{' or '.join(ways)} with MTU {pair.mtu}"


def _refusal_complaint(pair: Pair, outcome: Outcome) -> str | None:
    match outcome:
        case Answered():
            return "it passed"
        case Refused(by=by, mtu=mtu) if mtu == pair.mtu and is_local_refusal(pair) in (None, by is None):
            return None
        case _:
            return str(outcome)


def _list(addresses: Iterable[IPAddress], conjunction: str = "and") -> str:
    *most, last = [str(address) for address in addresses] or ["none"]
    return f"{', '.join(most)} {conjunction} {last}" if most else last
