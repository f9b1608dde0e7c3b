from __future__ import annotations

import random
import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from nankeen.model.address import Family
from nankeen.model.packet import Extension, Fragment, Icmp, IPv4, IPv6, LinkType, Protocol, Tcp, Udp, dissect, encode
from nankeen.tunnel.icmp import Limiter, Problem, error
from tests.unit.tunnel import reference

POD, ROUTER = IPv4Address("10.244.1.2"), IPv4Address("10.244.1.0")
POD6, ROUTER6 = IPv6Address("fd10::1:2"), IPv6Address("fd10::1:0")
IP4 = IPv4(POD, IPv4Address("10.244.2.3"), Protocol.UDP, dont_fragment=True)
IP6 = IPv6(POD6, IPv6Address("fd10::2:3"), Protocol.UDP)
OPTIONS = Protocol.DESTINATION_OPTIONS


def told(packet: bytes, problem: Problem = Problem.NO_ROUTE, mtu: int = 0) -> bytes | None:
    return error(problem, packet, (ROUTER if packet[0] >> 4 == 4 else ROUTER6).packed, mtu)


def four(*headers: Udp | Tcp | Icmp, payload: bytes = b"payload", ip: IPv4 = IP4) -> bytes:
    protocol = {Udp: Protocol.UDP, Tcp: Protocol.TCP, Icmp: Protocol.ICMP}[type(headers[0])]
    return encode((replace(ip, protocol=protocol), *headers), payload)


@pytest.mark.parametrize(
    "problem, kind, code",
    [(Problem.NO_ROUTE, 3, 0), (Problem.UNREACHABLE, 3, 1), (Problem.TOO_BIG, 3, 4), (Problem.TIME_EXCEEDED, 11, 0)],
)
def test_a_pod_is_told_what_is_wrong(problem: Problem, kind: int, code: int) -> None:
    offender = four(Udp(1000, 53), payload=bytes(range(256)))
    message = told(offender, problem, 1400)
    assert message is not None
    found = dissect(message, LinkType.IP)
    assert found.fault is None
    ip, header = found.headers[:2]
    assert isinstance(ip, IPv4)
    assert isinstance(header, Icmp)
    assert (ip.source, ip.destination, ip.protocol, ip.traffic_class) == (ROUTER, POD, Protocol.ICMP, 0xC0)
    assert (header.type, header.code, header.rest) == (kind, code, 1400)
    assert ip.total_length == len(message)
    assert message[28:] == offender
    assert reference.checksum(message[:20]) == 0
    assert reference.checksum(message[20:]) == 0


@pytest.mark.parametrize(
    "problem, kind, code",
    [(Problem.NO_ROUTE, 1, 0), (Problem.UNREACHABLE, 1, 3), (Problem.TOO_BIG, 2, 0), (Problem.TIME_EXCEEDED, 3, 0)],
)
def test_a_pod_is_told_what_is_wrong_with_ipv6(problem: Problem, kind: int, code: int) -> None:
    offender = encode((IP6, Udp(1000, 53)), bytes(range(255)))
    message = told(offender, problem, 70_000)
    assert message is not None
    ip, header = dissect(message, LinkType.IP).headers[:2]
    assert isinstance(ip, IPv6)
    assert isinstance(header, Icmp)
    assert (ip.source, ip.destination, ip.protocol) == (ROUTER6, POD6, Protocol.ICMPV6)
    assert (header.type, header.code, header.rest) == (kind, code, 70_000)
    assert ip.payload_length == len(message) - 40
    assert message[48:] == offender
    pseudo = message[8:40] + (len(message) - 40).to_bytes(4) + Protocol.ICMPV6.to_bytes(4)
    assert reference.checksum(pseudo + message[40:]) == 0


@pytest.mark.parametrize("length", [400, 512, 513, 520, 521, 1193, 1400])
def test_as_much_is_quoted_as_fits_a_packet_that_everybody_takes(length: int) -> None:
    for ip, most in ((IP4, 576), (IP6, 1280)):
        offender = encode((ip, Udp(1, 2)), bytes(length))
        message = told(offender)
        assert message is not None
        quoted = message[28 if ip == IP4 else 48 :]
        assert offender.startswith(quoted)
        assert len(message) == min(most, len(message) - len(quoted) + len(offender))


@pytest.mark.parametrize(
    "packet",
    [
        *(four(Icmp(Family.IPV4, kind)) for kind in (3, 4, 5, 11, 12)),
        four(Icmp(Family.IPV4, 8))[:20],
        four(Udp(1, 2), ip=replace(IP4, dont_fragment=False, fragment_offset=185)),
        *(
            four(Udp(1, 2), ip=replace(IP4, destination=IPv4Address(address)))
            for address in ("224.0.0.1", "239.255.255.250", "255.255.255.255", "240.0.0.1", "0.0.0.9", "127.0.0.1")
        ),
        *(
            four(Udp(1, 2), ip=replace(IP4, source=IPv4Address(address)))
            for address in ("224.0.0.1", "255.255.255.255", "0.0.0.9", "127.0.0.1")
        ),
        *(encode((replace(IP6, protocol=58), Icmp(Family.IPV6, kind)), b"quote") for kind in (1, 2, 3, 4, 127, 137)),
        encode((replace(IP6, protocol=58), Icmp(Family.IPV6, 1)))[:40],
        encode((replace(IP6, protocol=OPTIONS), Extension(OPTIONS, 58, bytes(6)), Icmp(Family.IPV6, 1)), b"quote"),
        encode((replace(IP6, protocol=0), Extension(Protocol.HOP_BY_HOP, 58, bytes(14)), Icmp(Family.IPV6, 3)), b"q"),
        encode((replace(IP6, protocol=44), Fragment(58, 0, True, 1), Icmp(Family.IPV6, 1)), b"quote"),
        encode((replace(IP6, protocol=44), Fragment(58, 9, True, 1)), b"\x80 in the middle of a message"),
        encode((replace(IP6, destination=IPv6Address("ff02::1")), Udp(1, 2))),
        encode((replace(IP6, source=IPv6Address("::")), Udp(1, 2))),
        encode((replace(IP6, source=IPv6Address("ff02::1")), Udp(1, 2))),
    ],
    ids=lambda packet: packet[:48].hex(),
)
@pytest.mark.parametrize("problem", list(Problem), ids=str)
def test_nothing_is_said_of_errors_of_later_fragments_and_of_what_is_not_from_one_to_one(
    packet: bytes, problem: Problem
) -> None:
    assert told(packet, problem) is None


@pytest.mark.parametrize(
    "packet",
    [
        four(Icmp(Family.IPV4, 8)),
        four(Icmp(Family.IPV4, 0)),
        four(Tcp(1, 2)),
        four(Udp(1, 2), ip=replace(IP4, dont_fragment=False, more_fragments=True)),
        encode((replace(IP4, options=bytes(8), protocol=Protocol.ICMP), Icmp(Family.IPV4, 8))),
        encode((replace(IP6, protocol=58), Icmp(Family.IPV6, 128))),
        encode((replace(IP6, protocol=OPTIONS), Extension(OPTIONS, 58, bytes(6)), Icmp(Family.IPV6, 128))),
        encode((replace(IP6, protocol=44), Fragment(58, 0, True, 1), Icmp(Family.IPV6, 128))),
        encode((replace(IP6, protocol=44), Fragment(Protocol.UDP, 9, False, 1)), b"the rest of a datagram"),
    ],
    ids=lambda packet: packet[:48].hex(),
)
def test_everything_else_is_told(packet: bytes) -> None:
    assert told(packet) is not None


def test_an_error_with_options_before_it_is_one_too() -> None:
    options = replace(IP4, options=b"\x08" * 8, protocol=Protocol.ICMP)
    assert told(encode((options, Icmp(Family.IPV4, 3)))) is None


def test_whatever_it_is_asked_of_it_says_something_or_nothing() -> None:
    drawn = random.Random("errors")
    said = 0
    for _ in range(4000):
        version = drawn.choice([4, 6])
        octets = bytearray(drawn.randbytes(drawn.randrange(40 if version == 6 else 20, 100)))
        octets[0] = version << 4 | octets[0] & 0x0F
        octets[6] = drawn.choice([octets[6], 0, 43, 44, 58, 60])
        message = told(bytes(octets), drawn.choice(list(Problem)), drawn.randrange(65_536))
        said += message is not None
    assert said > 1000


def test_there_are_errors_at_a_limited_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limiter = Limiter()
    assert [limiter.allows() for _ in range(51)] == [True] * 50 + [False]
    now += 0.0105
    assert [limiter.allows() for _ in range(12)] == [True] * 10 + [False] * 2
    now += 3600
    assert sum(limiter.allows() for _ in range(1000)) == 50
