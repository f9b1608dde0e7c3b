from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from nankeen.model.packet import Extension, Icmp, IPv4, IPv6, LinkType, Protocol, Tcp, Udp, dissect, encode
from nankeen.tunnel.control import Counters
from nankeen.tunnel.offload import HEADER, NEEDS_CSUM, GsoType
from nankeen.tunnel.outbound import Outbound
from nankeen.tunnel.table import PeerTable
from tests.unit.tunnel import reference
from tests.unit.tunnel.paper import NODE2, NODE2_IPV6, NODE3, OWN, PEERS, PaperQueue, PaperUnderlay

ROUTER, ROUTER6 = OWN[0].network_address, OWN[1].network_address
IP4 = IPv4(IPv4Address("10.244.1.2"), IPv4Address("10.244.2.3"), Protocol.UDP)
IP6 = IPv6(IPv6Address("fd10:244:0:1::2"), IPv6Address("fd10:244:0:2::3"), Protocol.UDP)


class Way:
    """From a queue to underlays, all on paper."""

    def __init__(self) -> None:
        self.queue = PaperQueue()
        self.four, self.six = PaperUnderlay(), PaperUnderlay(6)
        self.peers = PeerTable(OWN)
        self.peers.configure(PEERS)
        self.drops: Counter[str] = Counter()
        addresses = {4: ROUTER.packed, 6: ROUTER6.packed}
        self.outbound = Outbound(self.queue, {4: self.four, 6: self.six}, addresses, self.peers, self.drops)

    def run(self, *packets: bytes, header: bytes = bytes(HEADER.size)) -> None:
        for packet in packets:
            self.queue.give(packet, header)
        self.outbound.run()

    def told(self) -> list[tuple[int, int, int]]:
        """Type, code and MTU of the errors that went back."""
        messages = [dissect(packet, LinkType.IP).headers[1] for packet in self.queue.packets()]
        return [(item.type, item.code, item.rest) for item in messages if isinstance(item, Icmp)]


@pytest.fixture
def way() -> Iterator[Way]:
    made = Way()
    yield made
    made.queue.close()


def datagram(length: int = 100, ip: IPv4 | IPv6 = IP4) -> bytes:
    return encode((ip, Udp(1000, 53)), bytes(number % 251 for number in range(length)))


def hopped(packet: bytes) -> bytes:
    """As a router passes it on."""
    passed = bytearray(packet)
    passed[8 if packet[0] >> 4 == 4 else 7] -= 1
    return reference.mended(bytes(passed))


@pytest.mark.parametrize("ip", [IP4, IP6], ids=["IPv4", "IPv6"])
def test_a_packet_is_one_hop_on_its_way(way: Way, ip: IPv4 | IPv6) -> None:
    packet = datagram(ip=ip)
    way.run(packet)
    underlay = way.four if ip == IP4 else way.six
    assert underlay.sent == [hopped(packet)]
    assert underlay.endpoints == [(NODE2 if ip == IP4 else NODE2_IPV6, 8285)]
    assert way.peers.counters()["node2"] == Counters(1, len(packet))
    assert not way.drops


def test_the_header_checksum_stays_right_whatever_it_was(way: Way) -> None:
    packets = [datagram(ip=replace(IP4, identification=number, ttl=2)) for number in range(0, 65_536, 251)]
    for packet in packets:
        way.run(packet)
    assert way.four.sent == [hopped(packet) for packet in packets]


def test_a_header_checksum_that_would_come_to_ones_comes_to_zero(way: Way) -> None:
    probe = int.from_bytes(datagram()[10:12])
    packet = datagram(ip=replace(IP4, identification=(probe - 0xFEFF) % 65_535))
    assert packet[10:12] == b"\xfe\xff"
    way.run(packet)
    assert way.four.sent == [hopped(packet)]
    assert way.four.sent[0][10:12] == b"\0\0"


def test_the_first_packet_leaves_at_once_and_others_of_one_size_to_one_peer_as_one_train(way: Way) -> None:
    same = [datagram(ip=replace(IP4, identification=number)) for number in range(5)]
    elsewhere = datagram(ip=replace(IP4, destination=IPv4Address("10.244.3.1")))
    way.run(*same, datagram(50), *same[:2], elsewhere, datagram(101))
    assert [len(train) for train in way.four.trains] == [1, 5, 2, 1, 1]
    assert way.four.endpoints == [(NODE2, 8285), (NODE2, 8285), (NODE2, 8285), (NODE3, 8285), (NODE2, 8285)]
    assert way.four.sent == [
        hopped(packet) for packet in (*same, datagram(50), *same[:2], elsewhere, datagram(101))
    ]  # fmt: skip


def test_a_train_has_no_more_than_the_kernel_sends_at_once(way: Way) -> None:
    for _ in range(2):
        way.run(*[datagram(10)] * 64)
    way.run(*[datagram(1400)] * 50)
    assert [len(train) for train in way.four.trains] == [1, 63, 1, 63, 1, 45, 4]


def test_both_families_in_turn_go_by_their_own_sockets(way: Way) -> None:
    way.run(datagram(), datagram(ip=IP6), datagram(), datagram(ip=IP6))
    assert (len(way.four.sent), len(way.six.sent)) == (2, 2)


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])
@pytest.mark.parametrize("ip", [IP4, IP6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("length", [100, 101, 8])
def test_checksums_that_the_kernel_left_open_are_made(
    way: Way, protocol: Protocol, ip: IPv4 | IPv6, count: int, length: int
) -> None:
    header = Udp(1, 2) if protocol == Protocol.UDP else Tcp(1, 2, 3, 4, 0x10)
    packets = [
        encode((replace(ip, protocol=protocol), header), bytes([number]) * length) for number in range(count)
    ]  # fmt: skip
    packets.append(encode((replace(ip, protocol=protocol), header), bytes([9]) * (length - 3)))
    at = reference.checksum_at(packets[0])
    _, start = reference.transport(packets[0])
    way.run(*map(_left_open, packets), header=HEADER.pack(NEEDS_CSUM, 0, 0, 0, start, at - start))
    underlay = way.four if ip == IP4 else way.six
    assert underlay.sent == [hopped(packet) for packet in packets]
    assert [len(train) for train in underlay.trains] == [1, count]


def _left_open(packet: bytes) -> bytes:
    """With the sum of the pseudo header in place of the checksum (CHECKSUM_PARTIAL)."""
    at = reference.checksum_at(packet)
    pseudo = ~reference.checksum(reference.pseudo_header(packet)) & 0xFFFF
    return packet[:at] + pseudo.to_bytes(2) + packet[at + 2 :]


@pytest.mark.parametrize("count", [1, 4])
def test_a_udp_checksum_of_zero_that_is_made_is_written_as_ones(way: Way, count: int) -> None:
    packet = datagram()
    shorter = packet[:-2] + bytes(2)
    packet = reference.mended(packet[:-2] + reference.mended(shorter)[26:28])
    assert packet[26:28] == b"\xff\xff"
    way.run(*[_left_open(packet)] * count, header=HEADER.pack(NEEDS_CSUM, 0, 0, 0, 20, 6))
    assert way.four.sent == [hopped(packet)] * count


def test_a_packet_that_was_left_whole_is_cut_and_counted_by_its_segments(way: Way) -> None:
    packet = encode((replace(IP4, protocol=Protocol.TCP), Tcp(1, 2, 3, 4, 0x18)), bytes(3000))
    way.run(datagram(), packet, header=HEADER.pack(NEEDS_CSUM, GsoType.TCPV4, 40, 1000, 20, 16))
    assert way.drops == {"malformed": 1}  # the datagram is none such
    assert way.four.trains == [reference.segments(packet, 1000, hops=1)]
    assert way.peers.counters()["node2"] == Counters(3, 3120)


def test_what_came_before_a_whole_packet_leaves_before_it(way: Way) -> None:
    whole = encode((replace(IP4, protocol=Protocol.TCP), Tcp(1, 2, 3, 4, 0x18)), bytes(2000))
    way.queue.give(datagram())
    way.run(whole, header=HEADER.pack(NEEDS_CSUM, GsoType.TCPV4, 40, 1000, 20, 16))
    assert [len(train) for train in way.four.trains] == [1, 2]


@pytest.mark.parametrize(
    "packet",
    [b"", b"\x45", datagram()[:19], datagram(ip=IP6)[:39], b"\x00" * 40, b"\x55" * 40, b"\xff" * 1500],
    ids=lambda packet: packet[:4].hex(),
)
def test_what_is_no_packet_goes_nowhere(way: Way, packet: bytes) -> None:
    way.run(packet)
    assert way.drops == {"malformed": 1}
    assert not way.four.sent
    assert not way.six.sent


@pytest.mark.parametrize("start, offset", [(200, 16), (127, 0), (0xFFFF, 0xFFFF)])
def test_a_checksum_that_would_be_beyond_the_packet_is_not_made(way: Way, start: int, offset: int) -> None:
    way.run(datagram(), header=HEADER.pack(NEEDS_CSUM, 0, 0, 0, start, offset))
    assert way.drops == {"malformed": 1}


@pytest.mark.parametrize("ip, answer", [(IP4, (3, 0, 0)), (IP6, (1, 0, 0))], ids=["IPv4", "IPv6"])
def test_what_nobody_has_is_unreachable(way: Way, ip: IPv4 | IPv6, answer: tuple[int, int, int]) -> None:
    lost4 = replace(IP4, destination=IPv4Address("10.244.9.9"))
    lost6 = replace(IP6, destination=IPv6Address("fd10:244:0:9::9"))
    way.run(datagram(ip=lost4 if ip == IP4 else lost6))
    assert way.told() == [answer]
    assert way.drops == {"no peer has the destination": 1}
    assert not way.four.sent


@pytest.mark.parametrize("ttl", [0, 1])
@pytest.mark.parametrize("ip, answer", [(IP4, (11, 0, 0)), (IP6, (3, 0, 0))], ids=["IPv4", "IPv6"])
def test_the_last_hop_of_a_packet_is_told(way: Way, ip: IPv4 | IPv6, answer: tuple[int, int, int], ttl: int) -> None:
    way.run(datagram(ip=replace(ip, ttl=ttl)))
    assert way.told() == [answer]
    assert way.drops == {"TTL exceeded": 1}


def test_the_offender_is_quoted_and_the_answer_comes_from_the_nodes_own_address(way: Way) -> None:
    offender = datagram(ip=replace(IP4, ttl=1))
    way.run(offender)
    (answer,) = way.queue.packets()
    ip = dissect(answer, LinkType.IP).headers[0]
    assert isinstance(ip, IPv4)
    assert (ip.source, ip.destination) == (ROUTER, IP4.source)
    assert answer[28:] == offender


def test_nobody_is_told_of_an_error_about_an_error(way: Way) -> None:
    lost = replace(IP6, destination=IPv6Address("fd10:244:0:9::9"), protocol=Protocol.DESTINATION_OPTIONS)
    options = Extension(Protocol.DESTINATION_OPTIONS, Protocol.ICMPV6, bytes(6))
    way.run(encode((lost, options)) + b"\x01\0\0\0\0\0\0\0", datagram(ip=replace(IP6, destination=_MULTICAST)))
    assert way.told() == []
    assert way.drops == {"no peer has the destination": 2}


_MULTICAST = IPv6Address("ff02::16")


def test_errors_are_told_at_a_limited_rate(way: Way) -> None:
    for _ in range(10):
        way.run(*[datagram(ip=replace(IP4, ttl=1))] * 64)
    assert way.drops == {"TTL exceeded": 640}
    assert 50 <= len(way.told()) < 640


@pytest.mark.parametrize("ip, mtu, told", [
    (replace(IP4, dont_fragment=True), 1400, (3, 4, 1400)),
    (IP6, 1400, (2, 0, 1400)),
    (IP6, 1000, (2, 0, 1280)),
])  # fmt: skip
def test_what_must_not_be_fragmented_is_too_big_and_its_sender_learns_what_fits(
    way: Way, ip: IPv4 | IPv6, mtu: int, told: tuple[int, int, int]
) -> None:
    way.four.mtu = way.six.mtu = mtu
    way.run(*[datagram(1400, ip)] * 4)
    assert way.told() == [told, told]  # about the first, and about the train of the others
    assert way.drops == {"too big": 4}
    assert way.peers.counters()["node2"] == Counters()


@pytest.mark.parametrize("ip, length, mtu", [(IP4, 1400, 1000), (IP6, 1232, 1252)], ids=["IPv4", "IPv6"])
def test_what_may_be_fragmented_or_has_to_be_carried_goes_in_outer_fragments(
    way: Way, ip: IPv4 | IPv6, length: int, mtu: int
) -> None:
    """RFC 2003 §3.1; RFC 2473 §7.1: an IPv6 packet of 1,280 octets is carried on any way."""
    way.four.mtu = way.six.mtu = mtu
    packet = datagram(length, ip)
    way.run(packet, packet)
    assert (way.four if ip == IP4 else way.six).fragmented == [hopped(packet)] * 2
    assert way.told() == []
    assert way.peers.counters()["node2"] == Counters(2, 2 * len(packet))


def test_packets_that_are_sent_at_once_are_fragmented_each_as_its_own_sender_says(way: Way) -> None:
    way.four.mtu = 1000
    may, must_not = datagram(1400), datagram(1400, replace(IP4, source=IPv4Address("10.5.34.9"), dont_fragment=True))
    way.run(may, must_not, may, must_not, must_not, may)
    assert way.four.fragmented == [hopped(may)] * 3
    assert way.told() == [(3, 4, 1000)] * 2
    assert way.drops == {"too big": 3}
    assert way.peers.counters()["node2"] == Counters(3, 3 * len(may))


def test_a_packet_left_whole_whose_segments_do_not_fit_is_told_once(way: Way) -> None:
    way.four.mtu = 900
    packet = encode((replace(IP4, protocol=Protocol.TCP, dont_fragment=True), Tcp(1, 2, 3, 4, 0x18)), bytes(60_000))
    way.run(packet, header=HEADER.pack(NEEDS_CSUM, GsoType.TCPV4, 40, 1000, 20, 16))
    assert way.told() == [(3, 4, 900)]
    assert way.drops == {"too big": 60}


UNREACHABLE = OSError(errno.ENETUNREACH, "")


def test_whatever_the_kernel_refuses_is_counted_and_the_rest_goes_on(way: Way) -> None:
    reason = f"underlay: {os.strerror(errno.ENETUNREACH)}"
    way.four.fails["send"] = UNREACHABLE
    way.run(datagram(), datagram(), datagram(ip=IP6))
    assert way.drops == {reason: 2}
    assert len(way.six.sent) == 1


def test_neither_does_finding_the_mtu_nor_fragmenting_end_the_way_when_it_fails(way: Way) -> None:
    reason = f"underlay: {os.strerror(errno.ENETUNREACH)}"
    way.four.mtu = UNREACHABLE
    way.run(datagram(ip=replace(IP4, dont_fragment=True)))
    assert way.drops == {reason: 1}
    way.four.mtu, way.four.fails["send_in_fragments"] = 10, OSError(errno.ENETUNREACH, "")
    way.run(datagram())
    assert way.drops == {reason: 2}
    assert way.told() == []


def test_an_answer_that_the_device_does_not_take_is_counted(way: Way) -> None:
    way.queue.give(datagram(ip=replace(IP4, ttl=1)))
    way.queue._kernel.shutdown(0)  # it reads no more
    way.outbound.run()
    assert way.drops["TTL exceeded"] == 1
    assert sum(way.drops.values()) >= 2


def test_a_family_without_an_underlay_is_not_carried() -> None:
    way = Way()
    outbound = Outbound(way.queue, {4: way.four}, {}, way.peers, way.drops)
    way.queue.give(datagram(ip=IP6))
    way.queue.give(datagram(ip=replace(IP4, ttl=1)))
    outbound.run()
    assert way.drops == {"no underlay for IPv6": 1, "TTL exceeded": 1}
    assert way.told() == []
    way.queue.close()


def test_a_device_that_has_gone_is_counted(way: Way) -> None:
    os.close(way.queue.descriptor)
    way.outbound.run()
    way.queue.descriptor = os.dup(0)
    assert way.drops == {f"device: {os.strerror(errno.EBADF)}": 1}


def test_nobody_reads_for_ever_while_others_wait(way: Way) -> None:
    way.run(*[datagram()] * 70)
    assert len(way.four.sent) == 64
    way.outbound.run()
    assert len(way.four.sent) == 70


def test_packets_to_peers_of_several_lengths_of_prefix_go_where_they_belong(way: Way) -> None:
    way.peers.change([replace(PEERS[1], subnet=ip_network("10.244.2.128/25"))], [])
    way.run(datagram(), datagram(ip=replace(IP4, destination=IPv4Address("10.244.2.129"))))
    assert way.four.endpoints == [(NODE2, 8285), (NODE3, 8285)]
