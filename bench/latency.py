"""How long an echo between pods on different nodes takes by the udp backend, which wakes a process on each way."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from contextlib import contextmanager

from bench.cluster import Lab, lab, need_root
from bench.process import run
from bench.row import Measure, Reach, Row
from bench.stream import PODS

_ECHOES = 200
_PAUSE = "0.01"
"""Seconds between two of them, so that each comes to a process that waits."""


@contextmanager
def _prepare() -> Iterator[Measure]:
    need_root()  # others may not ask that often, ping(8)
    with lab(nodes=2, pods=2, backend="udp") as ours, lab(nodes=2, pods=2, backend="vxlan") as other:
        yield lambda _: (_median(ours), _median(other))


def _median(cluster: Lab) -> float:
    """Milliseconds."""
    source, target = PODS
    echoes = ("ping", "-n", "-c", str(_ECHOES), "-i", _PAUSE, cluster.address(target))
    return statistics.median(times(run(cluster.inside(source, *echoes))))


def times(printed: str) -> list[float]:
    """The milliseconds of each echo that ping prints."""
    return [float(time) for time in re.findall(r" time=([\d.]+) ms", printed)]


ROWS = (
    Row(
        id="latency.udp",
        what="an echo between pods across nodes, median, udp",
        unit="ms",
        against="the same by vxlan",
        reach=Reach("≤", 2),
        prepare=_prepare,
    ),
)
