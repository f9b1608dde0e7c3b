"""P1: how much of the underlay's throughput one TCP stream between pods keeps when it crosses nodes over VXLAN."""

from __future__ import annotations

from functools import partial

from bench.row import Reach, Row
from bench.stream import streams

ROWS = (
    Row(
        id="P1",
        what="pod to pod across nodes, one TCP stream, vxlan",
        unit="Gb/s",
        against="node to node, same underlay",
        reach=Reach("≥", 0.85),
        prepare=partial(streams, "vxlan"),
    ),
)
