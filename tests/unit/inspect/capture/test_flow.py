"""What is remembered of flows changes nothing: many packets are told as each of them by itself, to the octet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nankeen.inspect.capture import flow as flows
from nankeen.inspect.capture import sight
from nankeen.inspect.capture.document import document
from nankeen.inspect.capture.documents import BETWEEN, Documents
from nankeen.inspect.capture.line import line
from nankeen.inspect.capture.lines import Lines
from nankeen.inspect.capture.order import Captured
from nankeen.inspect.capture.sight import View
from nankeen.kernel.ring import Direction
from nankeen.model.packet import Ethernet, Header, IPv4, IPv6, LinkType, Packet, Protocol, Tcp, TunnelPorts, Udp, encode
from nankeen.model.packet import dissect as dissected
from tests.unit.inspect.capture.sights import ETHERNET, PING, POD1, POD2, TIME, VXLAN, A, B, frame, tcp, udp
from tests.unit.model.packet.strategies import frames

WIDTH = 13
ONE, TWO = IPv6Address("fd00::1"), IPv6Address("fd00::2")
IPV6 = (Ethernet(B, A, 0x86DD), IPv6(ONE, TWO, Protocol.TCP, flow_label=7), Tcp(40000, 80))
OPTIONS = replace(Tcp(40000, 80), options=b"\1\1\x08\x0a" + bytes(range(8)))
STACKS: dict[str, tuple[tuple[Header, ...], bytes]] = {
    "TCP": (tcp(40000, 80), b"some payload"),
    "TCP with options": ((*tcp(40000, 80)[:2], OPTIONS), b"%s payload"),
    "TCP over IPv6": (IPV6, b"payload"),
    "UDP": (udp(40000, 9), b"payload"),
    "TCP in VXLAN": ((*VXLAN, *tcp(40000, 80)), b"payload"),
    "UDP over IPv6 in VXLAN": ((*VXLAN, *IPV6[:1], IPv6(ONE, TWO, Protocol.UDP), Udp(1, 9)), b"payload"),
    "TCP in UDP": ((*udp(40000, 8285), *tcp(40000, 80)[1:]), b"payload"),
    "TCP in IP": ((ETHERNET, IPv4(POD1, POD2, Protocol.IPV4), *tcp(40000, 80)[1:]), b"payload"),
    "DNS": (udp(40000, 53), bytes(12)),
    "a ping": (PING, b"payload"),
}
PAYLOADS = (
    b"", b"payload", b"GET / HTTP/1.1\r\nHost: pod2\r\n", b"HTTP/1.1 200 OK", b"220 ready\r\n", bytes(14),
    b"\x45" + bytes(30), b"\x60" + bytes(50),
)  # fmt: skip


def views(link: LinkType = LinkType.ETHERNET) -> list[View]:
    """The second one's name looks like what is filled in later."""
    return [View(name, link, TunnelPorts()) for name in ("node1:eth0", r'p:%s"\u000199')]


def batch(datas: Sequence[bytes]) -> list[Captured]:
    """At both points in turn, both ways."""
    seen = [frame(data, time=TIME + 700_000_001 * number) for number, data in enumerate(datas)]
    ways = (Direction.IN, Direction.OUT)
    return [Captured(each.time, at % 2, each._replace(direction=ways[at // 2 % 2])) for at, each in enumerate(seen)]


def told_as_one_by_one(datas: Sequence[bytes], link: LinkType = LinkType.ETHERNET) -> None:
    """Three times: when the flows are new, when they were met once, and when they are known."""
    points, captured = views(link), batch(datas)
    lines, documents = Lines(points), Documents(points)
    sights = [points[point].see(each) for _, point, each in captured]
    for _ in range(3):
        assert lines.of(captured) == "".join(f"{line(each, WIDTH)}\n" for each in sights)
        assert documents.of(captured) == BETWEEN.join(json.dumps(document(each), ensure_ascii=False) for each in sights)


def changed_everywhere(data: bytes) -> Iterator[bytes]:
    """The frame with each of its octets changed in several ways."""
    for at in range(len(data)):
        for value in {0, 1, 0xFF, data[at] ^ 0x10, data[at] ^ 1, (data[at] + 1) % 256, (data[at] - 1) % 256}:
            yield data[:at] + bytes([value]) + data[at + 1 :]


@pytest.mark.parametrize("name", STACKS)
def test_whatever_octet_of_a_known_flow_changes_is_told(name: str) -> None:
    data = encode(*STACKS[name])
    told_as_one_by_one([data, data, *changed_everywhere(data)])


@pytest.mark.parametrize("name", STACKS)
def test_a_packet_of_a_known_flow_that_is_cut_anywhere_is_told_so(name: str) -> None:
    data = encode(*STACKS[name])
    told_as_one_by_one([data, data, *(data[:end] for end in range(len(data))), data + bytes(9), data])


@pytest.mark.parametrize("name", STACKS)
def test_payload_is_read_also_of_a_known_flow(name: str) -> None:
    told_as_one_by_one([encode(STACKS[name][0], payload) for payload in PAYLOADS * 2])


def test_packets_without_an_ethernet_header_have_flows_as_well() -> None:
    datas = [encode(stack[1:], payload) for stack, payload in STACKS.values()]
    told_as_one_by_one([each for data in datas for each in (data, *changed_everywhere(data))], LinkType.IP)


@st.composite
def traffic(draw: st.DrawFn) -> list[bytes]:
    """Packets of a few flows, of which some are damaged."""
    stacks = draw(st.lists(frames(), min_size=1, max_size=3))
    found = []
    for _ in range(draw(st.integers(2, 12))):
        data = bytearray(encode(draw(st.sampled_from(stacks)), draw(st.sampled_from(PAYLOADS))))
        for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
        found.append(bytes(data[: draw(st.sampled_from([None, None, None, 30, 60, -1]))]))
    return found


@settings(max_examples=150)
@given(traffic(), st.sampled_from(LinkType))
def test_any_traffic_is_told_as_one_by_one(datas: list[bytes], link: LinkType) -> None:
    told_as_one_by_one(datas, link)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The frames that were read header by header."""
    found: list[bytes] = []

    def dissect(data: bytes, link: LinkType, ports: TunnelPorts) -> Packet:
        found.append(data)
        return dissected(data, link, ports)

    monkeypatch.setattr(sight, "dissect", dissect)
    return found


@pytest.mark.parametrize("name", ["TCP", "TCP with options", "TCP over IPv6", "UDP", "TCP in VXLAN", "TCP in UDP"])
def test_two_packets_of_a_flow_are_read_and_no_more(name: str, read: list[bytes]) -> None:
    stack, _ = STACKS[name]
    varied = [encode((*stack[:-1], vary(stack[-1], number)), bytes(number)) for number in range(100)]
    lines = Lines(views()[:1])
    assert len(lines.of([Captured(TIME, 0, frame(data)) for data in varied]).splitlines()) == 100
    assert len(read) == 2


def vary(header: Header, number: int) -> Header:
    if isinstance(header, Tcp):
        return replace(header, sequence=number, acknowledgement=number, window=number)
    return header


def test_flows_that_alternate_are_all_remembered(read: list[bytes]) -> None:
    datas = [encode(*STACKS[name]) for name in ("TCP", "UDP", "TCP over IPv6", "TCP in VXLAN")]
    Lines(views()[:1]).of([Captured(TIME, 0, frame(data)) for data in datas * 10])
    assert len(read) == 8


def test_a_flow_is_made_something_of_once_also_where_its_payload_is_read() -> None:
    made: list[Packet] = []
    view, data = views()[0], encode(*STACKS["DNS"])
    known = flows.Flows(view, lambda _, packet: made.append(packet))
    for _ in range(5):
        assert known.recall(data) is None
        known.read(frame(data))
    assert made == [Packet(view.see(frame(data)).packet.headers)]


def test_more_flows_than_can_be_remembered_take_no_more_room(
    read: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows, "FLOWS", 10)
    lines = Lines(views()[:1])
    datas = [encode((ETHERNET, IPv4(IPv4Address(number), POD2, 17), Udp(1, 9))) for number in range(30)]
    for _ in range(2):
        lines.of([Captured(TIME, 0, frame(data)) for data in datas])
    assert len(read) == 60
    for _ in range(2):
        lines.of([Captured(TIME, 0, frame(data)) for data in datas[-10:]])
    assert len(read) == 70
