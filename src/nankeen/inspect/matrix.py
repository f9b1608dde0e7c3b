"""Who reaches whom, how fast and how well: a cell for each pair, or for all pairs between two nodes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from nankeen.inspect.plan import Protocol
from nankeen.model.address import Family


class Grouping(Enum):
    """What the rows and columns of a matrix are."""

    PODS = "pods"
    """Each pod, and each node."""
    NODES = "nodes"
    """Each node, together with its pods."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What is known of the ways from one to another."""

    pairs: int
    reached: int
    """Pairs of which every probe of the last round was answered as it should be, those of full size included."""
    failing: tuple[Protocol, ...]
    """By which protocols some pair failed to reach the other in the last round."""
    median: float | None
    """Seconds that an ICMP echo took, in the last rounds; None where none was answered."""
    p99: float | None
    """Of 100 echoes, 99 took no longer."""
    sent: int
    """Probes of the last rounds."""
    lost: int
    path_mtu: int | None
    """The smallest of the pairs, in bytes; None where it is not known."""
    is_short: bool
    """Whether packets of the pods' full MTU do not pass somewhere."""
    changed: bool
    """Whether it became better or worse in the last round."""

    @property
    def holds(self) -> bool:
        return self.reached == self.pairs

    @property
    def loss(self) -> float:
        """The share of probes that were lost."""
        return self.lost / self.sent if self.sent else 0.0


Key = tuple[Family, str, str]
"""A family, who asks, and who is asked."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """The cells by who asks and who is asked; there is none where nobody asks."""

    grouping: Grouping
    names: tuple[str, ...]
    """The rows, and the columns, in order."""
    families: tuple[Family, ...]
    cells: Mapping[Key, Cell]


def in_order(names: Sequence[str]) -> list[str]:
    """As people count: pod2 before pod10."""
    return sorted(names, key=lambda name: [_rank(part) for part in re.split(r"([0-9]{1,9})", name) if part])


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that so large a share of all does not exceed (the nearest rank)."""
    if not ordered:
        return None
    rank = -int(-share * len(ordered) // 1)  # rounded up
    return ordered[min(max(rank, 1), len(ordered)) - 1]


def _rank(part: str) -> tuple[bool, int, str]:
    return (False, int(part), "") if part.isdecimal() else (True, 0, part)
