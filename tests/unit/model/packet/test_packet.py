"""Headers as on the wire: what is written is read back, and what is broken is told where it breaks."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.model.address import Family, HardwareAddress
from nankeen.model.errors import InputError
from nankeen.model.packet import (
    ETHERTYPE_IPV4,
    Ethernet,
    Fault,
    Header,
    Icmp,
    IPv4,
    IPv6,
    LinkType,
    NeighbourMessage,
    Packet,
    Protocol,
    Tcp,
    TunnelPorts,
    Udp,
    Vlan,
    Vxlan,
    dissect,
    encode,
)
from nankeen.model.packet.field import checksum
from tests.unit.model.packet.strategies import frames, payloads, transports

A, B = HardwareAddress.parse("02:00:00:00:00:01"), HardwareAddress.parse("02:00:00:00:00:02")
NODE1, NODE2 = IPv4Address("192.168.0.11"), IPv4Address("192.168.0.12")
POD1, POD2 = IPv4Address("10.244.1.2"), IPv4Address("10.244.2.2")
ETHERNET = Ethernet(B, A, ETHERTYPE_IPV4)
PING = (ETHERNET, IPv4(POD1, POD2, Protocol.ICMP), Icmp.echo(Family.IPV4, 7, 1))
TUNNELLED = (ETHERNET, IPv4(NODE1, NODE2, Protocol.UDP), Udp(40000, 8472), Vxlan(1), *PING)


def bare(header: Header) -> Header:
    """Without what `encode` puts right."""
    found = {"total_length", "payload_length", "length", "checksum"} & set(header.__dataclass_fields__)
    return replace(header, **dict.fromkeys(found))  # type: ignore[arg-type]  # fields of each its own


def is_later(header: Header) -> bool:
    """Whether the header is that of a later fragment."""
    return isinstance(header, IPv4) and header.is_later_fragment


@given(frames(), payloads)
def test_what_is_written_is_read_back(stack: tuple[Header, ...], payload: bytes) -> None:
    found = dissect(encode(stack, payload))
    assert tuple(map(bare, found.headers)) == tuple(map(bare, stack[: len(found.headers)]))
    assert encode(stack, payload).startswith(encode(found.headers, found.payload))


@given(transports(Family.IPV4, tunnels=True), payloads)
def test_a_whole_packet_is_read_to_its_end(inner: tuple[int, tuple[Header, ...]], payload: bytes) -> None:
    stack = tuple(bare(header) for header in (ETHERNET, IPv4(POD1, POD2, inner[0]), *inner[1]))
    found = dissect(encode(stack, payload))
    read_no_further = any(isinstance(header, IPv6 | Vlan) or is_later(header) for header in stack)
    assert read_no_further or (tuple(map(bare, found.headers)), found.fault) == (stack, None)


@given(st.binary(max_size=200), st.sampled_from(LinkType))
def test_anything_can_come_off_the_wire(data: bytes, link: LinkType) -> None:
    found = dissect(data, link)
    assert found.payload in data


@given(frames(), payloads, st.data())
def test_a_frame_cut_anywhere_is_read_up_to_there(
    stack: tuple[Header, ...], payload: bytes, data: st.DataObject
) -> None:
    whole = dissect(encode(stack, payload))
    cut = dissect(encode(stack, payload)[: data.draw(st.integers(0, len(encode(stack, payload))))])
    assert cut.headers == whole.headers[: len(cut.headers)] or isinstance(cut.headers[-1], NeighbourMessage)


def test_a_tunnel_is_opened_and_its_inner_packet_found() -> None:
    found = dissect(encode(TUNNELLED, b"payload"))
    assert tuple(map(bare, found.headers)) == TUNNELLED
    assert tuple(map(len, found.levels)) == (4, 3)
    assert found.payload == b"payload"
    assert found.fault is None


@pytest.mark.parametrize("port, opened", [(8472, 7), (4789, 7), (8285, 3), (9000, 3)])
def test_a_tunnel_is_known_by_its_port(port: int, opened: int) -> None:
    stack = (ETHERNET, IPv4(NODE1, NODE2, Protocol.UDP), Udp(1, port), *TUNNELLED[3:])
    assert len(dissect(encode(stack)).headers) == opened


def test_the_ports_of_tunnels_are_those_that_run() -> None:
    stack = (ETHERNET, IPv4(NODE1, NODE2, Protocol.UDP), Udp(1, 9000), *TUNNELLED[3:])
    assert len(dissect(encode(stack), ports=TunnelPorts(vxlan=frozenset({9000}))).headers) == 7


@pytest.mark.parametrize(
    "outer, inner",
    [
        (IPv4(NODE1, NODE2, Protocol.IPV4), IPv4(POD1, POD2, Protocol.TCP)),
        (IPv6(IPv6Address("fd00::1"), IPv6Address("fd00::2"), Protocol.IPV4), IPv4(POD1, POD2, Protocol.TCP)),
        (IPv4(NODE1, NODE2, Protocol.IPV6), IPv6(IPv6Address("::1"), IPv6Address("::2"), Protocol.TCP)),
    ],
)
def test_ip_in_ip_is_opened(outer: IPv4 | IPv6, inner: IPv4 | IPv6) -> None:
    found = dissect(encode((outer, inner, Tcp(1, 2))), LinkType.IP)
    assert tuple(map(bare, found.headers)) == (outer, inner, Tcp(1, 2))
    assert tuple(map(len, found.levels)) == (1, 2)


def test_there_is_one_level_where_there_is_no_tunnel() -> None:
    assert len(dissect(encode(PING)).levels) == 1


def test_padding_is_no_payload() -> None:
    assert dissect(encode(PING, b"data") + bytes(20)).payload == b"data"


def test_the_checksum_is_that_of_rfc_1071() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2


def test_checksums_and_lengths_are_put_right() -> None:
    stack = (IPv4(POD1, POD2, Protocol.UDP), Udp(1, 2))
    data = encode(stack, b"odd")
    assert struct.unpack_from("!H", data, 2) == (len(data),)
    assert checksum(data[:20]) == 0
    assert checksum(stack[0].pseudo_header(Protocol.UDP, len(data) - 20) + data[20:]) == 0


def test_a_given_checksum_stays_also_where_it_is_wrong() -> None:
    data = encode((IPv4(POD1, POD2, Protocol.UDP), Udp(1, 2, checksum=0x1234)))
    assert data[26:28] == b"\x12\x34"


def test_a_transport_header_in_no_packet_has_no_checksum() -> None:
    with pytest.raises(InputError, match="covers an IP header"):
        encode((Udp(1, 2),))


@pytest.mark.parametrize(
    "change, fault",
    [
        (lambda data: data[:10], Fault("Ethernet", "cut short: 10 of at least 14 bytes")),
        (lambda data: data[:14] + b"\x65" + data[15:], Fault("IPv4", "version 6 instead of 4")),
        (
            lambda data: data[:14] + b"\x44" + data[15:],
            Fault("IPv4", "its header says that it has 16 bytes, fewer than 20"),
        ),
        (lambda data: data[:30], Fault("IPv4", "cut short: 16 of at least 20 bytes")),
        (lambda data: data[:38], Fault("Udp", "cut short: 4 of at least 8 bytes")),
        (lambda data: data[:42] + b"\0" + data[43:], Fault("Vxlan", "it has no VNI: the I flag is not set")),
        (lambda data: data[:-4], Fault("IPv4", "cut short: 78 of 82 bytes")),
    ],
)
def test_what_is_broken_is_told_where_it_breaks(change: object, fault: Fault) -> None:
    assert callable(change)
    found = dissect(change(encode(TUNNELLED, b"data")))
    assert isinstance(found, Packet)
    assert found.fault == fault
    assert str(fault).startswith(f"{fault.layer}: ")


def test_a_later_fragment_has_no_ports() -> None:
    stack = (ETHERNET, IPv4(POD1, POD2, Protocol.UDP, fragment_offset=185))
    assert dissect(encode(stack, bytes(30))).headers[2:] == ()


def test_a_neighbour_solicitation_names_its_target() -> None:
    solicitation = NeighbourMessage(IPv6Address("fd00::1"), A)
    stack = (
        IPv6(IPv6Address("fd00::2"), IPv6Address("ff02::1:ff00:1"), Protocol.ICMPV6),
        Icmp(Family.IPV6, 135),
        solicitation,
    )
    assert tuple(map(bare, dissect(encode(stack), LinkType.IP).headers)) == stack


def test_errors_tell_their_mtu() -> None:
    assert Icmp(Family.IPV4, 3, 4, 1450).mtu == 1450
    assert Icmp(Family.IPV6, 2, 0, 1430).mtu == 1430
    assert Icmp(Family.IPV4, 3, 1, 1450).mtu is None
