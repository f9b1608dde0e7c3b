"""P3: how fast TCP crosses nodes by the udp backend, against flannel's way of doing it, against VXLAN, and in parallel.

Flannel's proxy is not at hand: it is held against one of the same design, `proxy.c`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.cluster import lab
from bench.proxy import proxied_lab
from bench.row import Measure, Reach, Row
from bench.stream import throughput

_MANY = 8


@contextmanager
def _against_proxy() -> Iterator[Measure]:
    with lab(nodes=2, pods=2, backend="udp") as ours, proxied_lab() as proxied:
        yield lambda _: (throughput(ours), throughput(proxied))


@contextmanager
def _against_vxlan() -> Iterator[Measure]:
    with lab(nodes=2, pods=2, backend="udp") as ours, lab(nodes=2, pods=2, backend="vxlan") as other:
        yield lambda _: (throughput(ours), throughput(other))


@contextmanager
def _many_against_one() -> Iterator[Measure]:
    with lab(nodes=2, pods=2, backend="udp") as ours:
        yield lambda _: (throughput(ours, parallel=_MANY), throughput(ours))


ROWS = (
    Row(
        id="P3",
        what="pod to pod across nodes, one TCP stream, udp",
        unit="Gb/s",
        against="a proxy in C of flannel's design",
        reach=Reach("≥", 8),
        prepare=_against_proxy,
    ),
    Row(
        id="P3.vxlan",
        what="pod to pod across nodes, one TCP stream, udp",
        unit="Gb/s",
        against="the same by vxlan",
        reach=Reach("≥", 0.5),
        prepare=_against_vxlan,
    ),
    Row(
        id="P3.8",
        what=f"pod to pod across nodes, {_MANY} TCP streams, udp",
        unit="Gb/s",
        against="one stream",
        reach=Reach("≥", 1),
        prepare=_many_against_one,
    ),
)
