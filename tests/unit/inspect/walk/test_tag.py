"""What tells a probe from all other packets: alone, in tunnels, in errors about it, and to the kernel's filter."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.forwarding import Packet
from nankeen.forwarding.packet import Header, Icmp, IcmpKind, Ip, Sctp, Tcp, Udp
from nankeen.inspect.walk.sieve import program
from nankeen.inspect.walk.sighting import Role, role_of
from nankeen.inspect.walk.tag import Tag
from nankeen.kernel.everytap import HARDWARE_TYPE
from nankeen.model import packet as wire
from nankeen.model.address import Family, HardwareAddress
from nankeen.model.bpf import Instruction, Op
from nankeen.model.packet import LinkType, TunnelPorts, dissect, encode
from tests.unit.inspect.filter.processor import LoadError, run
from tests.unit.inspect.walk.onwire import octets
from tests.unit.model.packet.strategies import Stack, frames

PORTS = TunnelPorts(vxlan=frozenset({8472}), udp=frozenset({8285}))
KINDS = {LinkType.ETHERNET: 1, LinkType.IP: 65534}
"""ARPHRD_ETHER and ARPHRD_NONE."""
ADDRESSES = {4: ("10.244.1.5", "10.244.2.5"), 6: ("fd44:0:0:1::5", "fd44:0:0:2::5")}
PROBES: list[Header] = [Icmp(IcmpKind.ECHO_REQUEST, 7), Udp(41000, 80), Tcp(41000, 80), Sctp(41000, 80)]
OUTER = wire.IPv4(IPv4Address("192.168.0.11"), IPv4Address("192.168.0.12"), wire.Protocol.UDP)


def probe(version: int, header: Header, payload: int, tag: Tag) -> bytes:
    source, destination = map(ip_address, ADDRESSES[version])
    return octets(Packet((Ip(source, destination), header), payload), tag)


def framed(data: bytes) -> bytes:
    kind = wire.ETHERTYPE_IPV4 if data[0] >> 4 == 4 else wire.ETHERTYPE_IPV6
    address = HardwareAddress(b"\2\0\0\0\0\1")
    return encode([wire.Ethernet(address, address, kind)], data)


def in_vxlan(data: bytes) -> bytes:
    return framed(encode([OUTER, wire.Udp(50000, 8472), wire.Vxlan(1)], framed(data)))


def in_datagram(data: bytes) -> bytes:
    return framed(encode([OUTER, wire.Udp(8285, 8285)], data))


def is_kept(tag: Tag, data: bytes, link: LinkType = LinkType.ETHERNET) -> bool:
    """What the filter says, on a processor that knows nothing of devices: their kind is put into the program."""
    kind = Instruction(Op.LOAD_CONSTANT, KINDS[link])
    whole = program(tag, PORTS)
    assert whole[0] == Instruction(Op.LOAD_WORD, HARDWARE_TYPE)
    try:
        return bool(run((kind, *whole[1:]), data))
    except LoadError:
        return False


def role(tag: Tag, data: bytes, link: LinkType = LinkType.ETHERNET) -> Role | None:
    return role_of(dissect(data, link, PORTS), tag)


@pytest.mark.parametrize("header", PROBES, ids=["icmp", "udp", "tcp", "sctp"])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("payload", [0, 3, 56])
def test_a_probe_is_known_alone_and_in_tunnels_and_no_other_is(version: int, header: Header, payload: int) -> None:
    tag, other = Tag.drawn(payload), Tag(0x4_1234, bytes(16), payload)
    data, foreign = (probe(version, header, payload, each) for each in (tag, other))
    for tunnelled in (framed, in_vxlan, in_datagram):
        assert (is_kept(tag, tunnelled(data)), role(tag, tunnelled(data))) == (True, Role.PROBE)
        assert (is_kept(tag, tunnelled(foreign)), role(tag, tunnelled(foreign))) == (False, None)
    assert (is_kept(tag, data, LinkType.IP), role(tag, data, LinkType.IP)) == (True, Role.PROBE)


@pytest.mark.parametrize("port", [8472, 8285])
@pytest.mark.parametrize("version", [4, 6])
def test_a_probe_to_a_tunnels_port_is_taken_for_no_tunnel(version: int, port: int) -> None:
    for _ in range(50):
        tag = Tag.drawn(56)
        data = probe(version, Udp(41000, port), 56, tag)
        assert role(tag, framed(data)) is Role.PROBE
        assert role(tag, framed(_error(version, data))) is Role.ERROR


def test_a_packet_that_has_the_number_by_chance_is_another() -> None:
    tag = Tag.drawn(56)
    twin = replace(tag, nonce=bytes(16))
    for version in (4, 6):
        data = framed(probe(version, PROBES[0], 56, twin))
        assert (is_kept(tag, data), role(tag, data)) == (True, None)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("header", PROBES, ids=["icmp", "udp", "tcp", "sctp"])
def test_an_error_that_quotes_the_probe_is_about_it(version: int, header: Header) -> None:
    tag, other = Tag.drawn(56), Tag(0x4_1234, bytes(16), 56)
    for each, expected in ((tag, Role.ERROR), (other, None)):
        data = framed(_error(version, probe(version, header, 56, each)))
        assert (is_kept(tag, data), role(tag, data)) == (expected is not None, expected)


def _error(version: int, about: bytes) -> bytes:
    """Time exceeded."""
    source, destination = map(ip_address, reversed(ADDRESSES[version]))
    if version == 4:
        four = wire.IPv4(source, destination, wire.Protocol.ICMP)  # type: ignore[arg-type]
        return encode([four, wire.Icmp(Family.IPV4, 11)], about)
    six = wire.IPv6(source, destination, wire.Protocol.ICMPV6)  # type: ignore[arg-type]
    return encode([six, wire.Icmp(Family.IPV6, 3)], about)


@pytest.mark.parametrize("version", [4, 6])
def test_the_receivers_answers_are_known(version: int) -> None:
    tag = Tag.drawn(56)
    marks = Tag(0x4_1234, tag.nonce, 56)  # the content of the probe, and a number of their own
    reply = framed(probe(version, Icmp(IcmpKind.ECHO_REPLY, 7), 56, marks))
    assert (is_kept(tag, reply), role(tag, reply)) == (True, Role.ANSWER)
    for length in (0, 56):
        accepted = framed(_acknowledging(version, (tag.sequence + 1 + length) & 0xFFFF_FFFF))
        assert (is_kept(tag, accepted), role(tag, accepted)) == (True, Role.ANSWER)
    foreign = framed(_acknowledging(version, (tag.sequence + 2) & 0xFFFF_FFFF))
    assert (is_kept(tag, foreign), role(tag, foreign)) == (False, None)


@pytest.mark.parametrize("version", [4, 6])
def test_who_answers_an_init_names_its_tag(version: int) -> None:
    tag = Tag.drawn(0)
    for number, expected in ((tag.sequence, Role.ANSWER), (tag.sequence ^ 1, None)):
        data = framed(_carrying(version, wire.Protocol.SCTP, wire.Sctp(80, 41000, number)))
        assert (is_kept(tag, data), role(tag, data)) == (expected is not None, expected)


def test_a_question_for_neighbours_within_ipv4_is_none() -> None:
    tag = Tag.drawn(56)
    four = replace(OUTER, protocol=wire.Protocol.ICMPV6, identification=tag.identification)
    asking = wire.Icmp(Family.IPV6, 135)
    target = wire.NeighbourMessage(IPv6Address("fd44:0:0:2::5"))
    assert role(tag, framed(encode([four, asking, target], b"xyz"))) is None


def _acknowledging(version: int, number: int) -> bytes:
    segment = wire.Tcp(80, 41000, acknowledgement=number, flags=wire.TcpFlag.SYN | wire.TcpFlag.ACK)
    return _carrying(version, wire.Protocol.TCP, segment)


def _carrying(version: int, protocol: wire.Protocol, header: wire.Header) -> bytes:
    """From the receiver."""
    source, destination = map(ip_address, reversed(ADDRESSES[version]))
    if version == 4:
        return encode([wire.IPv4(source, destination, protocol), header])  # type: ignore[arg-type]
    return encode([wire.IPv6(source, destination, protocol), header])  # type: ignore[arg-type]


def test_questions_of_neighbours_are_heard() -> None:
    tag, address = Tag.drawn(0), HardwareAddress(b"\2\0\0\0\0\1")
    one, other = IPv4Address("10.244.1.5"), IPv4Address("10.244.1.1")
    for operation, expected in ((1, Role.QUESTION), (2, None)):
        asked = wire.Arp(operation, address, one, address, other)
        data = encode([wire.Ethernet(address, address, wire.ETHERTYPE_ARP), asked])
        assert (is_kept(tag, data), role(tag, data)) == (expected is not None, expected)


def test_who_looks_whether_somebody_has_its_own_address_asks_for_nobody() -> None:
    tag, address, one = Tag.drawn(0), HardwareAddress(b"\2\0\0\0\0\1"), IPv4Address("10.244.1.5")
    announced = wire.Arp(wire.ArpOperation.REQUEST, address, one, address, one)
    assert role(tag, encode([wire.Ethernet(address, address, wire.ETHERTYPE_ARP), announced])) is None
    for source, expected in (("::", None), ("fe80::1", Role.QUESTION)):
        header = wire.IPv6(IPv6Address(source), IPv6Address("ff02::1:ff00:1"), wire.Protocol.ICMPV6, 255)
        frame = wire.Ethernet(address, address, wire.ETHERTYPE_IPV6)
        asked = wire.NeighbourMessage(IPv6Address("fe80::2"))
        data = encode([frame, header, wire.Icmp(Family.IPV6, 135), asked])
        assert role(tag, data) is expected
        assert is_kept(tag, data)


@given(frames(), st.sampled_from(list(LinkType)))
def test_what_the_filter_leaves_out_is_nothing_to_the_probe(stack: Stack, link: LinkType) -> None:
    tag, frame = Tag(0x4_1234, b"nankeen nankeen ", 56), encode(stack, bytes(60))
    found = role(tag, frame, link)
    assert found in (None, Role.QUESTION)
    assert found is None or is_kept(tag, frame, link)
