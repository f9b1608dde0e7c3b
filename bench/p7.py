"""P7: from the start of an agent's process to the route to its last peer, where the kernel holds nothing yet.

Flannel's daemon is not at hand: it is held against what flanneld 0.20.2 took on another machine, with etcd.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.cluster import need_root
from bench.fabric import RouteNews, home
from bench.row import Measure, Reach, Row
from bench.store import Filled, in_etcd, in_sqlite

_FLANNELD = {1000: 1.22, 5000: 5.80}
"""Seconds, by leases."""


@contextmanager
def _prepare(filled: Filled, peers: int) -> Iterator[Measure]:
    need_root()
    yield lambda _: (_cold_start(filled, peers), _FLANNELD[peers])


def _cold_start(filled: Filled, peers: int) -> float:
    """Seconds to the last route, on a node that has never had an agent."""
    with (
        tempfile.TemporaryDirectory() as name,
        home(Path(name)) as node,
        filled(node, peers) as registry,
        RouteNews(node) as news,
    ):
        began = time.perf_counter()
        with node.agent(registry.address):
            return news.await_added(peers) - began


def _row(row_id: str, filled: Filled, peers: int, bound: float) -> Row:
    return Row(
        id=row_id,
        what=f"{peers:,} peers programmed from a cold start{' by etcd' if filled is in_etcd else ''}",
        unit="s",
        against="flanneld 0.20.2, measured elsewhere",
        reach=Reach("≤", bound),
        prepare=partial(_prepare, filled, peers),
    )


ROWS = (
    _row("P7", in_sqlite, 1000, 0.5),
    _row("P7.5000", in_sqlite, 5000, 0.2),
    _row("P7.etcd", in_etcd, 1000, 0.5),
    _row("P7.etcd5000", in_etcd, 5000, 0.2),
)
