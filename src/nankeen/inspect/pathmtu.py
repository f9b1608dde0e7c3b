"""The path MTU between two parties, measured: the largest packet that arrives with DF set.

A refusal that names an MTU is believed when a packet of that size passes (RFC 1191 §3, RFC 8201 §4). Where packets are
lost in silence, the size is searched for, many sizes at a time (as RFC 8899 §5.3 does, one by one): each step costs a
timeout, however many it asks about.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol as Interface

from nankeen.inspect.inet import INET
from nankeen.inspect.outcome import Answered, Observation, Outcome, Refused
from nankeen.inspect.plan import Aim, Pair, Probe, Protocol
from nankeen.inspect.volley import Pace

PACE = Pace(waits=(0.25, 0.5))
_AT_ONCE = 16
_STEPS = 6
"""From 65,535 bytes four searches lead to the byte; two more for what was refused on the way."""
_SMALLEST = 20
"""Bytes that the smallest echo request has beyond the IP header: ICMP's own, and the nonce."""


class Runner(Interface):
    """Who sends probes: a `Prober`."""

    async def run(self, probes: Iterable[Probe], pace: Pace) -> list[Observation]: ...


async def measure(prober: Runner, refused: Sequence[tuple[Pair, Outcome]]) -> list[int | None]:
    """The path MTUs in bytes of pairs whose full packets do not pass, and of which it is known what became of one.

    None where not even the smallest packet passed.
    """
    searches = [_Search(pair, outcome) for pair, outcome in refused]
    for _ in range(_STEPS):
        open_ = [search for search in searches if not search.is_over]
        probes = [(search, probe) for search in open_ for probe in search.probes()]
        if not probes:
            break
        seen = await prober.run([probe for _, probe in probes], PACE)
        for (search, probe), observation in zip(probes, seen, strict=True):
            search.learn(probe.size or 0, observation.outcome)
    return [search.passing or None for search in searches]


@dataclass(slots=True)
class _Search:
    """Between the largest size that is known to pass and the smallest that is known not to."""

    pair: Pair
    outcome: Outcome
    passing: int = 0
    failing: int = field(init=False)
    named: int | None = field(init=False)
    """What the last refusal gave as MTU, until it was tried."""

    def __post_init__(self) -> None:
        self.failing = self.pair.mtu
        self.named = None
        self._hear(self.outcome)

    @property
    def is_over(self) -> bool:
        return self.failing - max(self.passing, self._least - 1) <= 1

    @property
    def _least(self) -> int:
        return INET[self.pair.family].header + _SMALLEST

    def probes(self) -> list[Probe]:
        """The sizes to try next."""
        return [Probe(self.pair, Aim.FULL_MTU, Protocol.ICMP, size) for size in self._sizes()]

    def learn(self, size: int, outcome: Outcome) -> None:
        if isinstance(outcome, Answered):
            self.passing = max(self.passing, size)
            if size == self.named:  # as the router said
                self.failing = size + 1
        elif size > self.passing:
            self.failing = min(self.failing, size)
            self._hear(outcome)

    def _sizes(self) -> Sequence[int]:
        if self.named is not None and self.passing < self.named < self.failing:
            return [self.named]
        first, end = max(self.passing + 1, self._least), self.failing
        if end - first <= _AT_ONCE:
            return range(first, end)
        return [first + step * (end - first) // _AT_ONCE for step in range(_AT_ONCE)]

    def _hear(self, outcome: Outcome) -> None:
        named = outcome.mtu if isinstance(outcome, Refused) else None
        self.named = named if named is not None and self._least <= named < self.failing else None
