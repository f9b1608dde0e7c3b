"""P8: a node joins a fabric of 1,000: from the registry's commit to the route in the kernel of one that is there.

It is held against what must be done in any case: the peer's three messages to the kernel.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.fabric import Home, RouteNews, home, lease
from bench.process import run
from bench.row import Measure, Reach, Row
from bench.store import Filled, Store, in_etcd, in_sqlite
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
def _prepare(filled: Filled) -> Iterator[Measure]:
    with tempfile.TemporaryDirectory() as name, home(Path(name)) as node, filled(node, _PEERS) as registry:
        device = ("type", "vxlan", "id", "99", "dstport", "4789")
        run(("ip", "-n", node.name, "link", "add", _BARE, *device))
        run(("ip", "-n", node.name, "link", "set", _BARE, "up"))
        with RouteNews(node) as news, node.agent(registry.address):
            news.await_added(_PEERS)
            yield lambda number: (_median_join(registry, news, _PEERS + number * _JOINS), _median_bare(node))


def _median_join(registry: Store, news: RouteNews, first: int) -> float:
    """Milliseconds from the commit to the route."""
    taken = []
    for number in range(first, first + _JOINS):
        time.sleep(_PAUSE)
        began = registry.join(number)
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


def _row(row_id: str, filled: Filled) -> Row:
    return Row(
        id=row_id,
        what=f"one node joins a fabric of {_PEERS:,}{' by etcd' if filled is in_etcd else ''}: commit to route",
        unit="ms",
        against="its three netlink messages alone",
        reach=Reach("≤", 50, "ms"),
        prepare=partial(_prepare, filled),
    )


ROWS = (_row("P8", in_sqlite), _row("P8.etcd", in_etcd))
