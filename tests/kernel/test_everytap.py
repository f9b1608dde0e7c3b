"""Listening on all devices at once: each frame is heard with its device and direction, also on devices made later."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable

import pytest

from nankeen.kernel.everytap import HARDWARE_TYPE, EveryTap, Heard, await_stamps, close_all
from nankeen.kernel.namespace import entered
from nankeen.kernel.ring import Direction
from nankeen.model.bpf import Instruction, Op, Program
from nankeen.model.errors import KernelError
from nankeen.model.packet import LinkType
from tests.kernel.conftest import Net

EXPERIMENTAL = b"\x88\xb5"
"""An EtherType that nothing but the tests sends (IEEE 802 §9.2.3)."""
FRAME = bytes.fromhex("020000000002 020000000001") + EXPERIMENTAL + b"nankeen"
OURS: Program = (
    Instruction(Op.LOAD_HALF, 12), Instruction(Op.JUMP_EQUAL, 0x88B5, 0, 1), Instruction(Op.RETURN, 1 << 18),
    Instruction(Op.RETURN, 0),
)  # fmt: skip


@pytest.fixture
def pair(make_net: Callable[[], Net]) -> Net:
    """A namespace with both ends of a cable in it."""
    net = make_net()
    net.run("ip link add va type veth peer name vb")
    net.run("ip link set va addrgenmode none up")
    net.run("ip link set vb addrgenmode none up")
    return net


def send(net: Net, device: str, frame: bytes = FRAME) -> None:
    with entered(net.namespace), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as mouth:
        mouth.bind((device, 0))
        mouth.send(frame)


def heard(tap: EveryTap, count: int) -> list[Heard]:
    found: list[Heard] = []
    while len(found) < count:
        assert select.select([tap], [], [], 5)[0], found
        found += tap.read()
    return found


def test_a_device_whose_name_is_no_text_does_not_stop_it(pair: Net) -> None:
    pair.run("ip link set va down name v\udcff up")  # the octet 0xff, as Python spells it in words
    with EveryTap(pair.namespace, OURS) as tap:
        send(pair, "vb")
        [found] = heard(tap, 1)
    assert (found.frame.device, found.frame.direction) == ("vb", Direction.OUT)


def test_both_ends_of_a_cable_are_heard_by_one_socket(pair: Net) -> None:
    with EveryTap(pair.namespace, OURS) as tap:
        before = time.time_ns()
        send(pair, "va")
        found = heard(tap, 2)
    assert [(each.frame.device, each.frame.direction) for each in found] == [
        ("va", Direction.OUT),
        ("vb", Direction.IN),
    ]
    assert {(each.frame.data, each.frame.length, each.link) for each in found} == {(FRAME, 21, LinkType.ETHERNET)}
    assert before <= found[0].frame.time <= found[1].frame.time <= time.time_ns()


def test_a_device_that_is_made_later_is_heard(pair: Net) -> None:
    with EveryTap(pair.namespace, OURS) as tap:
        pair.run("ip link add vc type veth peer name vd")
        pair.run("ip link set vc addrgenmode none up")
        pair.run("ip link set vd addrgenmode none up")
        send(pair, "vc")
        assert {each.frame.device for each in heard(tap, 2)} == {"vc", "vd"}


def test_a_device_that_goes_down_ends_nothing(pair: Net) -> None:
    with EveryTap(pair.namespace, OURS) as tap:
        pair.run("ip link add vc type veth peer name vd")
        pair.run("ip link set vc up")
        pair.run("ip link del vc")
        send(pair, "va")
        assert len(heard(tap, 2)) == 2


def test_what_the_program_leaves_out_is_not_heard(pair: Net) -> None:
    other = FRAME.replace(EXPERIMENTAL, b"\x88\xb6")
    with EveryTap(pair.namespace, OURS) as tap:
        send(pair, "va", other)
        send(pair, "va")
        assert {each.frame.data for each in heard(tap, 2)} == {FRAME}
        assert tap.read() == []


def test_a_program_tells_kinds_of_devices_apart(pair: Net) -> None:
    """Loopback's frames are kept, others' are not."""
    loopback: Program = (
        Instruction(Op.LOAD_WORD, HARDWARE_TYPE), Instruction(Op.JUMP_EQUAL, 772, 0, 1),
        Instruction(Op.RETURN, 1 << 18), Instruction(Op.RETURN, 0),
    )  # fmt: skip
    with EveryTap(pair.namespace, loopback) as tap:
        send(pair, "va")
        send(pair, "lo")
        assert {each.frame.device for each in heard(tap, 1)} == {"lo"}


def test_times_are_those_of_the_frames_once_the_kernel_notes_them(pair: Net) -> None:
    with EveryTap(pair.namespace, OURS) as tap:
        assert await_stamps(pair.namespace)
        send(pair, "va")
        sent = time.time_ns()
        assert all(each.frame.time <= sent for each in heard(tap, 2))


def test_without_a_loopback_device_nothing_is_awaited(pair: Net) -> None:
    pair.run("ip link set lo down")
    pair.run("ip address flush dev lo")
    assert not await_stamps(pair.namespace)


def test_another_namespace_is_not_heard(pair: Net, make_net: Callable[[], Net]) -> None:
    with EveryTap(make_net().namespace, OURS) as elsewhere, EveryTap(pair.namespace, OURS) as here:
        send(pair, "va")
        assert len(heard(here, 2)) == 2
        assert elsewhere.read() == []


def test_a_program_that_the_kernel_refuses_is_an_error(pair: Net) -> None:
    with pytest.raises(KernelError, match="cannot listen"):
        EveryTap(pair.namespace, (Instruction(Op.JUMP, 5),))


def test_many_are_closed_at_once(pair: Net) -> None:
    taps = [EveryTap(pair.namespace, OURS) for _ in range(8)]
    close_all(taps)
    assert {tap.fileno() for tap in taps} == {-1}
    close_all([])
