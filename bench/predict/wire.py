"""Packets on the wire: sent by raw sockets with a tag in them, heard where they arrive, and in errors about them.

A raw socket is given every packet of its protocol that is for its host, behind the packet filter (raw(7)).
"""

from __future__ import annotations

import select
import socket
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Self

from bench.predict.packets import PORT, Case
from nankeen.kernel.namespace import Namespace, entered
from nankeen.model.address import IPAddress

_PROTOCOLS = {"udp": {4: 17, 6: 17}, "tcp": {4: 6, 6: 6}, "icmp": {4: 1, 6: 58}}
_CHECKSUMS = {"udp": 6, "tcp": 16, "icmp": 2}
"""Where they are in the transport header."""
_IPV6_CHECKSUM = 7
_ECHO = {4: 8, 6: 128}
_ERRORS = {4: frozenset({3, 11, 12}), 6: frozenset({1, 2, 3, 4})}
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _IPV6_DONTFRAG = 10, 23, 62
_PROBE, _NEVER = 3, 0
_SO_RCVBUFFORCE = 33
_BUFFER = 4 << 20
_SYN, _RST = 0x02, 0x04
_FRAGMENT_HEADER = 44


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet that was delivered."""

    host: str
    source: IPAddress
    destination: IPAddress
    ttl: int
    payload: int


@dataclass(frozen=True, slots=True)
class Complaint:
    """An error that came back to whoever sent the packet."""

    host: str
    """Where it was heard."""
    source: IPAddress
    number: tuple[int, int]
    """Type and code; of a TCP reset, (0, 0)."""
    mtu: int = 0


@dataclass(slots=True)
class Fate:
    """What became of one packet."""

    errno: int = 0
    """Why the host did not send it."""
    arrivals: list[Arrival] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Heard:
    """A packet as a raw socket gave it: addresses, hop limit, and what is behind the IP header."""

    host: str
    version: int
    protocol: int
    source: IPAddress
    destination: IPAddress
    ttl: int
    body: bytes


class Wires:
    """Sockets in every host."""

    def __init__(self, namespaces: Mapping[str, Namespace], versions: Iterable[int]) -> None:
        self._namespaces = namespaces
        self._stack = ExitStack()
        self._poll = select.epoll()
        self._ears: dict[int, tuple[str, int, int, socket.socket]] = {}
        self._mouths: dict[tuple[str, int, str], socket.socket] = {}
        for host, namespace in namespaces.items():
            with entered(namespace):
                for version in versions:
                    self._open(host, version)

    def _open(self, host: str, version: int) -> None:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        for name, numbers in _PROTOCOLS.items():
            ear = self._made(family, numbers[version])
            ear.setblocking(False)
            ear.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            if version == 6:
                ear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
                ear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
            self._ears[ear.fileno()] = (host, version, numbers[version], ear)
            self._poll.register(ear.fileno(), select.EPOLLIN)
            mouth = self._made(family, numbers[version])
            mouth.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            mouth.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # it is to speak, not to hear
            if version == 6 and name != "icmp":
                mouth.setsockopt(socket.IPPROTO_IPV6, _IPV6_CHECKSUM, _CHECKSUMS[name])
            self._mouths[host, version, name] = mouth

    def _made(self, family: int, protocol: int) -> socket.socket:
        return self._stack.enter_context(socket.socket(family, socket.SOCK_RAW, protocol))

    def send(self, case: Case, number: int, tag: int) -> int:
        """Sends it; the error number where the host does not, else 0."""
        version = case.to.version
        mouth = self._mouths[case.host, version, case.protocol]
        if version == 4:
            mouth.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, case.ttl)
            mouth.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PROBE if case.dont_fragment else _NEVER)
        else:
            mouth.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, case.ttl)
            mouth.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PROBE if case.dont_fragment else _NEVER)
            mouth.setsockopt(socket.IPPROTO_IPV6, _IPV6_DONTFRAG, int(case.dont_fragment))
        segment = _segment(case, number, tag)
        if version == 4:
            segment = _summed(case, segment, self._source(case))
        try:
            mouth.sendto(segment, (str(case.to), 0))
        except OSError as error:
            return error.errno or -1
        return 0

    def _source(self, case: Case) -> IPv4Address:
        """What the host will send it from, as far as it tells."""
        with entered(self._namespaces[case.host]), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as guide:
            guide.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            with suppress(OSError):  # what is connected is routed with its source, what is only sent without
                guide.connect((str(case.to), PORT))
            return IPv4Address(guide.getsockname()[0])

    def hear(self, fates: Mapping[int, Fate], seconds: float) -> bool:
        """Notes what came within that time; whether anything did."""
        ready = self._poll.poll(seconds)
        for descriptor, _ in ready:
            host, version, protocol, ear = self._ears[descriptor]
            for heard in _received(host, version, protocol, ear):
                _note(heard, fates)
        return bool(ready)

    def close(self) -> None:
        self._poll.close()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _segment(case: Case, number: int, tag: int) -> bytes:
    """The transport header and the payload. In IPv6 the kernel makes the checksum."""
    mark = struct.pack("!I", tag)
    if case.protocol == "tcp":
        return struct.pack("!HHIIBBHHH", number, PORT, tag, 0, 0x50, _SYN, 65535, 0, 0) + bytes(case.payload)
    if case.protocol == "udp":
        return struct.pack("!HHHH", number, PORT, 8 + case.payload, 0) + mark.ljust(case.payload, b".")
    return struct.pack("!BBHHH", _ECHO[case.to.version], 0, 0, number, 1) + mark.ljust(case.payload, b".")


def _summed(case: Case, segment: bytes, source: IPv4Address) -> bytes:
    """With its checksum, in IPv4."""
    number = _PROTOCOLS[case.protocol][4]
    pseudo = source.packed + case.to.packed + struct.pack("!II", len(segment), number)
    found = _checksum(segment if case.protocol == "icmp" else pseudo + segment)
    at = _CHECKSUMS[case.protocol]
    return segment[:at] + struct.pack("!H", found or 0xFFFF) + segment[at + 2 :]


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _received(host: str, version: int, protocol: int, ear: socket.socket) -> Iterator[_Heard]:
    while True:
        try:
            data, ancillary, _, sender = ear.recvmsg(1 << 16, 256)
        except BlockingIOError:
            return
        if version == 4:
            start = (data[0] & 0x0F) * 4
            source, destination = IPv4Address(data[12:16]), IPv4Address(data[16:20])
            yield _Heard(host, 4, protocol, source, destination, data[8], data[start:])
            continue
        told = {kind: value for level, kind, value in ancillary if level == socket.IPPROTO_IPV6}
        to, hops = (
            IPv6Address(told[socket.IPV6_PKTINFO][:16]),
            int.from_bytes(told[socket.IPV6_HOPLIMIT], sys.byteorder),
        )
        yield _Heard(host, 6, protocol, IPv6Address(str(sender[0]).partition("%")[0]), to, hops, data)


def _note(heard: _Heard, fates: Mapping[int, Fate]) -> None:
    body = heard.body
    if heard.protocol in (1, 58) and len(body) >= 8 and body[0] in _ERRORS[heard.version]:
        fate = fates.get(_quoted(heard.version, body[8:]))
        if fate is not None:
            mtu = int.from_bytes(body[4:8]) if (body[0], body[1]) in ((3, 4), (2, 0)) else 0
            fate.complaints.append(Complaint(heard.host, heard.source, (body[0], body[1]), mtu))
    elif heard.protocol == 6 and len(body) >= 20 and body[13] & _RST:
        fate = fates.get(int.from_bytes(body[8:12]) - 1)
        if fate is not None:
            fate.complaints.append(Complaint(heard.host, heard.source, (0, 0)))
    elif (fate := fates.get(_tag(heard.version, heard.protocol, body))) is not None:
        size = len(body) - (20 if heard.protocol == 6 else 8)
        fate.arrivals.append(Arrival(heard.host, heard.source, heard.destination, heard.ttl, size))


def _quoted(version: int, packet: bytes) -> int:
    """The tag of the packet that an error is about; -1 for none of ours."""
    if version == 4:
        return _tag(4, packet[9], packet[(packet[0] & 0x0F) * 4 :]) if len(packet) >= 28 else -1
    if len(packet) < 48:
        return -1
    protocol, at = packet[6], 40
    return _tag(6, packet[at], packet[at + 8 :]) if protocol == _FRAGMENT_HEADER else _tag(6, protocol, packet[at:])


def _tag(version: int, protocol: int, body: bytes) -> int:
    """What tells the packet from others, from its transport header on; -1 for none of ours."""
    if protocol == 6 and len(body) >= 8:
        return int.from_bytes(body[4:8])
    if len(body) < 12 or protocol not in (1, 17, 58):
        return -1
    if protocol != 17 and body[0] != _ECHO[version]:
        return -1
    return int.from_bytes(body[8:12])
