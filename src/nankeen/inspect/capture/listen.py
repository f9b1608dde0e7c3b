"""Listening by several taps until it is enough: a count, a time, or a word from outside."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from nankeen.inspect.capture.order import WINDOW, Captured, Order
from nankeen.kernel.tap import Tap

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a capture."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When it is enough."""

    count: int | None = None
    """Packets."""
    seconds: float | None = None


class Stop:
    """A word from outside that it is enough: a pipe, which also ends when the process that would say it does."""

    def __init__(self) -> None:
        self.heard, self._said = os.pipe()

    def say(self, *_: object) -> None:
        """It is enough. May be a signal's handler."""
        os.write(self._said, b"!")

    def hear_only(self) -> None:
        """This process is a child of the one that says it, and is not to be ended by signals meant for both."""
        os.close(self._said)
        for kind in SIGNALS:
            signal.signal(kind, signal.SIG_IGN)

    def close(self) -> None:
        os.close(self.heard)
        os.close(self._said)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def stopped_by_signals() -> Iterator[Stop]:
    """Inside, Ctrl-C and the like say that it is enough; they do not end the program, which has yet to tell more."""
    with Stop() as stop:
        before = {kind: signal.signal(kind, stop.say) for kind in SIGNALS}
        try:
            yield stop
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)


def listen(taps: Sequence[Tap], stop: Stop, limits: Limits) -> Iterator[list[Captured]]:
    """What passes, in order of time, in as many pieces as it comes in, until it is enough."""
    left = limits.count
    for batch in _until_stopped(taps, stop, limits.seconds):
        if left is not None:
            del batch[left:]
            left -= len(batch)
        if batch:
            yield batch
        if left == 0:
            return


def _until_stopped(taps: Sequence[Tap], stop: Stop, seconds: float | None) -> Iterator[list[Captured]]:
    order, poll = Order(), select.poll()
    for tap in taps:
        poll.register(tap, select.POLLIN)
    poll.register(stop.heard, select.POLLIN)
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        ready = poll.poll(_patience(order, deadline))
        now = time.time_ns()
        _read(taps, order)
        yield order.due(now)
        if _is_over(ready, stop, deadline):
            break
    yield _last(taps, order, now)


def _patience(order: Order, deadline: float | None) -> int | None:
    """Milliseconds to wait for something new: what is held back, and the deadline, wait for nobody."""
    waits = [] if order.is_empty else [WINDOW / 1_000_000]
    waits += [] if deadline is None else [max(deadline - time.monotonic(), 0) * 1000]
    return int(min(waits)) + 1 if waits else None


def _is_over(ready: Sequence[tuple[int, int]], stop: Stop, deadline: float | None) -> bool:
    told = any(descriptor == stop.heard for descriptor, _ in ready)
    return told or (deadline is not None and time.monotonic() >= deadline)


def _last(taps: Sequence[Tap], order: Order, end: int) -> list[Captured]:
    """What had passed by the end and is still on its way through the rings."""
    time.sleep(WINDOW / 1_000_000_000)
    _read(taps, order)
    return [captured for captured in order.rest() if captured.time <= end]


def _read(taps: Sequence[Tap], order: Order) -> None:
    for number, tap in enumerate(taps):
        found = tap.read()
        if found:
            order.add(number, found)
