"""SCTP (RFC 9260): the common header, and the chunk that opens an association."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from nankeen.model.packet.field import need

INIT_LENGTH = 20
"""Octets of the chunk INIT, without parameters."""

_SCTP = struct.Struct("!HHI4s")
_INIT = struct.Struct("!BBHIIHHI")
_PADDING = struct.Struct("!HH")
_INIT_TYPE, _PADDING_TYPE = 1, 0x8005
_WINDOW, _STREAMS = 0xFFFF, 1
_POLYNOMIAL = 0x82F63B78
"""Castagnoli's, the bits in reverse order (RFC 9260, Appendix A)."""


@dataclass(frozen=True, slots=True)
class Sctp:
    """The common header (RFC 9260 §3.1); chunks follow.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------------------------------+-------------------------------+
    |      Source Port Number       |    Destination Port Number    |
    +-------------------------------+-------------------------------+
    |                       Verification Tag                        |
    +---------------------------------------------------------------+
    |                           Checksum                            |
    +---------------------------------------------------------------+
    """

    source: int
    destination: int
    verification: int = 0
    """The tag that the receiver named in its INIT; 0 in an INIT."""
    checksum: int | None = None

    LENGTH = 12

    @classmethod
    def decode(cls, data: bytes, start: int, end: int) -> tuple[Sctp, int]:
        """The header at `start`, and where what follows it begins. Raises `InputError`."""
        need(start, end, cls.LENGTH)
        source, destination, verification, checked = _SCTP.unpack_from(data, start)
        return cls(source, destination, verification, int.from_bytes(checked, "little")), start + cls.LENGTH

    def encode(self, data: bytes) -> bytes:
        """The header before that data, which its checksum covers."""
        found = self.checksum
        if found is None:
            found = crc32c(_SCTP.pack(self.source, self.destination, self.verification, bytes(4)) + data)
        return _SCTP.pack(self.source, self.destination, self.verification, found.to_bytes(4, "little"))


def init(tag: int, padding: int = 0) -> bytes:
    """The chunk INIT (RFC 9260 §3.3.2) with that initiate tag, which is not 0, and so many octets more: a parameter of
    padding (RFC 4820), or fewer than 4 octets behind the chunk.
    """
    parameter = _PADDING.pack(_PADDING_TYPE, padding) + bytes(padding - _PADDING.size) if padding >= 4 else b""
    length = INIT_LENGTH + len(parameter)
    chunk = _INIT.pack(_INIT_TYPE, 0, length, tag, _WINDOW, _STREAMS, _STREAMS, tag) + parameter
    return chunk.ljust(INIT_LENGTH + padding, b"\0")


def crc32c(data: bytes) -> int:
    """The checksum of SCTP (RFC 9260 §6.8)."""
    register = 0xFFFF_FFFF
    for octet in data:
        register = register >> 8 ^ _TABLE[(register ^ octet) & 0xFF]
    return register ^ 0xFFFF_FFFF


def _entry(octet: int) -> int:
    for _ in range(8):
        octet = octet >> 1 ^ (_POLYNOMIAL if octet & 1 else 0)
    return octet


_TABLE = tuple(map(_entry, range(256)))
