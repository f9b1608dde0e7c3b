"""Packets as they are seen at a point, to be shown."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

from nankeen.inspect.capture.sight import Sight, View
from nankeen.kernel.ring import Direction, Frame
from nankeen.model.address import Family, HardwareAddress
from nankeen.model.packet import (
    ETHERTYPE_IPV4,
    Ethernet,
    Header,
    Icmp,
    IPv4,
    LinkType,
    Protocol,
    Tcp,
    TunnelPorts,
    Udp,
    Vxlan,
    encode,
)

A, B = HardwareAddress.parse("02:00:00:00:00:01"), HardwareAddress.parse("02:00:00:00:00:02")
NODE1, NODE2 = IPv4Address("192.168.0.11"), IPv4Address("192.168.0.12")
POD1, POD2 = IPv4Address("10.244.1.2"), IPv4Address("10.244.2.2")
ETHERNET = Ethernet(B, A, ETHERTYPE_IPV4)
PING = (ETHERNET, IPv4(POD1, POD2, Protocol.ICMP, ttl=63, dont_fragment=True), Icmp.echo(Family.IPV4, 7, 1))
VXLAN = (ETHERNET, IPv4(NODE1, NODE2, Protocol.UDP), Udp(40000, 8472), Vxlan(1))
TIME = 1_763_890_000_123_456_789


def frame(data: bytes, *, time: int = TIME, length: int | None = None) -> Frame:
    return Frame(time, "eth0", Direction.OUT, data, len(data) if length is None else length)


def seen(data: bytes, link: LinkType = LinkType.ETHERNET) -> Sight:
    return View("node1:eth0", link, TunnelPorts()).see(frame(data))


def seen_of(headers: Sequence[Header], payload: bytes = b"") -> Sight:
    return seen(encode(headers, payload))


def tcp(source: int, destination: int) -> tuple[Header, ...]:
    return (ETHERNET, IPv4(POD1, POD2, Protocol.TCP), Tcp(source, destination))


def udp(source: int, destination: int) -> tuple[Header, ...]:
    return (ETHERNET, IPv4(POD1, POD2, Protocol.UDP), Udp(source, destination))
