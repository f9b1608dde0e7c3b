"""What it costs to carry a gigabyte from pod to pod across nodes: seconds of all processors, both ends included.

A machine that does other things at the time counts them in. The bound of the udp backend is P3.vxlan turned round:
where the processors are what is short, who needs twice their time is half as fast. That of VXLAN is wider than P1's: a
stream that several processors share loses less of its speed than it costs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.cluster import Lab, lab
from bench.row import Measure, Reach, Row
from bench.stream import NODES, PODS, transfer


@contextmanager
def _udp() -> Iterator[Measure]:
    with lab(nodes=2, pods=2, backend="udp") as ours, lab(nodes=2, pods=2, backend="vxlan") as other:
        yield lambda _: (_cost(ours, PODS), _cost(other, PODS))


@contextmanager
def _vxlan() -> Iterator[Measure]:
    with lab(nodes=2, pods=2, backend="vxlan") as cluster:
        yield lambda _: (_cost(cluster, PODS), _cost(cluster, NODES))


def _cost(cluster: Lab, ends: tuple[str, str]) -> float:
    return transfer(cluster, ends).seconds_per_gigabyte


ROWS = (
    Row(
        id="cpu.udp",
        what="processors' time for a gigabyte, one TCP stream, udp",
        unit="s",
        against="the same by vxlan",
        reach=Reach("≤", 2),
        prepare=_udp,
    ),
    Row(
        id="cpu.vxlan",
        what="processors' time for a gigabyte, one TCP stream, vxlan",
        unit="s",
        against="node to node, same underlay",
        reach=Reach("≤", 1.5),
        prepare=_vxlan,
    ),
)
