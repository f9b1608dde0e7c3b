"""What the rounds of a watch have found of each pair: the last of them in detail, and all of them in sum."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from nankeen.inspect.matrix import Cell, Grouping, Key, Matrix, in_order, quantile
from nankeen.inspect.outcome import Answered, Observation
from nankeen.inspect.party import Cluster, Kind
from nankeen.inspect.plan import Aim, Pair, Protocol
from nankeen.inspect.verdict import Finding, Report, Rule
from nankeen.model.address import Family

BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5)
"""Upper bounds in seconds of the histograms of round trips."""

_REACHING = (Rule.REACH, Rule.SOURCE)
_ROUNDS = 20
"""Rounds over which loss is told."""
_TRIPS = 100
"""Round trips of which quantiles are told."""


@dataclass(slots=True)
class Count:
    """All that a node and its pods have sent in one family."""

    sent: int = 0
    lost: int = 0
    seconds: float = 0.0
    """The sum of all round trips."""
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    """Round trips up to each of `BUCKETS`, and above the last."""

    def add(self, seen: Observation) -> None:
        self.sent += 1
        if not isinstance(seen.outcome, Answered):
            self.lost += 1
        elif seen.outcome.round_trip is not None:
            self.seconds += seen.outcome.round_trip
            self.buckets[bisect_left(BUCKETS, seen.outcome.round_trip)] += 1


@dataclass(slots=True)
class Totals:
    """Since the watch began."""

    rounds: int = 0
    failed: int = 0
    """Rounds in which something failed."""
    changes: int = 0
    """How often a pair became better or worse."""
    by_source: dict[tuple[str, Family], Count] = field(default_factory=dict)

    @property
    def sent(self) -> int:
        return sum(count.sent for count in self.by_source.values())

    @property
    def lost(self) -> int:
        return sum(count.lost for count in self.by_source.values())


@dataclass(frozen=True, slots=True)
class Trouble:
    """A pair that failed when it was asked last."""

    subject: str
    family: Family
    protocols: tuple[Protocol, ...]
    """By which it failed."""
    reason: str
    since: int
    """The round in which it became like this."""
    way: str
    """From which node to which."""


@dataclass(slots=True)
class _Track:
    """One pair in one family."""

    since: int
    trips: deque[float] = field(default_factory=lambda: deque(maxlen=_TRIPS))
    counts: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_ROUNDS))
    """Sent and lost, round by round."""
    failing: tuple[Protocol, ...] = ()
    path_mtu: int | None = None
    is_short: bool = False
    reason: str = ""
    changed: bool = False

    @property
    def status(self) -> tuple[tuple[Protocol, ...], int | None]:
        """What a change is a change of."""
        return self.failing, self.path_mtu

    def note(self, seen: Sequence[Observation], findings: Sequence[Finding]) -> None:
        """What a round has seen of the pair, and what of that was not as it should be."""
        asked = _of_aim(seen, Aim.REACH)
        answers = [each.outcome for each in asked if isinstance(each.outcome, Answered)]
        self.counts.append((len(asked), len(asked) - len(answers)))
        self.trips.extend(answer.round_trip for answer in answers if answer.round_trip is not None)
        failing = {finding.matter.protocol for finding in findings if finding.matter.rule in _REACHING}
        self.failing = tuple(protocol for protocol in Protocol if protocol in failing)
        self.reason = next((f"expected {finding.expected}; {finding.seen}" for finding in findings), "")
        self.path_mtu, self.is_short = None, False
        for each in _of_aim(seen, Aim.FULL_MTU):
            self.is_short = not isinstance(each.outcome, Answered)
            self.path_mtu = each.path_mtu if self.is_short else each.probe.size


class History:
    """Of one watch."""

    def __init__(self) -> None:
        self.totals = Totals()
        self._tracks: dict[Key, _Track] = {}
        self._homes: dict[str, str] = {}
        self._kinds: dict[str, Kind] = {}

    def note(self, cluster: Cluster, observations: Sequence[Observation], report: Report, *, holds: bool) -> None:
        """What one more round has found. Who is not in the cluster any more is forgotten."""
        self.totals.rounds += 1
        self.totals.failed += not holds
        before, self._homes = self._homes, {party.name: party.node or party.name for party in cluster.parties}
        came = self._homes.keys() - before.keys() if before else set()
        self._kinds = {party.name: party.kind for party in cluster.parties}
        self._tracks = {key: track for key, track in self._tracks.items() if {*key[1:]} <= self._homes.keys()}
        for track in self._tracks.values():
            track.changed = False
        findings = _findings_by_pair(report)
        for key, seen in _by_pair(observations).items():
            self._note_pair(key, seen, findings.get(key, []), is_new=not came.isdisjoint(key[1:]))

    def path_mtu(self, pair: Pair) -> int | None:
        """The last one that was found."""
        track = self._tracks.get(key_of(pair))
        return track.path_mtu if track else None

    def matrix(self, grouping: Grouping) -> Matrix:
        """As it stands after the last round."""
        grouped: dict[Key, list[_Track]] = {}
        for (family, source, destination), track in self._tracks.items():
            ends = (source, destination)
            if grouping is Grouping.NODES:
                ends = (self._homes[source], self._homes[destination])
            grouped.setdefault((family, *ends), []).append(track)
        names = {name for _, *ends in grouped for name in ends}
        kinds = self._kinds if grouping is Grouping.PODS else {}
        ordered = [*(in_order([name for name in names if kinds.get(name, Kind.POD) is kind]) for kind in Kind)]
        return Matrix(
            grouping=grouping,
            names=tuple(name for each in ordered for name in each),
            families=tuple(sorted({key[0] for key in grouped}, key=lambda family: family.value)),
            cells={key: _cell(tracks) for key, tracks in grouped.items()},
        )

    def troubles(self) -> list[Trouble]:
        """The pairs that fail now, those that began last first."""
        found = [
            Trouble(
                subject=f"{source} → {destination}",
                family=family,
                protocols=track.failing,
                reason=track.reason,
                since=track.since,
                way=f"{self._homes[source]} → {self._homes[destination]}",
            )
            for (family, source, destination), track in self._tracks.items()
            if track.failing or track.is_short
        ]
        return sorted(found, key=lambda trouble: -trouble.since)

    def _note_pair(self, key: Key, seen: Sequence[Observation], findings: Sequence[Finding], *, is_new: bool) -> None:
        is_known = key in self._tracks
        track = self._tracks.setdefault(key, _Track(self.totals.rounds))
        before = track.status
        track.note(seen, findings)
        track.changed = track.status != before if is_known else is_new
        self.totals.changes += track.changed
        if track.changed:
            track.since = self.totals.rounds
        count = self.totals.by_source.setdefault((self._homes[key[1]], key[0]), Count())
        for each in _of_aim(seen, Aim.REACH):
            count.add(each)


def key_of(pair: Pair) -> Key:
    return pair.family, pair.source.name, pair.destination.name


def _by_pair(observations: Iterable[Observation]) -> dict[Key, list[Observation]]:
    found: dict[Key, list[Observation]] = {}
    for seen in observations:
        found.setdefault(key_of(seen.probe.pair), []).append(seen)
    return found


def _findings_by_pair(report: Report) -> dict[Key, list[Finding]]:
    found: dict[Key, list[Finding]] = {}
    for finding in report.findings:
        found.setdefault((finding.matter.family, finding.source, finding.destination or ""), []).append(finding)
    return found


def _of_aim(seen: Iterable[Observation], aim: Aim) -> list[Observation]:
    return [each for each in seen if each.probe.aim is aim]


def _cell(tracks: Sequence[_Track]) -> Cell:
    trips = sorted(trip for track in tracks for trip in track.trips)
    mtus = [track.path_mtu for track in tracks if track.path_mtu is not None]
    return Cell(
        pairs=len(tracks),
        reached=sum(1 for track in tracks if not track.failing and not track.is_short),
        failing=tuple(protocol for protocol in Protocol if any(protocol in track.failing for track in tracks)),
        median=quantile(trips, 0.5),
        p99=quantile(trips, 0.99),
        sent=sum(sent for track in tracks for sent, _ in track.counts),
        lost=sum(lost for track in tracks for _, lost in track.counts),
        path_mtu=min(mtus, default=None),
        is_short=any(track.is_short for track in tracks),
        changed=any(track.changed for track in tracks),
    )
