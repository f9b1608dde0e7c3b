from __future__ import annotations

import random
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nankeen.model.errors import InputError
from nankeen.model.packet import Extension, IPv4, IPv6, Protocol, Tcp, Udp, encode
from nankeen.tunnel.offload import LARGEST_PACKET, GsoType
from nankeen.tunnel.segment import Segmenter
from tests.unit.tunnel import reference
from tests.unit.tunnel.reference import ACK, FIN, PSH

SEGMENTER = Segmenter()
"""One for all tests: what it remembers of a packet must not show in another."""
SOURCE, DESTINATION = IPv4Address("10.244.1.2"), IPv4Address("10.244.2.3")
SOURCE6, DESTINATION6 = IPv6Address("fd10:244:0:1::2"), IPv6Address("fd10:244:0:2::3")
IP4 = IPv4(SOURCE, DESTINATION, Protocol.TCP, dont_fragment=True)


@dataclass(frozen=True)
class Whole:
    """A packet that the kernel left whole."""

    packet: bytes
    size: int
    """Octets of payload that each segment shall have."""

    @property
    def gso_type(self) -> GsoType:
        if reference.transport(self.packet)[0] == reference.UDP:
            return GsoType.UDP_L4
        return GsoType.TCPV4 if self.packet[0] >> 4 == 4 else GsoType.TCPV6

    def segmented(self) -> list[bytes]:
        SEGMENTER.packet[: len(self.packet)] = self.packet
        _, start = reference.transport(self.packet)
        octets, stride, count = SEGMENTER.segment(len(self.packet), self.gso_type, self.size, start)
        found = [bytes(octets[at : at + stride]) for at in range(0, len(octets), stride)]
        assert len(found) == count
        return found


def tcp(payload: bytes, *, flags: int = ACK, sequence: int = 1, options: bytes = b"", ip: IPv4 = IP4) -> bytes:
    return encode((ip, Tcp(1, 2, sequence, 7, flags, options=options)), payload)


words = st.integers(0, 10).flatmap(lambda count: st.binary(min_size=4 * count, max_size=4 * count))
corners = st.sampled_from([0, 1, 2, 0x7FFF, 0xFFFD, 0xFFFE, 0xFFFF])


@st.composite
def ipv4(draw: st.DrawFn, protocol: int) -> tuple[IPv4, ...]:
    return (
        IPv4(
            IPv4Address(draw(st.integers(0, 2**32 - 1))),
            DESTINATION,
            protocol,
            draw(st.integers(2, 255)),
            draw(st.booleans()),
            identification=draw(corners | st.integers(0, 65_535)),
            traffic_class=draw(st.integers(0, 255)),
            options=draw(words),
        ),
    )


@st.composite
def ipv6(draw: st.DrawFn, protocol: int) -> tuple[IPv6 | Extension, ...]:
    behind = draw(st.lists(st.sampled_from([6, 14]), max_size=2))
    extensions = [
        Extension(Protocol.DESTINATION_OPTIONS, protocol if last else Protocol.DESTINATION_OPTIONS, bytes(length))
        for last, length in zip([False] * (len(behind) - 1) + [True], behind, strict=False)
    ]
    first = IPv6(
        IPv6Address(draw(st.integers(0, 2**128 - 1))),
        DESTINATION6,
        Protocol.DESTINATION_OPTIONS if extensions else protocol,
        draw(st.integers(2, 255)),
    )
    return (first, *extensions)


@st.composite
def wholes(draw: st.DrawFn) -> Whole:
    protocol = draw(st.sampled_from([Protocol.TCP, Protocol.UDP]))
    before = draw(st.one_of(ipv4(protocol), ipv6(protocol)))
    if protocol == Protocol.UDP:
        header: Udp | Tcp = Udp(draw(st.integers(0, 65_535)), 53)
    else:
        sequence = draw(st.integers(0, 2**32 - 1) | st.integers(2**32 - 5000, 2**32 - 1))
        numbers = sequence, draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 255))
        header = Tcp(80, 5000, *numbers, draw(corners), draw(words), draw(corners))
    size = draw(st.sampled_from([8, 32, 101, 536, 1001, 1448, 8948, 33_001]) | st.integers(1, 2000))
    most = min(LARGEST_PACKET - 240, 40 * size)
    length = draw(st.sampled_from([size, 2 * size, 2 * size + 1, 3 * size - 1, most]) | st.integers(1, most))
    content = draw(st.sampled_from([b"\0", b"\xff"]) | st.integers(0, 99).map(lambda seed: _random(seed, 4096)))
    payload = (content * (length // len(content) + 1))[: min(length, most)]
    packet = bytearray(encode((*before, header), payload))
    at = reference.checksum_at(bytes(packet))
    packet[at : at + 2] = draw(st.binary(min_size=2, max_size=2))  # the kernel leaves a part of the sum there
    return Whole(_with_checksum(bytes(packet), draw(st.none() | corners)), size)


def _random(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


def _with_checksum(packet: bytes, wanted: int | None) -> bytes:
    """An IPv4 packet whose identification makes that its header's checksum; another as it is."""
    if wanted is None or packet[0] >> 4 != 4:
        return packet
    _, start = reference.transport(packet)
    without = reference.checksum(packet[:4] + bytes(2) + packet[6:10] + bytes(2) + packet[12:start])
    identification = (without - wanted) % 65_535
    header = packet[:4] + identification.to_bytes(2) + packet[6:10] + bytes(2) + packet[12:start]
    return header[:10] + reference.checksum(header).to_bytes(2) + header[12:] + packet[start:]


ONE_OCTET_AFTER_OPTIONS = bytes.fromhex(
    "60000000 0011 3c02 00000000000000000000000000000000 fd100244000000020000000000000003"
    "1100000000000000 0000 0035 0009 0000 00"
)
"""UDP with one octet of payload, below destination options: rows so short that the last one ends with the memory."""


@settings(max_examples=250)
@given(wholes())
@example(Whole(ONE_OCTET_AFTER_OPTIONS, 1))
def test_segments_are_what_an_obvious_implementation_makes_of_the_packet(whole: Whole) -> None:
    assert whole.segmented() == reference.segments(whole.packet, whole.size, hops=1)


@pytest.mark.parametrize("first", [65_530, 65_535, 0])
@pytest.mark.parametrize("checksum", [0, 3, 43, 44, 65_534])
def test_the_largest_packet_is_cut_right_where_identification_and_checksum_overflow(first: int, checksum: int) -> None:
    for packet in (
        tcp(_random(1, 65_000), ip=replace(IP4, identification=first)),
        _with_checksum(tcp(_random(2, 65_495)), (checksum + 0x100) % 65_535),
    ):
        whole = Whole(packet, 1448)
        assert whole.segmented() == reference.segments(packet, 1448, hops=1)


@pytest.mark.parametrize("payload", [b"\xff", b"\0"])
@pytest.mark.parametrize("size", [32_000, 32_767, 40_001, 65_494])
def test_sums_of_large_segments_do_not_overflow(payload: bytes, size: int) -> None:
    packet = tcp(payload * 65_495)
    assert Whole(packet, size).segmented() == reference.segments(packet, size, hops=1)


@pytest.mark.parametrize("flags", [ACK, ACK | PSH, ACK | FIN, ACK | PSH | FIN, ACK | 0xC0])
@pytest.mark.parametrize("length", [2896, 2897, 1448, 1])
def test_only_the_last_segment_ends_anything(flags: int, length: int) -> None:
    found = Whole(tcp(_random(3, length), flags=flags), 1448).segmented()
    assert [segment[33] for segment in found] == [flags & ~(FIN | PSH)] * (len(found) - 1) + [flags]


def test_a_udp_checksum_that_comes_to_zero_is_written_as_ones() -> None:
    ip = IPv4(SOURCE, DESTINATION, Protocol.UDP, identification=9)
    first, second = (_summing_to_zero(encode((ip, Udp(1, 2)), bytes([number]) * 40)) for number in (1, 2))
    packet = encode((ip, Udp(1, 2)), first + second)
    found = Whole(packet, 40).segmented()
    assert [segment[26:28] for segment in found] == [b"\xff\xff", b"\xff\xff"]
    assert found == reference.segments(packet, 40, hops=1)


def _summing_to_zero(datagram: bytes) -> bytes:
    """The payload, with a last word that brings the checksum to zero."""
    without = datagram[:-2] + bytes(2)
    word = reference.checksum(reference.pseudo_header(without) + without[20:26] + bytes(2) + without[28:])
    return without[28:-2] + word.to_bytes(2)


def test_what_it_made_of_one_packet_does_not_show_in_the_next() -> None:
    """Lengths, flags and the padding behind a short end stay in memory."""
    long, short = tcp(b"\xff" * 4000, flags=ACK | FIN | PSH), tcp(b"\x01" * 1449)
    for packet in (long, short, long):
        assert Whole(packet, 1448).segmented() == reference.segments(packet, 1448, hops=1)


@pytest.mark.parametrize(
    "gso_type, size, start, length",
    [
        (GsoType.TCPV4, 0, 20, 3000),
        (GsoType.TCPV4, 65_535, 20, 3000),
        (GsoType.TCPV4, 1448, 0, 3000),
        (GsoType.TCPV4, 1448, 16, 3000),
        (GsoType.TCPV4, 1448, 21, 3000),
        (GsoType.TCPV4, 1448, 65_535, 3000),
        (GsoType.TCPV6, 1448, 20, 3000),
        (GsoType.UDP_L4, 1448, 20, 28),
        (GsoType.TCPV4, 1448, 20, 40),
        (GsoType.TCPV4, 1448, 20, 65_536),
        (GsoType.TCPV4, 1, 20, 65_535),
        (3, 1448, 20, 3000),
        (0x81, 1448, 20, 3000),
    ],
)
def test_what_cannot_be_segmented_is_refused(gso_type: int, size: int, start: int, length: int) -> None:
    packet = tcp(bytes(2960))
    SEGMENTER.packet[: len(packet)] = packet
    with pytest.raises(InputError):
        SEGMENTER.segment(length, gso_type, size, start)


def test_a_header_that_is_shorter_than_tcps_is_refused() -> None:
    packet = bytearray(tcp(bytes(2960)))
    packet[32] = 0x40
    SEGMENTER.packet[: len(packet)] = packet
    with pytest.raises(InputError):
        SEGMENTER.segment(len(packet), GsoType.TCPV4, 1448, 20)


def test_whatever_comes_it_refuses_or_makes_of_it_as_many_octets_as_there_should_be() -> None:
    drawn = random.Random("segments")
    made = 0
    for _ in range(3000):
        length = drawn.choice([drawn.randrange(1, 200), drawn.randrange(1, 65_536)])
        head = drawn.randbytes(80)
        head = bytes([drawn.choice([0x45, 0x46, 0x60, head[0]])]) + head[1:7] + b"\x40\x40" + head[9:]
        SEGMENTER.packet[:80] = head
        gso_type, size, start = drawn.choice([1, 4, 5, head[1]]), drawn.randrange(2000), drawn.choice([20, 24, 40, 48])
        try:
            octets, stride, count = SEGMENTER.segment(length, gso_type, size, start)
        except InputError:
            continue
        made += 1
        assert len(octets) == length + (count - 1) * (stride - size)
    assert made > 500
