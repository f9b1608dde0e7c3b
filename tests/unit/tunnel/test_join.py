from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nankeen.model.packet import IPv4, IPv6, Protocol, Tcp, Udp, encode
from nankeen.tunnel.join import Joiner
from nankeen.tunnel.offload import HEADER, LARGEST_PACKET, NEEDS_CSUM, GsoType
from tests.unit.tunnel import reference
from tests.unit.tunnel.reference import ACK, FIN, PSH, mended

MEMORY = bytearray((1 << 18) + LARGEST_PACKET)
JOINER = Joiner(MEMORY, udp=True)
"""One for all tests: what it remembers of a train must not show in another."""
IP4 = IPv4(IPv4Address("10.244.1.2"), IPv4Address("10.244.2.3"), Protocol.TCP, dont_fragment=True, identification=7)
IP6 = IPv6(IPv6Address("fd10::1:2"), IPv6Address("fd10::2:3"), Protocol.TCP, flow_label=0x12345)
TIMESTAMPS = bytes.fromhex("0101080a0000000100000002")

Train = list[bytes]


def flow(protocol: int, ip: IPv4 | IPv6, size: int, octets: int, *, options: bytes = b"", flags: int = ACK) -> Train:
    """A flow without a gap, of segments with `size` octets of payload each."""
    header = Udp(53, 5353) if protocol == Protocol.UDP else Tcp(80, 5000, 2**32 - 3000, 9, flags, options=options)
    packet = encode((replace(ip, protocol=protocol), header), random.Random(size).randbytes(octets))
    return reference.segments(packet, size, hops=0)


def packets(train: Train, joiner: Joiner = JOINER, memory: bytearray = MEMORY) -> list[Train]:
    """What is handed over of a train, each packet as the kernel will segment it again."""
    octets, stride = b"".join(train), len(train[0])
    memory[: len(octets)] = octets
    memory[len(octets) : len(octets) + stride] = b"\xa5" * stride  # of another train
    found = []
    for piece in joiner.pieces(len(octets), stride):
        first, count = piece
        if count == 1:
            found.append([bytes(memory[first * stride : min((first + 1) * stride, len(octets))])])
        else:
            found.append(_segmented(b"".join(joiner.packet(piece, len(octets)))))
    return found


def _segmented(handed_over: bytes) -> Train:
    flags, gso_type, hdr_len, gso_size, csum_start, csum_offset = HEADER.unpack_from(handed_over)
    packet = handed_over[HEADER.size :]
    protocol, start = reference.transport(packet)
    assert len(packet) <= LARGEST_PACKET
    assert (flags, csum_start, csum_start + csum_offset) == (NEEDS_CSUM, start, reference.checksum_at(packet))
    assert hdr_len == reference.header_length(packet)
    assert gso_type == _gso_type(packet[0] >> 4, protocol)
    assert _stated_lengths(packet) == {len(packet)}
    at = csum_start + csum_offset
    assert reference.checksum(reference.pseudo_header(packet)) == ~int.from_bytes(packet[at : at + 2]) & 0xFFFF
    if packet[0] >> 4 == 4:
        assert reference.checksum(packet[:start]) == 0
    return reference.segments(packet, gso_size, hops=0)


def _gso_type(version: int, protocol: int) -> GsoType:
    if protocol == Protocol.UDP:
        return GsoType.UDP_L4
    return GsoType.TCPV4 if version == 4 else GsoType.TCPV6


def _stated_lengths(packet: bytes) -> set[int]:
    protocol, start = reference.transport(packet)
    stated = int.from_bytes(packet[2:4]) if packet[0] >> 4 == 4 else 40 + int.from_bytes(packet[4:6])
    if protocol != Protocol.UDP:
        return {stated}
    return {stated, start + int.from_bytes(packet[start + 4 : start + 6])}


def carried(train: Train) -> Train:
    return [segment for packet in packets(train) for segment in packet]


def trains(datagrams: Iterable[bytes]) -> Iterable[Train]:
    """Datagrams as they are received: those of one size together, the last of which may be shorter."""
    train: Train = []
    for datagram in datagrams:
        if train and (len(train[-1]) < len(train[0]) or len(datagram) > len(train[0])):
            yield train
            train = []
        train.append(datagram)
    if train:
        yield train


Change = Callable[[bytes], bytes]


def at(place: int, number: int, length: int = 1, *, mend: bool = True) -> Change:
    """Writes a number, counted from the header whose protocol is TCP or UDP; the checksums are right again with `mend`.

    A negative place counts from the beginning of the IP header, one less: -1 is its first octet.
    """

    def change(datagram: bytes) -> bytes:
        start = reference.transport(datagram)[1]
        where = start + place if place >= 0 else -place - 1
        changed = datagram[:where] + number.to_bytes(length) + datagram[where + length :]
        return mended(changed) if mend else changed

    return change


def added(place: int, number: int) -> Change:
    """Adds to an octet of the IP header, and puts nothing right."""
    return lambda datagram: datagram[:place] + bytes([datagram[place] + number & 0xFF]) + datagram[place + 1 :]


def _zeroed_checksum(datagram: bytes) -> bytes:
    where = reference.checksum_at(datagram)
    return datagram[:where] + bytes(2) + datagram[where + 2 :]


def _ones_for_zero(datagram: bytes) -> bytes:
    """With a payload that brings TCP's checksum to zero, which is written in the other way."""
    where = reference.checksum_at(datagram)
    shorter = datagram[:-2] + bytes(2)
    word = int.from_bytes(mended(shorter)[where : where + 2])
    return (shorter[:-2] + word.to_bytes(2))[:where] + b"\xff\xff" + (shorter[:-2] + word.to_bytes(2))[where + 2 :]


CHANGES: dict[str, Change] = {
    "a flag": at(13, ACK | PSH),
    "its end": at(13, ACK | FIN),
    "another acknowledgement": at(8, 10, 4),
    "another window": at(14, 5, 2),
    "another port": at(0, 5001, 2),
    "an urgent pointer": at(18, 5, 2),
    "a reserved bit": at(12, 0x51),
    "its first option": at(20, 0),
    "another sequence number": at(4, 12345, 4),
    "another TOS": at(-2, 0x44),
    "another TTL": at(-9, 63),
    "another hop limit": at(-8, 63),
    "another source": at(-15, 99),
    "a wrong checksum": at(40, 0xEE, mend=False),
    "a wrong header checksum": added(11, 1),
    "a header checksum less by one": added(11, -1),
    "another identification": added(5, 1),
    "more fragments": at(-7, 0x20),
    "a fragment offset": at(-8, 0x10),
    "another protocol": at(-10, 5),
    "another version": added(0, 0x10),
    "options that are not there": added(0, 1),
    "a total length that lies": at(-4, 0x44, mend=False),
    "a UDP length that lies": at(5, 0x10, mend=False),
    "no checksum": _zeroed_checksum,
    "ones for a checksum of zero": _ones_for_zero,
    "zeros": lambda datagram: bytes(len(datagram)),
    "garbage": lambda datagram: random.Random(len(datagram)).randbytes(len(datagram)),
    "nothing": lambda datagram: datagram,
}

_CHANGEABLE = 72
"""Octets that each of the changes leaves, or finds, a header in."""

shapes = st.tuples(
    st.sampled_from([Protocol.TCP, Protocol.UDP]),
    st.sampled_from([IP4, IP6, replace(IP4, identification=65_533)]),
    st.sampled_from([32, 33, 101, 536, 1448]),
    st.sampled_from([b"", TIMESTAMPS]),
)


@settings(max_examples=100)
@given(shapes, st.integers(2, 12), st.integers(0, 1448))
def test_a_flow_without_a_gap_is_one_packet(
    shape: tuple[Protocol, IPv4 | IPv6, int, bytes], count: int, rest: int
) -> None:
    protocol, ip, size, options = shape
    if ip == replace(IP4, identification=65_533):
        ip = replace(ip, identification=65_000)
    train = flow(protocol, ip, size, count * size + min(rest, size), options=options, flags=ACK | PSH)
    assert packets(train) == [train]


@settings(max_examples=400)
@given(
    st.lists(st.tuples(shapes, st.integers(1, 6), st.integers(0, 40)), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from(sorted(CHANGES))), max_size=3),
    st.lists(st.tuples(st.sampled_from(["gap", "again", "swapped"]), st.integers(0, 20)), max_size=3),
    st.randoms(use_true_random=False),
)
def test_whatever_is_joined_the_same_datagrams_come_out_in_the_same_order(
    flows: list[tuple[tuple[Protocol, IPv4 | IPv6, int, bytes], int, int]],
    changes: list[tuple[int, str]],
    disorder: list[tuple[str, int]],
    drawn: random.Random,
) -> None:
    made = [
        flow(protocol, ip, size, count * size + rest, options=options, flags=ACK | PSH)
        for (protocol, ip, size, options), count, rest in flows
    ]
    datagrams = _interleaved(made, drawn)
    for index, change in {place % len(datagrams): change for place, change in changes}.items():
        if len(datagrams[index]) >= _CHANGEABLE:
            datagrams[index] = CHANGES[change](datagrams[index])
    _disturb(datagrams, disorder)
    for train in trains(datagrams):
        assert carried(train) == train


def _interleaved(flows: list[Train], drawn: random.Random) -> Train:
    waiting, found = [train[::-1] for train in flows], []
    while any(waiting):
        chosen = drawn.choice([train for train in waiting if train])
        found += [chosen.pop() for _ in range(min(len(chosen), drawn.choice([1, 3, 9])))]
    return found


def _disturb(datagrams: Train, disorder: list[tuple[str, int]]) -> None:
    for kind, place in disorder:
        index = place % len(datagrams)
        if kind == "gap" and len(datagrams) > 1:
            del datagrams[index]
        elif kind == "again":
            datagrams.insert(index, datagrams[index])
        elif kind == "swapped":
            datagrams[index - 1], datagrams[index] = datagrams[index], datagrams[index - 1]


@pytest.mark.parametrize("place", [0, 2, 5])
@pytest.mark.parametrize("change", sorted(CHANGES.keys() - {"nothing"}))
@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP], ids=["TCP", "UDP"])
@pytest.mark.parametrize("ip", [IP4, IP6], ids=["IPv4", "IPv6"])
def test_one_datagram_that_is_different_stays_as_it_is(
    protocol: Protocol, ip: IPv4 | IPv6, change: str, place: int
) -> None:
    train = flow(protocol, ip, 101, 6 * 101, options=TIMESTAMPS)
    train[place] = CHANGES[change](train[place])
    assert carried(train) == train


@pytest.mark.parametrize(
    "change, first",
    [
        ("a flag", [3, 3]),
        ("another acknowledgement", [2, 1, 3]),
        ("another window", [2, 1, 3]),
        ("its first option", [2, 1, 3]),
        ("another TOS", [2, 1, 3]),
        ("another TTL", [2, 1, 3]),
        ("a wrong checksum", [2, 1, 3]),
        ("more fragments", [2, 1, 3]),
        ("garbage", [2, 1, 3]),
        ("nothing", [6]),
    ],
)
def test_what_is_before_and_behind_it_is_joined_all_the_same(change: str, first: list[int]) -> None:
    train = flow(Protocol.TCP, IP4, 101, 6 * 101, options=TIMESTAMPS)
    train[2] = CHANGES[change](train[2])
    lengths = [len(packet) for packet in packets(train)]
    assert lengths == first


def test_two_flows_in_turn_are_not_one() -> None:
    one, other = (flow(Protocol.TCP, replace(IP4, ttl=ttl), 101, 303) for ttl in (64, 65))
    turns = [datagram for pair in zip(one, other, strict=True) for datagram in pair]
    assert packets(turns) == [[datagram] for datagram in turns]
    assert packets(one + other) == [one, other]


def test_a_gap_and_a_repetition_end_a_packet() -> None:
    train = flow(Protocol.TCP, IP6, 101, 606)
    assert packets(train[:2] + train[3:]) == [train[:2], train[3:]]
    assert packets(train[:3] + train[2:]) == [train[:3], train[2:]]
    assert packets(train[3:] + train[:3]) == [train[3:], train[:3]]


def test_what_has_no_payload_is_joined_to_nothing() -> None:
    train = flow(Protocol.TCP, IP4, 101, 303)
    empty = mended(train[2][: reference.header_length(train[2])])
    assert packets([*train[:2], empty]) == [train[:2], [empty]]


def test_a_train_larger_than_a_packet_becomes_several() -> None:
    train = flow(Protocol.TCP, IP4, 1448, 65_160)
    following = mended_flow(train, 60)
    assert [len(packet) for packet in packets(following)] == [45, 15]
    assert carried(following) == following


def mended_flow(train: Train, count: int) -> Train:
    """More segments of a flow than one packet has."""
    first, size = train[0], len(train[0]) - reference.header_length(train[0])
    found = []
    for number in range(count):
        segment = bytearray(first)
        struct.pack_into("!H", segment, 4, int.from_bytes(first[4:6]) + number & 0xFFFF)
        struct.pack_into("!I", segment, 24, int.from_bytes(first[24:28]) + number * size & 0xFFFF_FFFF)
        found.append(mended(bytes(segment)))
    return found


@pytest.mark.parametrize("identification", [65_533, 65_535])
def test_where_the_identification_overflows_nothing_is_joined_that_is_not_so_on_the_wire(identification: int) -> None:
    train = flow(Protocol.UDP, replace(IP4, identification=identification), 101, 606)
    assert carried(train) == train
    forged = [_with_header_checksum(datagram, train[0], number) for number, datagram in enumerate(train)]
    assert carried(forged) == forged


def _with_header_checksum(datagram: bytes, first: bytes, number: int) -> bytes:
    """As if the identification had gone on beyond 65,535: a wrong checksum that goes on by constants."""
    checksum = int.from_bytes(first[10:12]) - number
    return datagram[:10] + (checksum & 0xFFFF).to_bytes(2) + datagram[12:]


def test_where_the_header_checksum_overflows_no_other_protocol_is_taken_for_this_one() -> None:
    """Word by word such a datagram goes on from the one before: 17 with a checksum of 0, then 16 with one of 0xFFFF."""
    ip = replace(IP4, protocol=Protocol.UDP)
    without = int.from_bytes(flow(Protocol.UDP, replace(ip, identification=0), 101, 101)[0][10:12])
    train = flow(Protocol.UDP, replace(ip, identification=(without - 1) % 65_535), 101, 303)
    assert [datagram[10:12] for datagram in train[:2]] == [b"\x00\x01", b"\x00\x00"]
    odd = added(9, -1)(train[2])
    train[2] = odd[:10] + b"\xff\xff" + odd[12:]
    assert carried(train) == train


def test_udp_is_left_alone_where_the_kernel_does_not_segment_it() -> None:
    memory = bytearray(1 << 18)
    joiner = Joiner(memory, udp=False)
    datagrams, segments = flow(Protocol.UDP, IP4, 101, 303), flow(Protocol.TCP, IP4, 101, 303)
    assert packets(datagrams, joiner, memory) == [[datagram] for datagram in datagrams]
    assert packets(segments, joiner, memory) == [segments]


@example(60, 2, 1)
@given(st.integers(1, 300), st.integers(2, 40), st.integers(1, 300))
def test_whatever_the_sizes_each_datagram_is_in_one_piece(stride: int, count: int, rest: int) -> None:
    length = (count - 1) * stride + min(rest, stride)
    MEMORY[:length] = bytes([0x45]) * length
    pieces = JOINER.pieces(length, stride)
    assert [row for first, count in pieces for row in range(first, first + count)] == list(range(count))


def test_octets_that_somebody_changed_come_out_as_they_came_in() -> None:
    """Real trains, of which some octets are others; often the checksums are right again."""
    drawn = random.Random("joins")
    joined = 0
    originals = [
        flow(protocol, ip, size, 6 * size + 7)
        for protocol in (Protocol.TCP, Protocol.UDP)
        for ip in (IP4, IP6, replace(IP4, identification=65_531))
        for size in (32, 57, 101)
    ]
    for _ in range(2500):
        train = list(drawn.choice(originals))
        for _ in range(drawn.choice([1, 1, 2, 5])):
            index = drawn.randrange(len(train))
            train[index] = _damaged(train[index], drawn)
        found = packets(train)
        assert [segment for packet in found for segment in packet] == train
        joined += len(train) - len(found)
    assert joined > 2500


def _damaged(datagram: bytes, drawn: random.Random) -> bytes:
    place = drawn.randrange(min(len(datagram), drawn.choice([64, len(datagram)])))
    changed = bytearray(datagram)
    changed[place] = drawn.choice([changed[place] ^ 1 << drawn.randrange(8), drawn.randrange(256), 0, 0xFF])
    protocol = changed[6 if changed[0] == 0x60 else 9] if len(changed) >= _CHANGEABLE else 0
    still = changed[0] in (0x45, 0x60) and protocol in (Protocol.TCP, Protocol.UDP)
    return mended(bytes(changed)) if still and drawn.random() < 0.5 else bytes(changed)
