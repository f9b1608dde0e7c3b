"""What a router says of a packet that it cannot carry (RFC 792, RFC 4443), where it may say anything (RFC 1122 §3.2.2,
RFC 1812 §4.3.2, RFC 4443 §2.4): never of an error, of a later fragment, or of what was not sent by one host to one.
"""

from __future__ import annotations

import struct
import time
from enum import Enum

from nankeen.tunnel.checksum import total, turned

_ICMP, _ICMPV6 = 1, 58
_REDIRECT = 137
"""Of ICMPv6: no error, and yet nothing to answer with one (RFC 4443 §2.4 e)."""
_HOP_LIMIT = 64
_QUOTED = {4: 548, 6: 1232}
"""Octets of the packet that an error has with it: as many as fit the least MTU of IPv6, and RFC 1812's 576 of IPv4."""
_ERRORS = frozenset({3, 4, 5, 11, 12})
"""ICMP types that are errors (RFC 1122 §3.2.2)."""
_FRAGMENT = 44
_EXTENSIONS = frozenset({0, 43, _FRAGMENT, 60})
"""Extension headers of IPv6 (RFC 8200 §4)."""
_V4 = struct.Struct("!BBHHHBBH4s4s")
_V6 = struct.Struct("!IHBB16s16s")
_BODY = struct.Struct("!BBHI")


class Problem(Enum):
    """What is wrong, as type and code of ICMP and of ICMPv6."""

    NO_ROUTE = ((3, 0), (1, 0))
    UNREACHABLE = ((3, 1), (1, 3))
    TOO_BIG = ((3, 4), (2, 0))
    TIME_EXCEEDED = ((11, 0), (3, 0))


class Limiter:
    """How many errors may be sent: a bucket of tokens (RFC 1812 §4.3.2.8, RFC 4443 §2.4 f)."""

    RATE, BURST = 1000.0, 50.0
    """A second, and at once: Linux' own."""

    def __init__(self) -> None:
        self._tokens = self.BURST
        self._at = time.monotonic()

    def allows(self) -> bool:
        """Whether one more may be sent now, which is then counted."""
        now = time.monotonic()
        self._tokens = min(self.BURST, self._tokens + (now - self._at) * self.RATE)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def error(problem: Problem, packet: bytes, source: bytes, mtu: int = 0) -> bytes | None:
    """The packet that tells the sender of `packet` what is wrong, from `source`; None where nothing may be said.

    `mtu` is the largest packet that would have fit, in octets, where that is the problem. `packet` has its IP header.
    """
    if packet[0] >> 4 == 4:
        return _error4(problem, packet, source, mtu) if _may_answer4(packet) else None
    return _error6(problem, packet, source, mtu) if _may_answer6(packet) else None


def _may_answer4(packet: bytes) -> bool:
    if int.from_bytes(packet[6:8]) & 0x1FFF or not _is_one_host4(packet[12]) or not _is_one_host4(packet[16]):
        return False
    start = (packet[0] & 0x0F) * 4
    return packet[9] != _ICMP or (len(packet) > start and packet[start] not in _ERRORS)


def _is_one_host4(first: int) -> bool:
    """Whether an address with that first octet is one host's: not 0/8, loopback, multicast or reserved."""
    return first not in (0, 127) and first < 224


def _may_answer6(packet: bytes) -> bool:
    source, destination = packet[8:24], packet[24:40]
    if source[0] == 0xFF or destination[0] == 0xFF or not any(source):
        return False
    protocol, at = _carried6(packet)
    return protocol != _ICMPV6 or (len(packet) > at and packet[at] >= 128 and packet[at] != _REDIRECT)


def _carried6(packet: bytes) -> tuple[int, int]:
    """What is behind the extension headers, and where. A later fragment has nothing there."""
    protocol, at = packet[6], 40
    while protocol in _EXTENSIONS and at + 4 <= len(packet):
        if protocol != _FRAGMENT:
            protocol, at = packet[at], at + (packet[at + 1] + 1) * 8
        elif int.from_bytes(packet[at + 2 : at + 4]) >> 3:
            return packet[at], len(packet)
        else:
            protocol, at = packet[at], at + 8
    return protocol, at


def _error4(problem: Problem, packet: bytes, source: bytes, mtu: int) -> bytes:
    kind, code = problem.value[0]
    message = bytearray(_BODY.pack(kind, code, 0, mtu) + packet[: _QUOTED[4]])
    struct.pack_into("=H", message, 2, -total(message, 0, len(message)) % 65535)
    header = bytearray(_V4.pack(0x45, 0xC0, 20 + len(message), 0, 0, _HOP_LIMIT, _ICMP, 0, source, packet[12:16]))
    struct.pack_into("=H", header, 10, -total(header, 0, 20) % 65535)
    return bytes(header + message)


def _error6(problem: Problem, packet: bytes, source: bytes, mtu: int) -> bytes:
    kind, code = problem.value[1]
    message = bytearray(_BODY.pack(kind, code, 0, mtu) + packet[: _QUOTED[6]])
    header = bytearray(_V6.pack(6 << 28, len(message), _ICMPV6, _HOP_LIMIT, source, packet[8:24]))
    pseudo = total(header, 8, 40) + turned(_ICMPV6) + turned(len(message))
    struct.pack_into("=H", message, 2, -(pseudo + total(message, 0, len(message))) % 65535)
    return bytes(header + message)
