"""What a capture costs: of a processor's core, at 50,000 packets a second that are TCP in VXLAN.

Seconds of the processor are counted, not of the clock, and only of our own side: what the kernel does to put packets
into the ring belongs to whoever sends them. What takes more than a core
skips packets at that rate, and counts them.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv4Address

from bench.cluster import namespace
from bench.process import run
from bench.row import Measure, Reach, Row
from nankeen.inspect.capture.order import Order
from nankeen.inspect.capture.point import Point
from nankeen.inspect.capture.recording import Recording
from nankeen.kernel.namespace import NAMED, Namespace, entered
from nankeen.kernel.ring import RETIRE, Frame
from nankeen.kernel.tap import Tap
from nankeen.model.address import HardwareAddress
from nankeen.model.packet import Ethernet, IPv4, Protocol, Tcp, Udp, Vxlan, dissect, encode

_RATE = 50_000
"""Packets a second."""
_PACKETS = 20_000
"""In one round."""
_RING = 32 << 20
_ETHERNET = Ethernet(HardwareAddress(bytes([2, 0, 0, 0, 0, 2])), HardwareAddress(bytes([2, 0, 0, 0, 0, 1])), 0x0800)
_NODES = IPv4(IPv4Address("192.168.0.11"), IPv4Address("192.168.0.12"), Protocol.UDP)
_PODS = IPv4(IPv4Address("10.244.1.2"), IPv4Address("10.244.2.2"), Protocol.TCP)
_STACK = (_ETHERNET, _NODES, Udp(40000, 8472), Vxlan(1), _ETHERNET, _PODS, Tcp(40000, 80))

Work = Callable[[Tap, Sequence[Frame]], object]


@contextmanager
def _prepare(work: Work) -> Iterator[Measure]:
    with namespace() as name, Namespace.open(NAMED / name) as there:
        run(("ip", "-n", name, "link", "add", "name", "va", "type", "veth", "peer", "name", "vb"))
        for device in ("va", "vb"):
            run(("ip", "-n", name, "link", "set", device, "up"))
        with Tap(there, "vb", size=_RING) as tap:
            yield lambda _: _shares(there, tap, work)


def _shares(there: Namespace, tap: Tap, work: Work) -> tuple[float, float]:
    """Of a core at that rate, in percent: reading and the work, and reading alone."""
    _send(there)
    time.sleep(RETIRE * 2)  # the last block is handed over by then
    began = time.process_time()
    frames = tap.read()
    read = time.process_time() - began
    work(tap, frames)
    whole = time.process_time() - began
    scale = 100 * _RATE / max(len(frames), 1)
    return whole * scale, read * scale


def _send(there: Namespace) -> None:
    frame = encode(_STACK, bytes(64))
    with entered(there), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind(("va", 0))
        for _ in range(_PACKETS):
            sender.send(frame)


def _write(tap: Tap, frames: Sequence[Frame]) -> None:
    order = Order()
    order.add(0, frames)
    with open(os.devnull, "wb", buffering=0) as file:
        Recording(file, [Point("vb", None, "vb")], [tap]).write(order.rest())


def _decode(_: Tap, frames: Sequence[Frame]) -> None:
    for frame in frames:
        dissect(frame.data)


def _row(what: str, work: Work, bound: float) -> Row:
    return Row(
        id=f"capture.{work.__name__.strip('_')}",
        what=f"capture at {_RATE:,} packets/s: {what}",
        unit="% of a core",
        against="reading the ring alone",
        reach=Reach("≤", bound, "% of a core"),
        prepare=partial(_prepare, work),
    )


ROWS = (
    _row("written to a file", _write, 20),
    _row("all headers decoded", _decode, 100),
)
