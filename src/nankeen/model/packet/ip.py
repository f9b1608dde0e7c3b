"""Layer 3: IPv4 (RFC 791), IPv6 (RFC 8200) and its extension headers.

What both versions have goes by one name: `source`, `destination`, `protocol` (IPv6: Next Header), `ttl` (Hop Limit).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

from nankeen.model.errors import InputError
from nankeen.model.packet.field import checksum, ipv4_address, ipv6_address, need

EXTENSIONS = 4
"""Extension headers of one IPv6 packet that are read; what follows more of them is taken for payload."""

_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_EXTENSION = struct.Struct("!BB")
_FRAGMENT = struct.Struct("!BxHI")
_DONT_FRAGMENT, _MORE_FRAGMENTS, _OFFSET = 0x4000, 0x2000, 0x1FFF
_IPV6_MORE_FRAGMENTS = 1


class Protocol(IntEnum):
    """What an IP packet carries (IANA, Assigned Internet Protocol Numbers), as far as nankeen looks into it."""

    HOP_BY_HOP = 0
    ICMP = 1
    IPV4 = 4
    TCP = 6
    UDP = 17
    IPV6 = 41
    ROUTING = 43
    FRAGMENT = 44
    ICMPV6 = 58
    DESTINATION_OPTIONS = 60
    SCTP = 132


@dataclass(frozen=True, slots=True)
class IPv4:
    """An IPv4 header (RFC 791 §3.1).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------+-------+---------------+-------------------------------+
    |Version|  IHL  |Type of Service|          Total Length         |
    +-------+-------+---------------+-----+-------------------------+
    |         Identification        |Flags|      Fragment Offset    |
    +---------------+---------------+-----+-------------------------+
    |  Time to Live |    Protocol   |         Header Checksum       |
    +---------------+---------------+-------------------------------+
    |                       Source Address                          |
    +---------------------------------------------------------------+
    |                    Destination Address                        |
    +---------------------------------------------------------------+
    |                    Options                                    |
    +---------------------------------------------------------------+
    """

    source: IPv4Address
    destination: IPv4Address
    protocol: int
    ttl: int = 64
    dont_fragment: bool = False
    more_fragments: bool = False
    fragment_offset: int = 0
    """In units of 8 octets."""
    identification: int = 0
    traffic_class: int = 0
    """The type of service: DSCP and ECN (RFC 2474, RFC 3168)."""
    options: bytes = b""
    """Padded to 4 octets."""
    total_length: int | None = None
    """Octets, header included. 0 in a captured packet that is yet to be segmented, and larger than 64 KiB."""
    checksum: int | None = None

    LENGTH = 20

    @classmethod
    def decode(cls, data: bytes, start: int, end: int) -> tuple[IPv4, int]:
        """The header at `start`, and where what follows it begins. Raises `InputError`."""
        need(start, end, cls.LENGTH)
        first, tos, total, identification, fragment, ttl, protocol, checked, source, destination = _IPV4.unpack_from(
            data, start
        )
        length = (first & 0x0F) * 4
        if first >> 4 != 4:
            raise InputError(f"version {first >> 4} instead of 4")
        if length < cls.LENGTH:
            raise InputError(f"its header says that it has {length} bytes, fewer than {cls.LENGTH}")
        need(start, end, length)
        if 0 < total < length:
            raise InputError(f"its total length of {total} bytes is less than its header's {length}")
        found = cls(
            ipv4_address(source),
            ipv4_address(destination),
            protocol,
            ttl,
            fragment & _DONT_FRAGMENT != 0,
            fragment & _MORE_FRAGMENTS != 0,
            fragment & _OFFSET,
            identification,
            tos,
            data[start + cls.LENGTH : start + length],
            total,
            checked,
        )
        return found, start + length

    @property
    def is_later_fragment(self) -> bool:
        """Whether what follows is not the beginning of what the packet carries."""
        return self.fragment_offset != 0

    def encode(self, payload_length: int) -> bytes:
        """The header before so many octets."""
        length = self.LENGTH + len(self.options)
        total = length + payload_length if self.total_length is None else self.total_length
        flags = self.dont_fragment * _DONT_FRAGMENT | self.more_fragments * _MORE_FRAGMENTS
        before = _IPV4.pack(
            4 << 4 | length // 4,
            self.traffic_class,
            total,
            self.identification,
            flags | self.fragment_offset,
            self.ttl,
            self.protocol,
            self.checksum or 0,
            self.source.packed,
            self.destination.packed,
        )
        header = before + self.options
        if self.checksum is None:
            header = header[:10] + checksum(header).to_bytes(2, "big") + header[12:]
        return header

    def pseudo_header(self, protocol: int, length: int) -> bytes:
        """What the checksums of TCP and UDP cover beside themselves (RFC 9293 §3.1)."""
        return self.source.packed + self.destination.packed + struct.pack("!xBH", protocol, length & 0xFFFF)


@dataclass(frozen=True, slots=True)
class IPv6:
    """An IPv6 header (RFC 8200 §3).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------+---------------+---------------------------------------+
    |Version| Traffic Class |           Flow Label                  |
    +-------+---------------+-------+---------------+---------------+
    |         Payload Length        |  Next Header  |   Hop Limit   |
    +-------------------------------+---------------+---------------+
    |           Source Address, Destination Address (16 octets each)|
    +---------------------------------------------------------------+
    """

    source: IPv6Address
    destination: IPv6Address
    protocol: int
    ttl: int = 64
    traffic_class: int = 0
    flow_label: int = 0
    payload_length: int | None = None
    """Octets after this header. 0 in a captured packet that is yet to be segmented, and larger than 64 KiB."""

    LENGTH = 40

    @classmethod
    def decode(cls, data: bytes, start: int, end: int) -> tuple[IPv6, int]:
        """The header at `start`, and where what follows it begins. Raises `InputError`."""
        need(start, end, cls.LENGTH)
        first, length, protocol, ttl, source, destination = _IPV6.unpack_from(data, start)
        if first >> 28 != 6:
            raise InputError(f"version {first >> 28} instead of 6")
        found = cls(
            ipv6_address(source),
            ipv6_address(destination),
            protocol,
            ttl,
            first >> 20 & 0xFF,
            first & 0xFFFFF,
            length,
        )
        return found, start + cls.LENGTH

    @property
    def is_later_fragment(self) -> bool:
        """Never by this header: a fragment has an extension header."""
        return False

    def encode(self, payload_length: int) -> bytes:
        """The header before so many octets, extension headers included."""
        length = payload_length if self.payload_length is None else self.payload_length
        first = 6 << 28 | self.traffic_class << 20 | self.flow_label
        return _IPV6.pack(first, length, self.protocol, self.ttl, self.source.packed, self.destination.packed)

    def pseudo_header(self, protocol: int, length: int) -> bytes:
        """What the checksums of TCP, UDP and ICMPv6 cover beside themselves (RFC 8200 §8.1)."""
        return self.source.packed + self.destination.packed + struct.pack("!I3xB", length, protocol)


@dataclass(frozen=True, slots=True)
class Extension:
    """An extension header that is stepped over: hop-by-hop options, routing, destination options (RFC 8200 §4).

    +---------------+---------------+-------------------------------+
    |  Next Header  | Hdr Ext Len   |  data, in all (len + 1) * 8   |
    +---------------+---------------+-------------------------------+
    """

    kind: Protocol
    protocol: int
    data: bytes
    """What follows the two octets: 6, 14, 22, … octets."""

    @classmethod
    def decode(cls, kind: Protocol, data: bytes, start: int, end: int) -> tuple[Extension, int]:
        """The header of that kind at `start`, and where what follows it begins. Raises `InputError`."""
        need(start, end, 8)
        protocol, units = _EXTENSION.unpack_from(data, start)
        following = start + (units + 1) * 8
        need(start, end, following - start)
        return cls(kind, protocol, data[start + 2 : following]), following

    def encode(self) -> bytes:
        return _EXTENSION.pack(self.protocol, (len(self.data) + 2) // 8 - 1) + self.data


@dataclass(frozen=True, slots=True)
class Fragment:
    """The fragment header of IPv6 (RFC 8200 §4.5).

    +---------------+---------------+-------------------------+---+-+
    |  Next Header  |   Reserved    |      Fragment Offset    |Res|M|
    +---------------+---------------+-------------------------+---+-+
    |                         Identification                        |
    +---------------------------------------------------------------+
    """

    protocol: int
    fragment_offset: int
    """In units of 8 octets."""
    more_fragments: bool
    identification: int

    LENGTH = 8

    @classmethod
    def decode(cls, data: bytes, start: int, end: int) -> tuple[Fragment, int]:
        """The header at `start`, and where what follows it begins. Raises `InputError`."""
        need(start, end, cls.LENGTH)
        protocol, offset, identification = _FRAGMENT.unpack_from(data, start)
        return cls(protocol, offset >> 3, bool(offset & _IPV6_MORE_FRAGMENTS), identification), start + cls.LENGTH

    @property
    def is_later_fragment(self) -> bool:
        """Whether what follows is not the beginning of what the packet carries."""
        return self.fragment_offset != 0

    def encode(self) -> bytes:
        return _FRAGMENT.pack(self.protocol, self.fragment_offset << 3 | self.more_fragments, self.identification)
