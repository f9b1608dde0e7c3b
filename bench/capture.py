"""What a capture costs: of a processor's core, at 50,000 packets a second that are TCP in VXLAN, of a hundred flows.

Seconds of the processor are counted, not of the clock, and only of our own side: what the kernel does to put packets
into the ring, or to filter them, belongs to whoever sends them. What takes more than a core skips packets at that rate,
and counts them.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import TextIOWrapper
from ipaddress import IPv4Address

from bench.cluster import namespace
from bench.process import run
from bench.row import Measure, Reach, Row
from nankeen.inspect.capture.capture import opened, pieces
from nankeen.inspect.capture.documents import Documents
from nankeen.inspect.capture.lines import Lines
from nankeen.inspect.capture.order import Captured, Order
from nankeen.inspect.capture.point import Point
from nankeen.inspect.capture.recording import Recording
from nankeen.inspect.capture.sight import View
from nankeen.inspect.capture.tree import tree
from nankeen.inspect.filter import parse
from nankeen.kernel.namespace import NAMED, Namespace, entered
from nankeen.kernel.ring import RETIRE
from nankeen.kernel.tap import Tap
from nankeen.model.address import HardwareAddress
from nankeen.model.packet import Ethernet, IPv4, Protocol, Tcp, TunnelPorts, Udp, Vxlan, encode

_RATE = 50_000
"""Packets a second."""
_BURSTS = 20
"""In one round."""
_BURST = 1000
"""Packets that are read at once: what comes at that rate in 20 ms, until they are handed over and in order."""
_FLOWS = 100
_SEGMENTS = 10
"""That differ, of each flow."""
_ETHERNET = Ethernet(HardwareAddress(bytes([2, 0, 0, 0, 0, 2])), HardwareAddress(bytes([2, 0, 0, 0, 0, 1])), 0x0800)
_NODES = IPv4(IPv4Address("192.168.0.11"), IPv4Address("192.168.0.12"), Protocol.UDP)
_PODS = IPv4(IPv4Address("10.244.1.2"), IPv4Address("10.244.2.2"), Protocol.TCP)

Tell = Callable[[Sequence[Captured]], object]
Audience = Callable[[Sequence[Point], Sequence[Tap]], Tell]
"""Who is told, once it is known where it is listened."""


@contextmanager
def _prepare(audience: Audience, devices: Sequence[str], wanted: str) -> Iterator[Measure]:
    with namespace() as name, Namespace.open(NAMED / name) as there:
        run(("ip", "-n", name, "link", "add", "name", "va", "type", "veth", "peer", "name", "vb"))
        for device in ("va", "vb"):
            run(("ip", "-n", name, "link", "set", device, "up"))
        points = [Point(f"node1:{device}", NAMED / name, device) for device in devices]
        frames = list(_frames())
        with opened(points, parse(wanted) if wanted else None, TunnelPorts()) as taps:
            tell = audience(points, taps)
            yield lambda _: _shares(there, frames, taps, tell)


def _frames() -> Iterator[bytes]:
    """As a sender has them, some of each flow in turn."""
    for number in range(_FLOWS * _SEGMENTS):
        flow, segment = number % _FLOWS, number // _FLOWS
        inner = (_ETHERNET, _PODS, Tcp(40_000 + flow, 80, segment * 64, 1, 0x10))
        yield encode((_ETHERNET, _NODES, Udp(50_000 + flow, 8472), Vxlan(1), *inner), bytes(64))


def _shares(there: Namespace, frames: Sequence[bytes], taps: Sequence[Tap], tell: Tell) -> tuple[float, float]:
    """Of a core at that rate, in percent: all of it, and reading alone. Of the burst that others disturbed least."""
    return min(_burst(there, frames, taps, tell) for _ in range(_BURSTS))


def _burst(there: Namespace, frames: Sequence[bytes], taps: Sequence[Tap], tell: Tell) -> tuple[float, float]:
    _send(there, frames)
    time.sleep(RETIRE * 2)  # the last block is handed over by then
    began = time.process_time()
    found = [tap.read() for tap in taps]
    read = time.process_time() - began
    order = Order()
    for point, each in enumerate(found):
        order.add(point, each)
    for piece in pieces(order.rest()):
        tell(piece)
    whole = time.process_time() - began
    scale = 100 * _RATE / sum(map(len, found))
    return whole * scale, read * scale


def _send(there: Namespace, frames: Sequence[bytes]) -> None:
    with entered(there), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind(("va", 0))
        for number in range(_BURST):
            sender.send(frames[number % len(frames)])


def _write(points: Sequence[Point], taps: Sequence[Tap]) -> Tell:
    return Recording(open(os.devnull, "wb", buffering=0), points, taps).write


def _lines(points: Sequence[Point], taps: Sequence[Tap]) -> Tell:
    out, lines = _terminal(), Lines(_views(points, taps))
    return lambda batch: out.write(lines.of(batch))


def _json(points: Sequence[Point], taps: Sequence[Tap]) -> Tell:
    out, documents = _terminal(), Documents(_views(points, taps))
    return lambda batch: out.write(documents.of(batch))


def _verbose(points: Sequence[Point], taps: Sequence[Tap]) -> Tell:
    out, views = _terminal(), _views(points, taps)
    return lambda batch: out.writelines(each for _, at, frame in batch for each in tree(views[at].see(frame)))


def _terminal() -> TextIOWrapper:
    """One that reads at any speed."""
    return open(os.devnull, "w", encoding="utf-8")


def _views(points: Sequence[Point], taps: Sequence[Tap]) -> list[View]:
    return [View(point.name, tap.link, TunnelPorts()) for point, tap in zip(points, taps, strict=True)]


def _row(what: str, of: str, audience: Audience, bound: float, *devices: str, wanted: str = "") -> Row:
    return Row(
        id=f"capture.{what}",
        what=f"capture at {_RATE:,} packets/s: {of}",
        unit="% of a core",
        against="reading the rings alone",
        reach=Reach("≤", bound, "% of a core"),
        prepare=partial(_prepare, audience, devices or ("vb",), wanted),
    )


ROWS = (
    _row("write", "written to a file", _write, 20),
    _row("lines", "a line for each", _lines, 20),
    _row("points", "the same at two points in order, filtered", _lines, 20, "va", "vb", wanted="inner tcp port 80"),
    _row("json", "JSON", _json, 35),
    _row("verbose", "all headers as a tree", _verbose, 400),
)
