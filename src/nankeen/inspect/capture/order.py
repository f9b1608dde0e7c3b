"""What several points saw, merged by time.

A ring hands frames over up to `RETIRE` after they passed, so one point's may come after another's later ones. What was
seen is therefore held back for `WINDOW`: by then all that is earlier has come. What comes later still is not lost, but
goes out of order.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from operator import itemgetter
from typing import NamedTuple

from nankeen.kernel.ring import RETIRE, Frame

WINDOW = int((RETIRE + 0.04) * 1_000_000_000)
"""Nanoseconds: what a ring may take, and what a busy machine may take to run its timer."""


class Captured(NamedTuple):
    """A frame, and at which of the points it passed; ordered by time."""

    time: int
    point: int
    frame: Frame


class Order:
    """Frames on their way to where they are told, in order."""

    def __init__(self) -> None:
        self._held: list[Captured] = []
        self._now = 0

    def add(self, point: int, frames: Iterable[Frame]) -> None:
        """Takes what one point saw."""
        make = tuple.__new__  # half the time of Captured's own
        self._held += [make(Captured, (frame[0], point, frame)) for frame in frames]

    def due(self, now: int) -> list[Captured]:
        """What has been held back for long enough. All rings must have been read since `now`, in nanoseconds.

        Where the clock was set back, that is all: times before and after are of no one order.
        """
        was, self._now = self._now, now
        if now < was:
            return self.rest()
        self._held.sort(key=_time)  # points apart: much of it is sorted again and again
        end = bisect_right(self._held, now - WINDOW, key=_time)
        due, self._held = self._held[:end], self._held[end:]
        due.sort(key=_time_and_point)
        return due

    def rest(self) -> list[Captured]:
        """All that is still held back."""
        self._held.sort(key=_time_and_point)
        rest, self._held = self._held, []
        return rest

    @property
    def is_empty(self) -> bool:
        return not self._held


_time = itemgetter(0)
_time_and_point = itemgetter(0, 1)
