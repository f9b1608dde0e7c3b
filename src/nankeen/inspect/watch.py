"""Proving the pod network model round after round, while pods come and go: the loop of `verify --watch`.

Stations stay open between rounds. Each round looks anew at the lab's record and at the addresses in its namespaces, so
what came or went meanwhile is noticed. Agents are not asked anything: what becomes of packets is the kernel's affair.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol as Interface

from nankeen.inspect.history import History, Trouble
from nankeen.inspect.outcome import Answered, Observation
from nankeen.inspect.party import Cluster
from nankeen.inspect.pathmtu import measure
from nankeen.inspect.plan import Aim, Pair, Probe, Protocol, pairs, reach_probes
from nankeen.inspect.prober import Prober
from nankeen.inspect.selection import EVERYTHING, Selection
from nankeen.inspect.verdict import Report, report
from nankeen.inspect.verify import reached
from nankeen.inspect.volley import Pace

PACE = Pace(waits=(0.05, 0.95), window=8192, eager=256, once=True)
"""What is not answered within a second is lost. TCP sends its first packet again after that long (RFC 6298 §2)."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be watched."""

    selection: Selection = EVERYTHING
    seconds: float = 2.0
    """From the beginning of a round to that of the next; a round that takes longer is followed at once."""
    rounds: int | None = None
    """After which it ends; None: when it is told."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round has found."""

    number: int
    began: float
    """Seconds since 1970."""
    report: Report
    missing: tuple[str, ...]
    """Who should be asked and cannot be: who is in the lab's record, or was named."""
    is_missed: bool
    """Whether somebody was missing the second time: a pod that is just being removed may be once."""

    @property
    def holds(self) -> bool:
        return self.report.holds and not self.is_missed

    @property
    def ended(self) -> float:
        """Seconds since 1970."""
        return self.began + self.report.seconds


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of a watch."""

    rounds: int
    failed: int
    """Rounds in which something failed."""
    changes: int
    sent: int
    lost: int
    seconds: float
    troubles: tuple[Trouble, ...] = ()
    """What failed in the last round."""
    unheard: bool = False
    """Whether nobody reads any more what is told."""

    @property
    def holds(self) -> bool:
        """Whether the model was proven in every round."""
        return self.rounds > 0 and self.failed == 0


class Audience(Interface):
    """Who is told."""

    def tell(self, found: Round, history: History) -> None:
        """A round is over. Raises `BrokenPipeError` where nobody reads it any more."""

    def end(self, summary: Summary) -> None:
        """There will be no more."""


Look = Callable[[], tuple[Cluster, tuple[str, ...]]]
"""Finds the parties as they are now, and names those whose namespaces have gone. Raises `LabError`."""


@dataclass(slots=True)
class Watch:
    """One watch. `follow` is awaited until it has made all its rounds, or is cancelled."""

    wish: Wish
    look: Look
    audience: Audience
    pace: Pace = PACE
    history: History = field(default_factory=History)
    _missing: frozenset[str] = frozenset()
    _unheard: bool = False
    _began: float = field(default_factory=time.monotonic)

    async def follow(self) -> None:
        """Raises `NankeenError` where the lab goes away. The audience hears the end in any case."""
        try:
            with Prober() as prober, suppress(asyncio.CancelledError):
                await self._follow(prober)
        except BrokenPipeError:
            self._unheard = True
        finally:
            if not self._unheard:
                self._end()

    def _end(self) -> None:
        try:
            self.audience.end(self.summary)
        except BrokenPipeError:
            self._unheard = True

    @property
    def summary(self) -> Summary:
        """What has come of it so far."""
        totals = self.history.totals
        return Summary(
            rounds=totals.rounds,
            failed=totals.failed,
            changes=totals.changes,
            sent=totals.sent,
            lost=totals.lost,
            seconds=time.monotonic() - self._began,
            troubles=tuple(self.history.troubles()),
            unheard=self._unheard,
        )

    async def _follow(self, prober: Prober) -> None:
        number = 0
        while self.wish.rounds is None or number < self.wish.rounds:
            number += 1
            due = time.monotonic() + self.wish.seconds
            self.audience.tell(await self._round(prober, number), self.history)
            if number != self.wish.rounds:
                await asyncio.sleep(due - time.monotonic())

    async def _round(self, prober: Prober, number: int) -> Round:
        began, started = time.time(), time.monotonic()
        cluster, missing = self._attended(prober)
        asked = pairs(cluster, self.wish.selection, number - 1)
        observations = await prober.run(reach_probes(asked), self.pace)
        observations += await self._sizes(prober, reached(observations))
        found = report(cluster, observations, time.monotonic() - started, self.wish.selection.concerns)
        made = Round(number, began, found, missing, is_missed=bool(self._missing & {*missing}))
        self._missing = frozenset(missing)
        self.history.note(cluster, observations, found, holds=made.holds)
        return made

    def _attended(self, prober: Prober) -> tuple[Cluster, tuple[str, ...]]:
        """Those who have stations now, and the names of those who should and have not."""
        cluster, gone = self.look()
        if not self.history.totals.rounds:
            self.wish.selection.check(cluster)
        wanted = [party for party in cluster.parties if self.wish.selection.concerns(party)]
        prober.attend(wanted)
        missing = [name for name in gone if not self.wish.selection.names or name in self.wish.selection.names]
        missing += [party.name for party in wanted if not prober.attends(party.name)]
        missing += [name for name in self.wish.selection.names if name not in {party.name for party in cluster.parties}]
        present = tuple(party for party in cluster.parties if party.name not in missing)
        return replace(cluster, parties=present), tuple(dict.fromkeys(missing))

    async def _sizes(self, prober: Prober, pairs: Sequence[Pair]) -> list[Observation]:
        """Full packets between those who reach each other. Where they do not pass, what passed before is tried beside
        them, and only where that does not either the path MTU is measured.
        """
        full = [Probe(pair, Aim.FULL_MTU, Protocol.ICMP, pair.mtu) for pair in pairs]
        known = [replace(probe, size=mtu) for probe in full if (mtu := self._known_short(probe.pair)) is not None]
        seen = await prober.run([*full, *known], self.pace)
        passing = {id(each.probe.pair): each.probe.size for each in seen[len(full) :] if _passed(each)}
        short = [each for each in seen[: len(full)] if not _passed(each) and id(each.probe.pair) not in passing]
        mtus = await measure(prober, [(each.probe.pair, each.outcome) for each in short])
        measured = passing | {id(each.probe.pair): mtu for each, mtu in zip(short, mtus, strict=True)}
        return [each if _passed(each) else _with_mtu(each, measured) for each in seen[: len(full)]]

    def _known_short(self, pair: Pair) -> int | None:
        mtu = self.history.path_mtu(pair)
        return mtu if mtu is not None and mtu < pair.mtu else None


def _passed(seen: Observation) -> bool:
    return isinstance(seen.outcome, Answered)


def _with_mtu(seen: Observation, measured: dict[int, int | None]) -> Observation:
    return replace(seen, path_mtu=measured[id(seen.probe.pair)])
