"""Listening on devices: what passes is heard once, in order, with its time and direction; filters are the kernel's."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from nankeen.kernel.namespace import entered
from nankeen.kernel.ring import Direction, Frame
from nankeen.kernel.tap import Tap
from nankeen.model.bpf import Instruction, Op, Program
from nankeen.model.errors import KernelError
from nankeen.model.packet import Ethernet, LinkType, Vlan, dissect
from tests.kernel.conftest import Net

FRAME = bytes.fromhex("020000000002 020000000001 88b5") + b"nankeen"
"""An EtherType for experiments (IEEE 802 §9.2.3): nothing but what the test sends has it."""


def ours(frame: Frame) -> bool:
    return b"\x88\xb5" in frame.data[12:18]


def only_ours(_: LinkType) -> Program:
    keep = Instruction(Op.RETURN, 1 << 18)
    return (Instruction(Op.LOAD_HALF, 12), Instruction(Op.JUMP_EQUAL, 0x88B5, 0, 1), keep, Instruction(Op.RETURN, 0))


@dataclass
class Wire:
    """Two ends of a veth pair, each in a namespace of its own."""

    here: Net
    there: Net

    def send(self, *frames: bytes) -> None:
        with entered(self.here.namespace), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
            sender.bind(("va", 0))
            for frame in frames:
                sender.send(frame)


@pytest.fixture
def wire(make_net: Callable[[], Net]) -> Wire:
    here, there = make_net(), make_net()
    here.run(f"ip link add name va type veth peer name vb netns {there.name}")
    here.run("ip link set va addrgenmode none up")
    there.run("ip link set vb addrgenmode none up")
    await_carrier(here, "va")
    return Wire(here, there)


def await_carrier(net: Net, device: str) -> None:
    """Until a device is told to have one, which is a moment after it has, the kernel drops what is sent by it."""
    while net.run(f"cat /sys/class/net/{device}/operstate") != "up\n":
        pass


async def heard(tap: Tap, count: int) -> list[Frame]:
    found: list[Frame] = []
    async with asyncio.timeout(10):
        async for frame in tap.frames():
            if ours(frame):
                found.append(frame)
            if len(found) == count:
                return found
    raise AssertionError


async def test_a_frame_is_heard_at_both_ends_with_its_direction_and_time(wire: Wire) -> None:
    with Tap(wire.here.namespace, "va") as near, Tap(wire.there.namespace, "vb") as far:
        before = time.time_ns()
        wire.send(FRAME)
        [sent], [received] = await heard(near, 1), await heard(far, 1)
    assert (sent.device, sent.direction, sent.data, sent.length) == ("va", Direction.OUT, FRAME, len(FRAME))
    assert (received.device, received.direction, received.data) == ("vb", Direction.IN, FRAME)
    assert before <= sent.time <= received.time <= time.time_ns()


async def test_many_frames_come_in_order_and_none_twice(wire: Wire) -> None:
    frames = [FRAME + number.to_bytes(2, "big") for number in range(5000)]
    with Tap(wire.there.namespace, "vb") as tap:
        wire.send(*frames)
        assert [frame.data for frame in await heard(tap, len(frames))] == frames
        assert tap.dropped == 0


async def test_what_finds_no_room_is_counted(wire: Wire) -> None:
    with Tap(wire.there.namespace, "vb", only_ours, size=1) as tap:
        wire.send(*[FRAME.ljust(1500)] * 2000)
        found = tap.read()
        assert tap.dropped > 0
        found += tap.read()
        assert len(found) + tap.dropped <= 2000
        assert tap.dropped == tap.dropped  # asking does not forget


async def test_the_kernel_applies_the_filter(wire: Wire) -> None:
    with Tap(wire.there.namespace, "vb", only_ours) as tap:
        wire.send(FRAME.replace(b"\x88\xb5", b"\x88\xb6"), FRAME)
        async with asyncio.timeout(10):
            async for frame in tap.frames():
                assert frame.data == FRAME
                break


async def test_a_vlan_tag_that_the_kernel_took_off_is_where_it_was(wire: Wire) -> None:
    tagged = FRAME[:12] + bytes.fromhex("8100 6123") + FRAME[12:]
    with Tap(wire.there.namespace, "vb") as tap:
        wire.send(tagged)
        [frame] = await heard(tap, 1)
    assert frame.data == tagged
    assert isinstance(dissect(frame.data).headers[0], Ethernet)
    assert dissect(frame.data).headers[1] == Vlan(0x123, 0x88B5, priority=3)


@contextmanager
def tun(net: Net) -> Iterator[None]:
    net.run("ip tuntap add dev t0 mode tun")
    net.run("ip link set t0 up")
    yield


def test_a_device_without_ethernet_is_told_as_such(net: Net) -> None:
    with tun(net), Tap(net.namespace, "t0") as tap:
        assert tap.link is LinkType.IP


async def test_a_device_that_goes_away_is_no_end(wire: Wire) -> None:
    with Tap(wire.there.namespace, "vb") as tap:
        wire.there.run("ip link set vb down")
        assert tap.read() == []
        wire.there.run("ip link set vb up")
        wire.send(FRAME)
        assert [frame.data for frame in await heard(tap, 1)] == [FRAME]


def test_a_device_that_is_not_there_is_named(net: Net) -> None:
    with pytest.raises(KernelError, match="nothing0: there is no such device"):
        Tap(net.namespace, "nothing0")
