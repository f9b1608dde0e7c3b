from __future__ import annotations

import errno
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nankeen.model.packet import IPv4, IPv6, Protocol, Tcp, Udp, encode
from nankeen.tunnel.control import Counters
from nankeen.tunnel.inbound import Inbound
from nankeen.tunnel.offload import HEADER, PLAIN
from nankeen.tunnel.table import PeerTable
from tests.unit.tunnel import reference
from tests.unit.tunnel.paper import NODE2, NODE2_IPV6, NODE3, OWN, PEERS, PaperQueue, PaperUnderlay

STRANGER = "192.168.0.99"
IP4 = IPv4(IPv4Address("10.244.2.3"), IPv4Address("10.244.1.2"), Protocol.UDP, ttl=63)
IP6 = IPv6(IPv6Address("fd10:244:0:2::3"), IPv6Address("fd10:244:0:1::2"), Protocol.UDP, ttl=63)
FAMILIES = pytest.mark.parametrize("ip", [IP4, IP6], ids=["IPv4", "IPv6"])


class Way:
    """From an underlay to a queue, both on paper."""

    def __init__(self, *, tcp: bool = True, udp: bool = True) -> None:
        self.queue = PaperQueue(tcp=tcp, udp=udp)
        self.underlay = PaperUnderlay()
        self.peers = PeerTable(OWN)
        self.peers.configure(PEERS)
        self.drops: Counter[str] = Counter()
        self.inbound = Inbound(self.queue, self.peers, self.drops)

    def run(self, *datagrams: bytes, sender: str = NODE2) -> None:
        """As one train."""
        self.underlay.arrive(*datagrams, sender=sender)
        self.inbound.run(self.underlay)

    def handed_over(self) -> list[bytes]:
        """What the kernel got, cut again as it will cut it."""
        return [packet for header, whole in self.queue.taken() for packet in _cut(header, whole)]


def _cut(header: bytes, packet: bytes) -> list[bytes]:
    _, gso_type, _, gso_size, _, _ = HEADER.unpack(header)
    return reference.segments(packet, gso_size, hops=0) if gso_type else [packet]


@pytest.fixture
def way() -> Iterator[Way]:
    made = Way()
    yield made
    made.queue.close()


def datagram(length: int = 100, ip: IPv4 | IPv6 = IP4) -> bytes:
    return encode((ip, Udp(1000, 53)), random.Random(length).randbytes(length))


def sender_of(ip: IPv4 | IPv6) -> str:
    return NODE2 if isinstance(ip, IPv4) else NODE2_IPV6


def flow(ip: IPv4 | IPv6, octets: int, size: int = 1000, protocol: Protocol = Protocol.TCP) -> list[bytes]:
    """Segments of one flow without a gap, each with `size` octets of payload but the last."""
    header = Tcp(1, 2, 3, 4, reference.ACK) if protocol == Protocol.TCP else Udp(1, 2)
    packet = encode((replace(ip, protocol=protocol), header), random.Random(octets).randbytes(octets))
    return reference.segments(packet, size, hops=0)


@FAMILIES
def test_a_packet_is_handed_over_as_it_came(way: Way, ip: IPv4 | IPv6) -> None:
    packet = datagram(ip=ip)
    way.run(packet, sender=sender_of(ip))
    assert way.queue.taken() == [(PLAIN, packet)]
    assert way.peers.counters()["node2"] == Counters(0, 0, 1, len(packet))
    assert not way.drops


@FAMILIES
@pytest.mark.parametrize("besides", [1, 18, 1400])
def test_octets_behind_the_packet_are_cut_off_and_not_counted(way: Way, ip: IPv4 | IPv6, besides: int) -> None:
    packet = datagram(ip=ip)
    way.run(packet + b"\xee" * besides, sender=sender_of(ip))
    assert way.queue.packets() == [packet]
    assert way.peers.counters()["node2"].received_bytes == len(packet)


@FAMILIES
def test_the_largest_datagram_there_is_arrives_whole(way: Way, ip: IPv4 | IPv6) -> None:
    packet = datagram(65_507 - 28 if ip == IP4 else 65_507 - 48, ip)
    assert len(packet) == 65_507
    way.run(packet, sender=sender_of(ip))
    assert way.queue.packets() == [packet]


def states(packet: bytes, length: int) -> bytes:
    """The packet with another length in its header."""
    at, number = (2, length) if packet[0] >> 4 == 4 else (4, length - 40)
    return packet[:at] + number.to_bytes(2) + packet[at + 2 :]


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"\x45",
        b"\x60",
        datagram()[:19],
        datagram(ip=IP6)[:39],
        bytes(100),
        b"\x15" + datagram()[1:],
        b"\x55" + datagram()[1:],
        b"\xf0" + datagram(ip=IP6)[1:],
        b"\x44" + datagram()[1:],
        b"\x40" + datagram()[1:],
        states(datagram(), 19),
        states(datagram(), 0),
        b"\x4f" + states(datagram(), 59)[1:],
    ],
    ids=[
        "empty",
        "one octet of IPv4",
        "one octet of IPv6",
        "IPv4 cut in its header",
        "IPv6 cut in its header",
        "version 0",
        "version 1",
        "version 5",
        "version 15",
        "a header of 16 octets",
        "a header of none",
        "less than a header",
        "a length of zero",
        "a header longer than the packet",
    ],
)
def test_what_is_no_packet_is_counted_as_malformed_and_goes_nowhere(way: Way, wrong: bytes) -> None:
    way.run(wrong)
    assert way.drops == {"malformed": 1}
    assert way.queue.packets() == []
    assert way.peers.counters()["node2"] == Counters()


@pytest.mark.parametrize(
    "wrong",
    [
        datagram()[:-1],
        datagram()[:20],
        datagram(ip=IP6)[:-1],
        datagram(ip=IP6)[:40],
        states(datagram(), 65_535),
        states(datagram(ip=IP6), 65_575),
    ],
    ids=["IPv4", "IPv4's header", "IPv6", "IPv6's header", "IPv4 that claims all", "IPv6 that claims all"],
)
def test_a_packet_that_is_not_all_there_is_counted_as_truncated_and_goes_nowhere(way: Way, wrong: bytes) -> None:
    way.run(wrong)
    assert way.drops == {"truncated": 1}
    assert way.queue.packets() == []


@pytest.mark.parametrize(
    "sender, ip, reason",
    [
        (STRANGER, IP4, "from an unknown peer"),
        (NODE2_IPV6 + "3", IP6, "from an unknown peer"),
        (NODE3, IP4, "with a source of another node"),
        (NODE2, replace(IP4, source=IPv4Address("10.244.1.7")), "with a source of this node"),
        (NODE2, replace(IP4, source=IPv4Address("10.244.1.0")), "with a source of this node"),
        (NODE2_IPV6, replace(IP6, source=IPv6Address("fd10:244:0:1::7")), "with a source of this node"),
        (NODE2, replace(IP4, destination=IPv4Address("10.244.3.1")), "for another node"),
        (NODE2_IPV6, replace(IP6, destination=IPv6Address("fd10:244:0:2::4")), "for another node"),
    ],
)
@pytest.mark.parametrize("segments", [1, 5])
def test_what_is_not_the_peers_to_send_is_counted_by_reason_and_goes_nowhere(
    way: Way, sender: str, ip: IPv4 | IPv6, reason: str, segments: int
) -> None:
    way.run(*flow(ip, segments * 1000), sender=sender)
    assert way.drops == {reason: segments}
    assert way.queue.packets() == []
    assert set(way.peers.counters().values()) == {Counters()}


def test_what_comes_from_outside_the_pod_network_comes_by_any_peer(way: Way) -> None:
    packet = datagram(ip=replace(IP4, source=IPv4Address("8.8.8.8")))
    way.run(packet, sender=NODE3)
    assert way.queue.packets() == [packet]
    assert way.peers.counters()["node3"].received_packets == 1


@FAMILIES
@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])
def test_a_train_of_one_flow_is_handed_over_as_one_packet(way: Way, ip: IPv4 | IPv6, protocol: Protocol) -> None:
    train = flow(ip, 30_500, protocol=protocol)
    way.run(*train, sender=sender_of(ip))
    ((header, whole),) = way.queue.taken()
    assert _cut(header, whole) == train
    assert way.peers.counters()["node2"] == Counters(0, 0, 31, sum(map(len, train)))


def test_trains_that_go_on_from_one_another_are_joined_too(way: Way) -> None:
    train = flow(IP4, 60_000)
    for first in range(0, 60, 20):
        way.underlay.arrive(*train[first : first + 20])
    way.inbound.run(way.underlay)
    assert len(way.queue.taken()) == 1


def test_trains_of_two_peers_are_not_mixed_up(way: Way) -> None:
    two, three = flow(IP4, 4000), flow(replace(IP4, source=IPv4Address("10.244.3.3")), 5000)
    for _ in range(2):
        way.underlay.arrive(*two, sender=NODE2)
        way.underlay.arrive(*three, sender=NODE3)
    way.inbound.run(way.underlay)
    assert way.handed_over() == [*two, *three, *two, *three]
    assert [count.received_packets for count in way.peers.counters().values()] == [8, 10]


def test_more_than_the_memory_holds_arrives_in_order(way: Way) -> None:
    trains = [flow(replace(IP4, identification=number), 60_000) for number in range(20)]
    for train in trains:
        way.underlay.arrive(*train)
    found = []
    while way.underlay.arriving:
        way.inbound.run(way.underlay)
        found += way.handed_over()
    assert found == [segment for train in trains for segment in train]


def test_nobody_receives_for_ever_while_others_wait(way: Way) -> None:
    for _ in range(70):
        way.underlay.arrive(datagram())
    way.inbound.run(way.underlay)
    assert len(way.handed_over()) == 64
    way.inbound.run(way.underlay)
    assert len(way.handed_over()) == 6


@pytest.mark.parametrize("tcp, udp", [(False, False), (True, False)], ids=["no offload", "TCP alone"])
@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])
def test_a_device_gets_nothing_that_it_does_not_take(protocol: Protocol, *, tcp: bool, udp: bool) -> None:
    way, train = Way(tcp=tcp, udp=udp), flow(IP4, 5500, protocol=protocol)
    way.run(*train)
    taken = way.queue.taken()
    assert len(taken) == (1 if tcp and protocol == Protocol.TCP else 6)
    assert [segment for header, whole in taken for segment in _cut(header, whole)] == train
    way.queue.close()


def spoiled(packet: bytes, how: str) -> bytes:
    """Of the same length, and yet not to be handed over."""
    match how:
        case "malformed":
            return b"\0" + packet[1:]
        case "truncated":
            return states(packet, len(packet) + 1)
        case "with a source of another node":
            return reference.mended(packet[:12] + IPv4Address("10.244.3.3").packed + packet[16:])
        case "with a source of this node":
            return reference.mended(packet[:12] + IPv4Address("10.244.1.3").packed + packet[16:])
        case "for another node":
            return reference.mended(packet[:16] + IPv4Address("10.244.3.3").packed + packet[20:])
    raise ValueError(how)


REASONS = (
    "malformed",
    "truncated",
    "with a source of another node",
    "with a source of this node",
    "for another node",
)


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("bad", [0, 4, 9])
@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])
def test_one_bad_datagram_of_a_train_is_dropped_alone(way: Way, reason: str, bad: int, protocol: Protocol) -> None:
    train = flow(IP4, 10_000, protocol=protocol)
    train[bad] = spoiled(train[bad], reason)
    way.run(*train)
    assert way.handed_over() == train[:bad] + train[bad + 1 :]
    assert way.drops == {reason: 1}
    assert way.peers.counters()["node2"] == Counters(0, 0, 9, 9 * len(train[0]))


def test_a_damaged_payload_passes_as_it_came_for_its_receiver_to_judge(way: Way) -> None:
    train = flow(IP4, 10_000)
    train[4] = train[4][:-1] + bytes([train[4][-1] ^ 1])
    way.run(*train)
    assert way.handed_over() == train
    assert not way.drops


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 12), st.sampled_from(["", "", *REASONS]), st.integers(0, 11)), max_size=6))
def test_what_arrives_is_what_was_sent_without_what_is_bad(trains: list[tuple[int, str, int]]) -> None:
    way, good, drops = Way(), [], Counter[str]()
    for number, (count, reason, at) in enumerate(trains):
        train = flow(replace(IP4, identification=100 * number), count * 1000 - number)
        bad = at % count
        if reason:
            train[bad] = spoiled(train[bad], reason)
            drops[reason] += 1
        good += [segment for place, segment in enumerate(train) if not (reason and place == bad)]
        way.underlay.arrive(*train)
    way.inbound.run(way.underlay)
    assert way.handed_over() == good
    assert way.drops == drops
    assert way.peers.counters()["node2"] == Counters(0, 0, len(good), sum(map(len, good)))
    way.queue.close()


def test_an_empty_datagram_behind_a_train_is_counted_too(way: Way) -> None:
    train = flow(IP4, 3000)
    way.underlay.arrive(*train)
    way.underlay.arrive(b"")
    way.underlay.arrive(*train)
    way.inbound.run(way.underlay)
    assert way.handed_over() == train * 2
    assert way.drops == {"malformed": 1}


def test_what_the_device_refuses_is_counted_by_the_segments_and_the_rest_goes_on(way: Way) -> None:
    reason = f"device: {os.strerror(errno.EPIPE)}"
    way.queue._kernel.shutdown(0)  # it reads no more
    way.run(*flow(IP4, 5000))
    way.run(datagram())
    assert way.drops == {reason: 6}
    assert way.peers.counters()["node2"] == Counters()


def test_an_error_of_the_underlay_is_counted_and_what_came_before_it_is_handed_over(way: Way) -> None:
    way.underlay.arrive(datagram())
    way.underlay.arriving.append(OSError(errno.ECONNREFUSED, ""))
    way.underlay.arrive(datagram(50))
    way.inbound.run(way.underlay)
    way.inbound.run(way.underlay)
    assert way.handed_over() == [datagram(), datagram(50)]
    assert way.drops == {f"underlay: {os.strerror(errno.ECONNREFUSED)}": 1}


def test_a_peer_that_has_gone_is_let_in_no_more(way: Way) -> None:
    way.run(datagram())
    way.peers.change([], [ip_network("10.244.2.0/24"), ip_network("fd10:244:0:2::/64")])
    way.run(datagram())
    assert way.queue.packets() == [datagram()]
    assert way.drops == {"from an unknown peer": 1}
    assert way.peers.counters()["node2"].received_packets == 1
