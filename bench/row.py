"""A row: what is measured, against what, and what is to be reached."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

Measure = Callable[[int], tuple[float, float]]
"""One round, by its number from 0: nankeen's value and that of what it is held against, in the row's unit."""


@dataclass(frozen=True, slots=True)
class Reach:
    """A bound on the ratio of the two medians or, with a unit, on nankeen's own median."""

    sign: str
    """"≥" or "≤"."""
    bound: float
    unit: str = ""

    def holds(self, value: float, ratio: float) -> bool:
        """Whether what was measured is within the bound."""
        subject = value if self.unit else ratio
        return subject >= self.bound if self.sign == "≥" else subject <= self.bound

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `prepare` builds what the rounds need and removes it afterwards."""

    id: str
    """P1, or P9.5000 where a row has several parts."""
    what: str
    unit: str
    against: str
    reach: Reach
    prepare: Callable[[], AbstractContextManager[Measure]]
    of_rounds: Callable[[Sequence[float]], float] = statistics.median
    """What stands for all rounds: the median, or `max` where no single round may fail."""

    def is_named_by(self, name: str) -> bool:
        """Whether a name on the command line means this row: its own, or that of the row it is a part of."""
        return name.upper() in (self.id.upper(), self.id.partition(".")[0].upper())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a row measured: one value for all of its rounds."""

    row: Row
    value: float
    against_value: float

    @classmethod
    def of(cls, row: Row, rounds: Sequence[tuple[float, float]]) -> Outcome:
        """From the rounds; there must be one."""
        values, against_values = zip(*rounds, strict=True)
        return cls(row, row.of_rounds(values), row.of_rounds(against_values))

    @property
    def ratio(self) -> float:
        """Nankeen's value in parts of the other's."""
        return self.value / self.against_value

    @property
    def holds(self) -> bool:
        """Whether the row reaches what it is to reach."""
        return self.row.reach.holds(self.value, self.ratio)
