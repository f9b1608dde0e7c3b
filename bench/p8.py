"""P8: a node joins a fabric of 1,000: from the registry's commit to the route in the kernel of one that is there.

It is held against what must be done in any case: the peer's three messages to the kernel.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bench.fabric import Home, RouteNews, fill, home, join, lease
from bench.process import run
from bench.row import Measure, Reach, Row
from nankeen.kernel.apply import apply_or_raise
from nankeen.kernel.namespace import NAMED, Namespace
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.address import HardwareAddress
from nankeen.model.diff import diff
from nankeen.model.gojson import parse_object
from nankeen.model.state import ForwardingEntry, Neighbour, Route, State

_PEERS = 1000
_JOINS = 20
"""Joins in one round, of which the median is the round's value."""
_PAUSE = 0.1
"""Seconds between two joins, so that each comes alone."""
_BARE = "bare0"


@contextmanager
def _prepare() -> Iterator[Measure]:
    with tempfile.TemporaryDirectory() as name, home(Path(name)) as node:
        fill(node.registry, _PEERS)
        device = ("type", "vxlan", "id", "99", "dstport", "4789")
        run(("ip", "-n", node.name, "link", "add", _BARE, *device))
        run(("ip", "-n", node.name, "link", "set", _BARE, "up"))
        with RouteNews(node) as news, node.agent(), closing(_opened(node.registry)) as table:
            news.await_added(_PEERS)
            yield lambda number: (_median_join(node, table, news, _PEERS + number * _JOINS), _median_bare(node))


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def _median_join(node: Home, table: sqlite3.Connection, news: RouteNews, first: int) -> float:
    """Milliseconds from the commit to the route."""
    taken = []
    for number in range(first, first + _JOINS):
        time.sleep(_PAUSE)
        began = join(table, node.registry, number)
        taken.append((news.await_added(1) - began) * 1000)
    return statistics.median(taken)


def _median_bare(node: Home) -> float:
    """Milliseconds that the kernel needs for one peer's three entries, on a device that no agent looks after."""
    taken = []
    with Namespace.open(NAMED / node.name) as there, NetlinkSocket(there) as socket:
        for number in range(_JOINS):
            wanted = _bare_peer(number)
            began = time.perf_counter()
            apply_or_raise(socket, diff(wanted, State()))
            taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


def _bare_peer(number: int) -> State:
    """What a peer takes, elsewhere than where the agent would see it as its own."""
    [endpoint] = lease(_PEERS * 10 + number).endpoints
    address = HardwareAddress.parse(parse_object(endpoint.reach.data or "", "lease").string("VtepMAC"))
    gateway = endpoint.subnet.network_address
    return State(
        [
            ForwardingEntry(_BARE, address, endpoint.reach.address),
            Neighbour(_BARE, gateway, address),
            Route(endpoint.subnet, _BARE, gateway, onlink=True, table=100),
        ]
    )


ROWS = (
    Row(
        id="P8",
        what=f"one node joins a fabric of {_PEERS:,}: commit to route",
        unit="ms",
        against="its three netlink messages alone",
        reach=Reach("≤", 50, "ms"),
        prepare=_prepare,
    ),
)
