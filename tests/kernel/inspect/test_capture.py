"""Captures on real devices: several points in order, limits, the word that ends them, and what was skipped."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any, BinaryIO

import pytest

import nankeen
from nankeen.inspect.capture import capture as capturing
from nankeen.inspect.capture.capture import Request, Summary, capture, opened
from nankeen.inspect.capture.listen import Limits, Stop, listen
from nankeen.inspect.capture.order import Captured
from nankeen.inspect.capture.point import Point, Wish
from nankeen.inspect.capture.sight import View
from nankeen.inspect.filter import parse
from nankeen.kernel.namespace import NAMED, entered
from nankeen.kernel.ring import BLOCK
from nankeen.model.errors import InputError, KernelError
from nankeen.model.packet import TunnelPorts
from tests.kernel.conftest import Net

SOURCE = Path(nankeen.__file__).parents[1]
_MANY = 12_000
"""More datagrams than two blocks of a ring have room for; where they are large, than a whole one has."""
WANTED = parse("dst host 10.0.0.2 and udp port 9")


@dataclass(frozen=True)
class Cable:
    """Two ends with addresses, each in a namespace of its own."""

    here: Net
    there: Net

    @property
    def points(self) -> list[Point]:
        ends = (("here:va", self.here, "va"), ("there:vb", self.there, "vb"))
        return [Point(name, NAMED / net.name, device) for name, net, device in ends]

    def send(self, count: int, more: bytes = b"") -> None:
        """Datagrams with their number, to where nobody listens."""
        with entered(self.here.namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for number in range(count):
                sender.sendto(number.to_bytes(2, "big") + more, ("10.0.0.2", 9))


@pytest.fixture
def cable(make_net: Callable[[], Net]) -> Cable:
    here, there = make_net(), make_net()
    here.run(f"ip link add name va type veth peer name vb netns {there.name}")
    for net, device, address in ((here, "va", "10.0.0.1/24"), (there, "vb", "10.0.0.2/24")):
        net.run(f"ip address add {address} dev {device}")
        net.run(f"ip link set {device} addrgenmode none up")
    here.run(f"ip neighbour add 10.0.0.2 lladdr {address_of(there, 'vb')} dev va")
    return Cable(here, there)


def address_of(net: Net, device: str) -> str:
    return net.run(f"cat /sys/class/net/{device}/address").strip()


def numbers(batches: Sequence[Captured]) -> list[tuple[int, int]]:
    """The point, and the number in the datagram."""
    return [(captured.point, int.from_bytes(captured.frame.data[42:44], "big")) for captured in batches]


def heard(cable: Cable, limits: Limits, count: int) -> list[Captured]:
    """What is heard at both ends of so many datagrams."""
    with Stop() as stop, opened(cable.points, WANTED, TunnelPorts()) as taps:
        cable.send(count)
        return [captured for batch in listen(taps, stop, limits) for captured in batch]


def test_several_points_are_merged_in_order_and_nothing_is_lost(cable: Cable) -> None:
    found = heard(cable, Limits(count=400), 200)
    assert [captured.time for captured in found] == sorted(captured.time for captured in found)
    for point in (0, 1):
        assert [number for at, number in numbers(found) if at == point] == list(range(200))
    for number in range(200):  # each is seen at the near end first
        assert numbers(found).index((0, number)) < numbers(found).index((1, number))


def test_a_count_ends_it_in_the_middle_of_what_came(cable: Cable) -> None:
    assert numbers(heard(cable, Limits(count=3), 10)) == [(0, 0), (1, 0), (0, 1)]


def test_a_time_ends_it_with_all_that_had_passed(cable: Cable) -> None:
    assert len(heard(cable, Limits(seconds=0.05), 10)) == 20


def test_a_word_from_outside_ends_it_with_all_that_had_passed(cable: Cable) -> None:
    with Stop() as stop, opened(cable.points, WANTED, TunnelPorts()) as taps:
        cable.send(5)
        stop.say()
        assert sum(len(batch) for batch in listen(taps, stop, Limits())) == 10


def test_a_filter_is_the_kernels(cable: Cable) -> None:
    with Stop() as stop, opened(cable.points, parse("udp port 10"), TunnelPorts()) as taps:
        cable.send(5)
        stop.say()
        assert list(listen(taps, stop, Limits())) == []


def test_a_point_that_cannot_be_heard_is_named(cable: Cable) -> None:
    there = cable.points[1]
    gone = Point("there:gone", there.namespace, "gone")
    with pytest.raises(KernelError, match="there:gone: there is no such device"), opened([gone], None, TunnelPorts()):
        pass


@dataclass
class Audience:
    """Keeps what it is told. It leaves when it has heard enough."""

    enough: int = 0
    names: list[str] = field(default_factory=list)
    heard: list[Captured] = field(default_factory=list)
    summary: Summary | None = None
    begun: threading.Event = field(default_factory=threading.Event)

    def begin(self, views: Sequence[View]) -> None:
        self.names = [view.point for view in views]
        self.begun.set()

    def tell(self, batch: Sequence[Captured]) -> None:
        self.heard += batch
        if self.enough and len(self.heard) >= self.enough:
            raise BrokenPipeError

    def end(self, summary: Summary) -> None:
        self.summary = summary


def captured_while(cable: Cable, audience: Audience, file: BinaryIO | None, limits: Limits) -> Summary:
    """On the near end, while datagrams are sent as soon as it listens."""

    def send() -> None:
        audience.begun.wait()
        cable.send(50)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        with Stop() as stop, entered(cable.here.namespace):
            request = Request((Wish.parse("va"),), WANTED, "udp port 9", limits)
            return capture(request, None, stop, audience, file)
    finally:
        audience.begun.set()
        sender.join()


def test_an_audience_is_told_and_a_file_is_written(cable: Cable) -> None:
    audience, file = Audience(), BytesIO()
    summary = captured_while(cable, audience, file, Limits(count=50))
    assert summary == Summary(50, 0) == audience.summary
    assert (audience.names, len(audience.heard)) == (["va"], 50)
    assert file.getvalue().count(b"\x06\0\0\0") >= 50


def test_what_comes_while_nobody_reads_and_finds_no_room_is_counted(
    cable: Cable, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Busy(Audience):
        def begin(self, _: Sequence[View]) -> None:
            cable.send(_MANY)
            stop.say()

    monkeypatch.setattr(capturing, "RING", 2 * BLOCK)
    with Stop() as stop, entered(cable.here.namespace):
        audience = Busy()
        summary = capture(Request((Wish.parse("va"),), WANTED), None, stop, audience)
    assert summary.skipped > 0
    assert summary.captured == len(audience.heard) == _MANY - summary.skipped


def await_full(pipe: IO[str] | None) -> None:
    """Waits until it is half full: then what is still to be told of many datagrams fills it."""
    assert pipe is not None
    half = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) // 2
    deadline = time.monotonic() + 30
    while int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder) < half:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_slow_terminal_skips_packets_and_is_told_how_many(cable: Cable, unbuffered: str) -> None:
    words = [":va", "udp", "port", "9", "and", "dst", "host", "10.0.0.2"]
    command = ["ip", "netns", "exec", cable.here.name, sys.executable, "-m", "nankeen", "capture", *words]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stderr is not None
            assert "listening at va" in process.stderr.readline()
            cable.send(_MANY)
            await_full(process.stdout)  # and nobody reads it
            cable.send(_MANY, bytes(1400))
            process.send_signal(signal.SIGINT)
            told, end = process.communicate(timeout=60)
        finally:
            process.kill()
    captured, skipped = (int(number) for number in re.findall(r"\d+", end))
    assert skipped > 0
    assert captured == len(told.splitlines()) == 2 * _MANY - skipped
    assert end.endswith(f"skipped {skipped}: they came faster than they were told\n")


def test_an_audience_that_leaves_ends_it_quietly(cable: Cable) -> None:
    audience = Audience(enough=1)
    summary = captured_while(cable, audience, None, Limits(seconds=60))
    assert summary.unheard
    assert audience.summary is None


@pytest.mark.parametrize("last", [False, True], ids=["at the beginning", "at the end"])
def test_a_file_that_nobody_reads_any_more_ends_it_quietly(cable: Cable, *, last: bool) -> None:
    class Pipe(BytesIO):
        def write(self, data: Any) -> int:  # noqa: ANN401  (as BytesIO has it)
            if not last or audience.heard:
                raise BrokenPipeError
            return super().write(data)

    audience = Audience()
    assert captured_while(cable, audience, Pipe(), Limits(count=50)).unheard
    assert audience.summary is None


def test_an_audience_that_leaves_before_the_end_is_told_ends_it_quietly(cable: Cable) -> None:
    class Deaf(Audience):
        def end(self, summary: Summary) -> None:  # noqa: ARG002
            raise BrokenPipeError

    summary = captured_while(cable, Deaf(), None, Limits(count=50))
    assert (summary.captured, summary.unheard) == (50, True)


def test_a_file_that_cannot_be_written_is_an_error(cable: Cable) -> None:
    refused = pytest.raises(KernelError, match="/dev/full: cannot be written: No space")
    with Path("/dev/full").open("wb", buffering=0) as full, refused:
        captured_while(cable, Audience(), full, Limits(count=50))


def test_a_device_that_goes_down_is_told_at_the_end(cable: Cable) -> None:
    class Cutter(Audience):
        def begin(self, _: Sequence[View]) -> None:
            cable.here.run("ip link set va down")

    with Stop() as stop, entered(cable.here.namespace):
        summary = capture(Request((Wish.parse("va"),), limits=Limits(seconds=0.05)), None, stop, Cutter())
    assert summary.went_down == ("va",)


def test_a_point_that_is_not_there_is_a_wrong_request(cable: Cable) -> None:
    with Stop() as stop, entered(cable.here.namespace), pytest.raises(InputError, match="did you mean va"):
        capture(Request((Wish.parse("vx"),)), None, stop, None)
