"""Layer 4: UDP (RFC 768) and TCP (RFC 9293)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntFlag

from nankeen.model.errors import InputError
from nankeen.model.packet.field import need

_UDP = struct.Struct("!HHHH")
_TCP = struct.Struct("!HHIIHHHH")


@dataclass(frozen=True, slots=True)
class Udp:
    """A UDP header.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------------------------------+-------------------------------+
    |          Source Port          |       Destination Port        |
    +-------------------------------+-------------------------------+
    |            Length             |           Checksum            |
    +-------------------------------+-------------------------------+
    """

    source: int
    destination: int
    length: int | None = None
    """Octets, header included. 0 in a captured datagram that is yet to be segmented, and larger than 64 KiB."""
    checksum: int | None = None

    LENGTH = 8

    @classmethod
    def decode(cls, data: bytes, start: int, end: int) -> tuple[Udp, int]:
        """The header at `start`, and where what follows it begins. Raises `InputError`."""
        need(start, end, cls.LENGTH)
        source, destination, length, checked = _UDP.unpack_from(data, start)
        if 0 < length < cls.LENGTH:
            raise InputError(f"its length of {length} bytes is less than its header's {cls.LENGTH}")
        return cls(source, destination, length, checked), start + cls.LENGTH

    def encode(self, payload_length: int) -> bytes:
        """The header before so many octets, with a checksum of 0 where it has none yet: it covers what follows, too."""
        length = self.LENGTH + payload_length if self.length is None else self.length
        return _UDP.pack(self.source, self.destination, length, self.checksum or 0)


class TcpFlag(IntFlag):
    """The control bits of TCP (RFC 9293 §3.1, RFC 3168)."""

    FIN = 0x01
    SYN = 0x02
    RST = 0x04
    PSH = 0x08
    ACK = 0x10
    URG = 0x20
    ECE = 0x40
    CWR = 0x80


@dataclass(frozen=True, slots=True)
class Tcp:
    """A TCP header.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------------------------------+-------------------------------+
    |          Source Port          |       Destination Port        |
    +-------------------------------+-------------------------------+
    |                        Sequence Number                        |
    +---------------------------------------------------------------+
    |                    Acknowledgment Number                      |
    +-------+-------+---------------+-------------------------------+
    | Offset| Rsrvd | Control bits  |            Window             |
    +-------+-------+---------------+-------------------------------+
    |           Checksum            |         Urgent Pointer        |
    +-------------------------------+-------------------------------+
    |                           Options                             |
    +---------------------------------------------------------------+
    """

    source: int
    destination: int
    sequence: int = 0
    acknowledgement: int = 0
    flags: int = TcpFlag.SYN
    """Bits of `TcpFlag`."""
    window: int = 0xFFFF
    """Octets, before scaling (RFC 7323)."""
    options: bytes = b""
    """Padded to 4 octets."""
    urgent: int = 0
    checksum: int | None = None

    LENGTH = 20

    @classmethod
    def decode(cls, data: bytes, start: int, end: int) -> tuple[Tcp, int]:
        """The header at `start`, and where what follows it begins. Raises `InputError`."""
        need(start, end, cls.LENGTH)
        source, destination, sequence, acknowledged, control, window, checked, urgent = _TCP.unpack_from(data, start)
        length = (control >> 12) * 4
        if length < cls.LENGTH:
            raise InputError(f"its header says that it has {length} bytes, fewer than {cls.LENGTH}")
        need(start, end, length)
        options = data[start + cls.LENGTH : start + length]
        found = cls(source, destination, sequence, acknowledged, control & 0xFF, window, options, urgent, checked)
        return found, start + length

    def encode(self) -> bytes:
        """The header, with a checksum of 0 where it has none yet: it covers what follows, too."""
        control = (self.LENGTH + len(self.options)) // 4 << 12 | self.flags
        ports = self.source, self.destination
        numbers = self.sequence, self.acknowledgement
        return _TCP.pack(*ports, *numbers, control, self.window, self.checksum or 0, self.urgent) + self.options
