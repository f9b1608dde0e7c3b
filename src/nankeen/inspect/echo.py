"""Echo requests and replies of ICMP (RFC 792) and ICMPv6 (RFC 4443 §4), which have one layout.

0                   1                   2                   3
0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
|     Type      |     Code      |           Checksum            |
+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
|           Identifier          |        Sequence Number        |
+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
|     Data ...
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from nankeen.inspect.inet import Inet
from nankeen.model.packet.field import checksum

HEADER = struct.Struct("!BBHHH")


@dataclass(frozen=True, slots=True)
class Echo:
    """A received echo request or reply."""

    kind: int
    """The ICMP type."""
    identifier: int
    sequence: int
    data: bytes


def request(inet: Inet, identifier: int, sequence: int, data: bytes, size: int | None = None) -> bytes:
    """An echo request, padded with zeros so that its IP packet has `size` bytes. The kernel sets ICMPv6's checksum."""
    head = HEADER.pack(inet.echo_request, 0, 0, identifier, sequence)
    head = HEADER.pack(inet.echo_request, 0, checksum(head + data), identifier, sequence)
    return (head + data).ljust((size or 0) - inet.header, b"\0")


def parse(inet: Inet, packet: bytes) -> Echo | None:
    """The echo request or reply in what a raw socket received, or None where it is too short for one."""
    start = (packet[0] & 0x0F) * 4 if inet.receives_header and packet else 0
    if len(packet) < start + HEADER.size:
        return None
    kind, _code, _checksum, identifier, sequence = HEADER.unpack_from(packet, start)
    return Echo(kind, identifier, sequence, packet[start + HEADER.size :])
