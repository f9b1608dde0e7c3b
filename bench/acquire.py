"""What a lease costs where 5,000 are held already, against the renewal of one: a transaction without a choice."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bench.fabric import lease
from bench.row import Measure, Reach, Row
from bench.store import fill
from nankeen.registry.sqlite import SqliteRegistry

_PEERS = 5000
_TIMES = 20
"""How often each is done in one round, of which the median is the round's value."""


@contextmanager
def _prepare() -> Iterator[Measure]:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "registry.db"
        fill(path, _PEERS)
        with closing(SqliteRegistry(path)) as registry:
            yield lambda number: asyncio.run(_both(registry, _PEERS + number * _TIMES))


async def _both(registry: SqliteRegistry, first: int) -> tuple[float, float]:
    """Milliseconds that new nodes need for a lease, and others to renew theirs."""
    taken = [await _milliseconds(_acquire(registry, number)) for number in _range(first)]
    renewed = [await _milliseconds(registry.renew(lease(number))) for number in _range(0)]
    return statistics.median(taken), statistics.median(renewed)


def _range(first: int) -> range:
    return range(first, first + _TIMES)


async def _acquire(registry: SqliteRegistry, number: int) -> object:
    return await registry.acquire(f"new{number}", "vxlan", [lease(number).endpoints[0].reach])


async def _milliseconds(action: Awaitable[object]) -> float:
    began = time.perf_counter()
    await action
    return (time.perf_counter() - began) * 1000


ROWS = (
    Row(
        id="acquire.5000",
        what=f"a lease acquired where {_PEERS:,} are held, SQLite",
        unit="ms",
        against="a lease renewed",
        reach=Reach("≤", 5, "ms"),
        prepare=_prepare,
    ),
)
