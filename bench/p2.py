"""P2: how much of the underlay's throughput one TCP stream between pods keeps when it crosses nodes by host-gw."""

from __future__ import annotations

from functools import partial

from bench.row import Reach, Row
from bench.stream import streams

ROWS = (
    Row(
        id="P2",
        what="pod to pod across nodes, one TCP stream, host-gw",
        unit="Gb/s",
        against="node to node, same underlay",
        reach=Reach("≥", 0.97),
        prepare=partial(streams, "host-gw"),
    ),
)
