"""A packet as forwarding sees it, and as it is on the wire: one is made of the other without a loss."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.forwarding import Packet, codec
from nankeen.forwarding.packet import Arp, Ethernet, Header, Icmp, IcmpKind, Ip, Sctp, Tcp, Udp, VxlanHeader
from nankeen.model import packet as wire
from nankeen.model.address import Family, HardwareAddress, IPAddress
from nankeen.model.errors import InputError
from nankeen.model.packet import LinkType, dissect, encode
from tests.unit.model.packet.strategies import frames

ONE, OTHER = HardwareAddress(b"\2\0\0\0\0\1"), HardwareAddress(b"\2\0\0\0\0\2")
FOUR = IPv4Address("10.244.1.5"), IPv4Address("10.244.2.5")
SIX = IPv6Address("fd44:0:0:1::5"), IPv6Address("fd44:0:0:2::5")
PAIRS: dict[int, tuple[IPAddress, IPAddress]] = {4: FOUR, 6: SIX}
ports = st.integers(1, 0xFFFF).filter(lambda port: port not in (8472, 4789, 8285))


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    """What a process sends."""
    version = draw(st.sampled_from([4, 6]))
    named = {kind.number(version): kind for kind in reversed(IcmpKind) if not kind.name.startswith("NEIGHBOUR")}
    kinds = [kind for number, kind in named.items() if number]
    carried = draw(
        st.one_of(
            st.builds(Udp, ports, ports),
            st.builds(Tcp, ports, ports, st.booleans()),
            st.builds(Sctp, ports, ports),
            st.builds(Icmp, st.sampled_from([IcmpKind.ECHO_REQUEST, IcmpKind.ECHO_REPLY]), st.integers(0, 0xFFFF)),
            st.builds(Icmp, st.sampled_from(kinds)),
        )
    )
    source, destination = PAIRS[version]
    dont_fragment = draw(st.booleans()) and version == 4
    header = Ip(source, destination, draw(st.integers(1, 255)), dont_fragment)
    return Packet((header, carried), draw(st.integers(0, 100)))


@given(packets())
def test_what_is_sent_and_captured_is_the_same_packet(packet: Packet) -> None:
    carried = packet.payload + 20 * isinstance(packet.headers[1], Sctp)  # the chunk INIT
    octets = encode(codec.sent(packet), bytes(carried))
    assert len(octets) == packet.size
    assert codec.captured(dissect(octets, LinkType.IP)) == packet


def test_a_captured_tunnel_is_a_stack_of_the_same_headers() -> None:
    outer = wire.IPv4(IPv4Address("192.168.0.11"), IPv4Address("192.168.0.12"), wire.Protocol.UDP)
    inner = wire.IPv4(IPv4Address("10.244.1.5"), IPv4Address("10.244.2.5"), wire.Protocol.ICMP, 63)
    echo = wire.Icmp.echo(Family.IPV4, 7, 1)
    frame = wire.Ethernet(OTHER, ONE, wire.ETHERTYPE_IPV4)
    octets = encode([frame, outer, wire.Udp(50000, 8472), wire.Vxlan(1), frame, inner, echo], bytes(56))
    expected = Packet(
        (
            Ethernet(ONE, OTHER), Ip(outer.source, outer.destination), Udp(50000, 8472), VxlanHeader(1),
            Ethernet(ONE, OTHER), Ip(inner.source, inner.destination, 63), Icmp(IcmpKind.ECHO_REQUEST, 7),
        ),
        56,
    )  # fmt: skip
    assert codec.captured(dissect(octets)) == expected


def test_a_fragment_has_the_length_that_it_travels_with() -> None:
    four = wire.IPv4(*FOUR, wire.Protocol.UDP, more_fragments=True)
    found = codec.captured(dissect(encode([four, wire.Udp(1, 2, 2008)], bytes(1272)), LinkType.IP))
    assert (found.ip.fragment, found.size) == (1300, 1300)
    six = wire.IPv6(*SIX, wire.Protocol.FRAGMENT)
    piece = wire.Fragment(wire.Protocol.UDP, 0, more_fragments=True, identification=1)
    found = codec.captured(dissect(encode([six, piece, wire.Udp(1, 2, 2008)], bytes(1272)), LinkType.IP))
    assert (found.ip.fragment, found.size) == (1328, 1328)


@pytest.mark.parametrize("operation", list(wire.ArpOperation), ids=lambda found: found.name)
def test_arp_is_read(operation: wire.ArpOperation) -> None:
    asked, asking = FOUR
    said = wire.Arp(operation, ONE, asking, OTHER, asked)
    octets = encode([wire.Ethernet(OTHER, ONE, wire.ETHERTYPE_ARP), said])
    reply = operation is wire.ArpOperation.REPLY
    assert codec.captured(dissect(octets)).headers[1] == Arp(asking, ONE, asked, reply)


def test_what_forwarding_has_no_header_for_is_payload() -> None:
    tagged = encode([wire.Ethernet(OTHER, ONE, wire.ETHERTYPE_IPV4)])[:-2] + bytes.fromhex("8100 0001 88b5") + b"abc"
    assert codec.captured(dissect(tagged)) == Packet((Ethernet(ONE, OTHER),), 4 + 3)


@given(st.one_of(frames().map(encode), st.binary(max_size=200)), st.sampled_from(list(LinkType)))
def test_whatever_is_captured_keeps_its_length(data: bytes, link: LinkType) -> None:
    found = dissect(data, link)
    octets = sum(len(encode([header])) for header in found.headers) + len(found.payload)
    packet = codec.captured(found)
    if not any(isinstance(header, Sctp) or (isinstance(header, Ip) and header.fragment) for header in packet.headers):
        assert packet.size == octets


@pytest.mark.parametrize(
    "headers",
    [
        (Ethernet(ONE, OTHER), Ip(*FOUR)),
        (Ip(*FOUR), Udp(1, 2), VxlanHeader(1)),
        (Ip(FOUR[0], SIX[1]),),
        (Ip(*FOUR), Icmp(IcmpKind.BEYOND_SCOPE)),
        (Ip(*FOUR), VxlanHeader(1)),
    ],
    ids=["a frame", "a tunnel", "two families", "a message of the other version", "no transport"],
)
def test_what_no_process_sends_is_refused(headers: tuple[Header, ...]) -> None:
    with pytest.raises(InputError):
        codec.sent(Packet(headers))
