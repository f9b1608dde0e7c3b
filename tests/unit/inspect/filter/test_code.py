"""A filter's program keeps the packets that the filter means: all that can come, whole and damaged."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nankeen.inspect.filter import Expression, compile_filter, parse
from nankeen.inspect.filter.assemble import Branch, Go, Item, Label, assemble
from nankeen.inspect.filter.expression import Or
from nankeen.model.address import HardwareAddress
from nankeen.model.bpf import FARTHEST, LONGEST, Instruction, Op
from nankeen.model.errors import InputError
from nankeen.model.packet import (
    Arp,
    Ethernet,
    Extension,
    Fragment,
    Header,
    IPv4,
    IPv6,
    LinkType,
    Protocol,
    Tcp,
    TunnelPorts,
    Udp,
    Vlan,
    Vxlan,
    dissect,
    encode,
)
from tests.unit.inspect.filter.oracle import damaged, expressions, holds
from tests.unit.inspect.filter.processor import run
from tests.unit.model.packet.strategies import frames, networks, payloads


@settings(max_examples=200)
@given(expressions, frames(), payloads, st.data())
def test_the_program_keeps_what_the_filter_means(
    expression: Expression, stack: tuple[Header, ...], payload: bytes, data: st.DataObject
) -> None:
    frame = data.draw(damaged(encode(stack, payload)))
    kept = run(compile_filter(expression, LinkType.ETHERNET), frame) != 0
    assert kept == holds(expression, dissect(frame))


@given(expressions, networks(), payloads, st.data())
def test_the_same_where_packets_have_no_ethernet_header(
    expression: Expression, stack: tuple[int, tuple[Header, ...]], payload: bytes, data: st.DataObject
) -> None:
    packet = data.draw(damaged(encode(stack[1], payload)))
    kept = run(compile_filter(expression, LinkType.IP), packet) != 0
    assert kept == holds(expression, dissect(packet, LinkType.IP))


@given(expressions, st.binary(max_size=200), st.sampled_from(LinkType))
def test_no_program_reads_beyond_a_packets_end(expression: Expression, data: bytes, link: LinkType) -> None:
    run(compile_filter(expression, link), data)  # which raises where it does


A, B = HardwareAddress.parse("02:00:00:00:00:01"), HardwareAddress.parse("02:00:00:00:00:02")
NODES = IPv4Address("192.168.0.11"), IPv4Address("192.168.0.12")
PODS = IPv4Address("10.244.1.2"), IPv4Address("10.244.2.2")
PODS6 = IPv6Address("fd00:10:244:1::2"), IPv6Address("fd00:10:244:2::2")
TCP = Tcp(1000, 80, options=bytes(4))
FIRST = Fragment(Protocol.TCP, 0, more_fragments=True, identification=7)


def chain(length: int) -> tuple[Header, ...]:
    """An IPv6 packet with that many extension headers."""
    options = Protocol.DESTINATION_OPTIONS
    last = [Extension(options, options, bytes(14))] * (length - 1) + [Extension(options, Protocol.TCP, bytes(6))]
    return (Ethernet(B, A, 0x86DD), IPv6(*PODS6, options), *last, TCP)


STACKS: dict[str, tuple[Header, ...]] = {
    "ARP in a VLAN": (Ethernet(B, A, 0x8100), Vlan(7, 0x0806), Arp(1, A, PODS[0], B, PODS[1])),
    "two VLANs": (Ethernet(B, A, 0x88A8), Vlan(7, 0x8100), Vlan(8, 0x0800), IPv4(*PODS, Protocol.UDP), Udp(1000, 80)),
    "three VLANs": (Ethernet(B, A, 0x8100), *[Vlan(7, 0x8100)] * 2, Vlan(8, 0x0800), IPv4(*PODS, Protocol.TCP), TCP),
    "IP options": (Ethernet(B, A, 0x0800), IPv4(*PODS, Protocol.TCP, options=bytes(8)), TCP),
    "four extension headers": chain(4),
    "five extension headers": chain(5),
    "a first fragment": (
        Ethernet(B, A, 0x86DD),
        IPv6(*PODS6, 44),
        Fragment(6, 0, more_fragments=True, identification=7),
        TCP,
    ),
    "a later fragment": (
        Ethernet(B, A, 0x86DD),
        IPv6(*PODS6, 44),
        Fragment(6, 1, more_fragments=True, identification=7),
        TCP,
    ),
    "VXLAN": (
        *(Ethernet(B, A, 0x0800), IPv4(*NODES, Protocol.UDP), Udp(1000, 8472), Vxlan(1)),
        *(Ethernet(B, A, 0x8100), Vlan(7, 0x0800), IPv4(*PODS, Protocol.TCP), TCP),
    ),
    "VXLAN over IPv6": (
        *(Ethernet(B, A, 0x86DD), IPv6(*PODS6, Protocol.UDP), Udp(1000, 4789), Vxlan(1)),
        *(Ethernet(B, A, 0x86DD), IPv6(*PODS6, Protocol.UDP), Udp(1000, 80)),
    ),
    "UDP tunnel": (Ethernet(B, A, 0x0800), IPv4(*NODES, Protocol.UDP), Udp(1, 8285), IPv4(*PODS, Protocol.TCP), TCP),
    "IP in IP": (Ethernet(B, A, 0x0800), IPv4(*NODES, Protocol.IPV4), IPv4(*PODS, Protocol.UDP), Udp(1000, 80)),
    "IPv6 in IP": (Ethernet(B, A, 0x0800), IPv4(*NODES, Protocol.IPV6), IPv6(*PODS6, Protocol.TCP), TCP),
}
QUESTIONS = [
    parse(f"{level} {term}")
    for level in ("outer", "inner")
    for term in ("arp", "ipv4", "ipv6", "tcp", "udp", "port 80", "not net 10.244.0.0/16", "src net fd00:10:244:1::/64")
]
PROGRAMS = [(asked, compile_filter(asked, LinkType.ETHERNET)) for asked in QUESTIONS]


def agree(frame: bytes) -> bool:
    packet = dissect(frame)
    return all((run(program, frame) != 0) == holds(asked, packet) for asked, program in PROGRAMS)


@pytest.mark.parametrize("name", STACKS)
def test_a_frame_cut_at_any_octet_is_understood_alike(name: str) -> None:
    frame = encode(STACKS[name], b"data")
    assert [cut for cut in range(len(frame) + 1) if not agree(frame[:cut])] == []


@pytest.mark.parametrize("name", STACKS)
def test_any_length_that_a_header_says_is_understood_alike(name: str) -> None:
    stack, wrong = STACKS[name], []
    for number, header in enumerate(stack):
        field = {IPv4: "total_length", IPv6: "payload_length", Udp: "length"}.get(type(header))
        for length in range(80) if field else ():
            changed = replace(header, **{field: length})  # type: ignore[arg-type]  # each type's own
            if not agree(encode((*stack[:number], changed, *stack[number + 1 :]), b"data")):
                wrong.append((type(header).__name__, length))
    assert wrong == []


@given(frames(), payloads)
def test_tunnels_are_those_of_the_ports_given(stack: tuple[Header, ...], payload: bytes) -> None:
    frame, ports = encode(stack, payload), TunnelPorts(frozenset({9}), frozenset({9}))
    asked = parse("inner (ipv4 or ipv6 or arp)")
    kept = run(compile_filter(asked, LinkType.ETHERNET, ports), frame) != 0
    assert kept == holds(asked, dissect(frame, ports=ports))


def test_a_long_filter_jumps_as_far_as_it_must() -> None:
    asked = parse(" or ".join(f"host fd00::{number:x}" for number in range(60)))
    program = compile_filter(asked, LinkType.ETHERNET)
    assert len(program) > 2 * FARTHEST
    assert any(step.op is Op.JUMP and step.k > FARTHEST for step in program)
    assert all(max(step.jt, step.jf) <= FARTHEST for step in program)


def test_a_filter_that_is_too_long_is_refused() -> None:
    asked: Expression = parse("host fd00::1")
    for _ in range(8):
        asked = Or(asked, asked)
    with pytest.raises(InputError, match=f"more than {LONGEST}"):
        compile_filter(asked, LinkType.ETHERNET)


_labels = st.integers(0, 5)
_gaps = st.lists(st.sampled_from([1, 100, 260, 600]), min_size=6, max_size=6)


@given(st.lists(st.tuples(_labels, _labels), min_size=1, max_size=6), _gaps, st.integers(0, 1))
def test_a_far_jump_ends_where_a_near_one_would(branches: list[tuple[int, int]], gaps: list[int], bit: int) -> None:
    labels = [Label() for _ in range(6)]
    items: list[Item] = [Instruction(Op.LOAD_CONSTANT, bit)]
    items += [Branch(Op.JUMP_EQUAL, 1, labels[true], labels[false]) for true, false in branches]
    for number, gap in enumerate(gaps):
        items += [Instruction(Op.RETURN, 99)] * gap
        items += [labels[number], Instruction(Op.RETURN, number)]
    assert run(assemble(items), b"") == branches[0][not bit]


def test_a_jump_to_a_label_skips_what_is_between() -> None:
    end = Label()
    assert run(assemble([Go(end), Instruction(Op.RETURN, 1), end, Instruction(Op.RETURN, 2)]), b"") == 2
