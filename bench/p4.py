"""P4: how many UDP datagrams cross nodes by the udp backend when more are sent than can, against flannel's way.

What counts is what came in at the receiver.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.cluster import Lab, lab
from bench.proxy import proxied_lab
from bench.row import Measure, Reach, Row
from bench.stream import PODS, transfer

_BYTES = 1400
_RATE = "5G"
"""Bits per second: more than a sender that makes one datagram at a time brings about."""


@contextmanager
def _prepare() -> Iterator[Measure]:
    with lab(nodes=2, pods=2, backend="udp") as ours, proxied_lab() as proxied:
        yield lambda _: (_delivered(ours), _delivered(proxied))


def _delivered(cluster: Lab) -> float:
    """Mb/s."""
    return transfer(cluster, PODS, "--udp", "--length", str(_BYTES), "--bitrate", _RATE).bits_per_second / 1e6


ROWS = (
    Row(
        id="P4",
        what=f"UDP datagrams of {_BYTES} bytes delivered across nodes, udp",
        unit="Mb/s",
        against="a proxy in C of flannel's design",
        reach=Reach("≥", 3),
        prepare=_prepare,
    ),
)
