"""ICMP (RFC 792) and ICMPv6 (RFC 4443), which have one layout, and neighbour discovery's two messages (RFC 4861)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv6Address

from nankeen.model.address import Family, HardwareAddress
from nankeen.model.packet.field import hardware_address, ipv6_address, need

_ICMP = struct.Struct("!BBHI")


class IcmpType(IntEnum):
    """Types of ICMP."""

    ECHO_REPLY = 0
    UNREACHABLE = 3
    REDIRECT = 5
    ECHO_REQUEST = 8
    TIME_EXCEEDED = 11


class Icmpv6Type(IntEnum):
    """Types of ICMPv6."""

    UNREACHABLE = 1
    PACKET_TOO_BIG = 2
    TIME_EXCEEDED = 3
    PARAMETER_PROBLEM = 4
    ECHO_REQUEST = 128
    ECHO_REPLY = 129
    ROUTER_SOLICITATION = 133
    ROUTER_ADVERTISEMENT = 134
    NEIGHBOUR_SOLICITATION = 135
    NEIGHBOUR_ADVERTISEMENT = 136
    REDIRECT = 137


FRAGMENTATION_NEEDED = 4
"""The code of ICMP's `UNREACHABLE` that tells an MTU (RFC 1191)."""


@dataclass(frozen=True, slots=True)
class Icmp:
    """The header of a message of ICMP or ICMPv6.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +---------------+---------------+-------------------------------+
    |     Type      |     Code      |          Checksum             |
    +---------------+---------------+-------------------------------+
    |            what the type makes of it (32 bits)                |
    +---------------------------------------------------------------+
    """

    family: Family
    """IPV4 for ICMP, IPV6 for ICMPv6: each counts its types for itself."""
    type: int
    """One of `IcmpType` or `Icmpv6Type`, or another."""
    code: int = 0
    rest: int = 0
    """Identifier and sequence number of an echo; the MTU (for ICMP in the lower 16 bits); an advertisement's flags."""
    checksum: int | None = None

    LENGTH = 8

    @classmethod
    def echo(cls, family: Family, identifier: int, sequence: int, *, reply: bool = False) -> Icmp:
        """An echo request, or the reply to one."""
        kinds = IcmpType if family is Family.IPV4 else Icmpv6Type
        return cls(family, kinds.ECHO_REPLY if reply else kinds.ECHO_REQUEST, 0, identifier << 16 | sequence)

    @classmethod
    def decode(cls, family: Family, data: bytes, start: int, end: int) -> tuple[Icmp, int]:
        """The header at `start`, and where what follows it begins. Raises `InputError`."""
        need(start, end, cls.LENGTH)
        kind, code, checked, rest = _ICMP.unpack_from(data, start)
        return cls(family, kind, code, rest, checked), start + cls.LENGTH

    @property
    def identifier(self) -> int:
        """Of an echo."""
        return self.rest >> 16

    @property
    def sequence(self) -> int:
        """Of an echo."""
        return self.rest & 0xFFFF

    @property
    def mtu(self) -> int | None:
        """Octets of the largest IP packet that would pass, where this tells it (RFC 1191, RFC 4443 §3.2)."""
        if self.family is Family.IPV6:
            return self.rest if self.type == Icmpv6Type.PACKET_TOO_BIG else None
        tells = self.type == IcmpType.UNREACHABLE and self.code == FRAGMENTATION_NEEDED
        return self.rest & 0xFFFF if tells else None

    @property
    def is_echo(self) -> bool:
        kinds = IcmpType if self.family is Family.IPV4 else Icmpv6Type
        return self.type in (kinds.ECHO_REQUEST, kinds.ECHO_REPLY)

    @property
    def is_error(self) -> bool:
        """Whether it quotes the packet that it is about (RFC 792; RFC 4443 §2.1)."""
        return self.type < 128 if self.family is Family.IPV6 else self.type in (3, 4, 5, 11, 12)

    @property
    def is_neighbour_message(self) -> bool:
        """Whether a `NeighbourMessage` follows."""
        kinds = (Icmpv6Type.NEIGHBOUR_SOLICITATION, Icmpv6Type.NEIGHBOUR_ADVERTISEMENT)
        return self.family is Family.IPV6 and self.type in kinds

    def encode(self) -> bytes:
        """The header, with a checksum of 0 where it has none yet: it covers what follows, too."""
        return _ICMP.pack(self.type, self.code, self.checksum or 0, self.rest)


@dataclass(frozen=True, slots=True)
class NeighbourMessage:
    """What a neighbour solicitation or advertisement says after ICMPv6's header (RFC 4861 §4.3, §4.4).

    +---------------------------------------------------------------+
    |                       Target Address (16 octets)              |
    +---------------+---------------+-------------------------------+
    | Option: 1, 2  |  Length: 1    |  link-layer address (6)       |
    +---------------+---------------+-------------------------------+
    """

    target: IPv6Address
    link_layer: HardwareAddress | None = None
    """Of the sender in a solicitation (option 1), of the target in an advertisement (option 2)."""

    LENGTH = 16

    @classmethod
    def decode(cls, data: bytes, start: int, end: int) -> tuple[NeighbourMessage, int]:
        """The message at `start`, and where it ends. Raises `InputError`. Only the first option is read."""
        need(start, end, cls.LENGTH)
        options = start + cls.LENGTH
        target = ipv6_address(data[start:options])
        if end - options >= 8 and data[options] in (1, 2) and data[options + 1] == 1:
            return cls(target, hardware_address(data[options + 2 : options + 8])), options + 8
        return cls(target), options

    def encode(self, kind: int) -> bytes:
        """In an ICMPv6 message of that type."""
        if self.link_layer is None:
            return self.target.packed
        option = 1 if kind == Icmpv6Type.NEIGHBOUR_SOLICITATION else 2
        return self.target.packed + bytes([option, 1]) + self.link_layer.octets
