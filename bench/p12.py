"""P12: packets lost between two pods on different nodes, while the agents of both end and start again and again.

Each round is 100 restarts, by SIGTERM and SIGKILL in turn; of the rounds the worst counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

from asyncinotify import Inotify, Mask

from bench.cluster import lab, need_root
from bench.meter import End, traffic
from bench.row import Measure, Reach, Row
from nankeen.agent import status
from nankeen.lab import Lab, LabNode, control, find_lab

_RESTARTS = 100
_PATIENCE = 30.0
"""Seconds in which an agent must be ready."""


@contextmanager
def _prepare() -> Iterator[Measure]:
    need_root()
    with lab(nodes=2, pods=2) as cluster:
        found = find_lab(cluster.name)
        yield lambda _: asyncio.run(_lost_and_sent(found))


async def _lost_and_sent(found: Lab) -> tuple[float, float]:
    """Packets lost in one round, and packets sent."""
    ends = [End(pod.name, pod.namespaces.network, pod.addresses[0].ip) for pod in found.pods]
    turns = list(product((False, True), found.nodes))
    async with traffic([(ends[0], ends[1])]) as meter:
        for number in range(_RESTARTS):
            kill, node = turns[number % len(turns)]
            await _restart(found, node, kill=kill)
    return meter.lost, meter.sent


async def _restart(found: Lab, node: LabNode, *, kill: bool) -> None:
    """Ends a node's agent and starts another; returns when that one is ready."""
    pid = await asyncio.to_thread(control.ask, found, {"do": "agent restart", "node": node.name, "kill": kill})
    file = node.directory / "run/nankeen/status.json"
    with Inotify() as inotify:
        inotify.add_watch(file.parent, Mask.MOVED_TO)
        async with asyncio.timeout(_PATIENCE):
            while not ((told := status.read(file)) and told.ready and told.pid == pid):
                await inotify.get()


ROWS = (
    Row(
        id="P12",
        what=f"packets lost, {_RESTARTS} restarts of agents a round",
        unit="packets",
        against="packets sent",
        reach=Reach("≤", 0, "packets"),
        prepare=_prepare,
        of_rounds=max,
    ),
)
