"""What deciding costs, without a kernel: all of 5,000 peers compared, and one of 5,000 leases changed.

Seconds of the processor are counted, not of the clock.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from ipaddress import ip_address, ip_network

from bench.fabric import lease
from bench.row import Measure, Reach, Row
from nankeen.agent.fabric import Fabric
from nankeen.backend import Node, Underlay, open_backend
from nankeen.model.address import HardwareAddress
from nankeen.model.diff import diff
from nankeen.model.netconf import BackendConfig
from nankeen.model.state import State

_PEERS = 5000
_TIMES = 20
"""How often each is done in one round, of which the median is the round's value."""


def _fabric() -> Fabric:
    backend = open_backend(BackendConfig("vxlan"))
    node = Node(
        "node1",
        Underlay("eth0", 1500, (ip_address("192.168.0.11"),)),
        (ip_network("10.0.0.0/8"),),
        (ip_network("10.0.1.0/24"),),
        hardware={"flannel.1": HardwareAddress.random()},
    )
    fabric = Fabric((backend,), node)
    fabric.update(map(lease, range(_PEERS)))
    return fabric


def _milliseconds(action: Callable[[], object]) -> float:
    """The median of the processor's time that it takes."""
    taken = []
    for _ in range(_TIMES):
        began = time.process_time()
        action()
        taken.append((time.process_time() - began) * 1000)
    return statistics.median(taken)


@contextmanager
def _prepare_diff() -> Iterator[Measure]:
    fabric = _fabric()
    desired, observed = fabric.state, State(fabric.state)
    compared = partial(diff, desired, observed, fabric.claim)
    yield lambda _: (_milliseconds(compared), _milliseconds(lambda: State(observed)))


@contextmanager
def _prepare_lease() -> Iterator[Measure]:
    fabric = _fabric()
    leases = {known.node: known for known in fabric.leases}
    spare = iter(range(_PEERS, 1 << 16))

    def change_one() -> None:
        """A peer comes back with another subnet, address and hardware address."""
        number = next(spare)
        node = f"peer{number % _PEERS}"
        leases[node] = replace(lease(number), node=node)
        was, now = fabric.update(leases.values())
        diff(now, was, fabric.claim)

    yield lambda _: (_milliseconds(change_one), _milliseconds(_fabric))


ROWS = (
    Row(
        id="diff.5000",
        what=f"states of {_PEERS:,} peers compared",
        unit="ms",
        against="one such state built",
        reach=Reach("≤", 100, "ms"),
        prepare=_prepare_diff,
    ),
    Row(
        id="lease.5000",
        what=f"one changed lease of {_PEERS:,} decided",
        unit="ms",
        against="all of them decided",
        reach=Reach("≤", 5, "ms"),
        prepare=_prepare_lease,
    ),
)
