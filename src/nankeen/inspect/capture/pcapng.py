"""Captures as Wireshark opens them: the PCAPNG format (draft-ietf-opsawg-pcapng), in this machine's byte order.

+---------------+---------------+------------------------+---------------+
|  block type   | total length  |  body, padded to 32 bits | total length |
+---------------+---------------+------------------------+---------------+
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nankeen.kernel.ring import Direction, Frame
from nankeen.model.packet import LinkType

LINK_TYPES = {LinkType.ETHERNET: 1, LinkType.IP: 101}
"""LINKTYPE_ETHERNET and LINKTYPE_RAW (the tcpdump group's list)."""

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D_0D0A, 1, 5, 6
_BYTE_ORDER = 0x1A2B_3C4D
_UNKNOWN_LENGTH = 0xFFFF_FFFF_FFFF_FFFF
_COMMENT = 1
_APPLICATION = 4
_NAME, _DESCRIPTION, _RESOLUTION, _FILTER = 2, 3, 9, 11
_FLAGS = 2
_DROPPED = 5
_NANOSECONDS = b"\x09"
_DIRECTIONS = {Direction.IN: 1, Direction.OUT: 2}
_PACKET_HEAD = struct.Struct("=7I")
_FRAME = struct.Struct("=II")
_PADDING = (b"", bytes(1), bytes(2), bytes(3))
_FLAGS_OF = {way: struct.pack("=HHIHH", _FLAGS, 4, bits, 0, 0) for way, bits in _DIRECTIONS.items()}
"""The options of a packet that only has its direction, with their end."""


@dataclass(frozen=True, slots=True)
class Interface:
    """A point, as a file names it."""

    name: str
    """As a person names it: node1:eth0."""
    link: LinkType
    description: str = ""
    filter: str = ""
    """The words of the filter."""


def head(interfaces: Sequence[Interface], comment: str = "") -> bytes:
    """What a file begins with: a section, and every interface of it, by whose numbers packets refer to them."""
    body = struct.pack("=IHHQ", _BYTE_ORDER, 1, 0, _UNKNOWN_LENGTH)
    options = [(_APPLICATION, b"nankeen"), *([(_COMMENT, comment.encode())] if comment else [])]
    return _block(_SECTION, body + _options(options)) + b"".join(map(_interface, interfaces))


def packet(interface: int, frame: Frame, comment: str = "") -> bytes:
    """A frame with its time in nanoseconds, its direction, and a comment where there is one."""
    time, _, direction, data, length = frame
    options = (_options([(_COMMENT, comment.encode())])[:-4] if comment else b"") + _FLAGS_OF[direction]
    kept = len(data)
    padding = -kept % 4
    whole = _PACKET_HEAD.size + kept + padding + len(options) + 4
    head = _PACKET_HEAD.pack(_PACKET, whole, interface, time >> 32, time & 0xFFFF_FFFF, kept, length)
    return b"".join((head, data, _PADDING[padding], options, whole.to_bytes(4, sys.byteorder)))


def statistics(interface: int, time: int, dropped: int) -> bytes:
    """How many frames found no room at an interface until then."""
    body = struct.pack("=III", interface, time >> 32, time & 0xFFFF_FFFF)
    return _block(_STATISTICS, body + _options([(_DROPPED, struct.pack("=Q", dropped))]))


def _interface(interface: Interface) -> bytes:
    options = [(_NAME, interface.name.encode()), (_RESOLUTION, _NANOSECONDS)]
    options += [(_DESCRIPTION, interface.description.encode())] if interface.description else []
    options += [(_FILTER, b"\0" + interface.filter.encode())] if interface.filter else []
    return _block(_INTERFACE, struct.pack("=HHI", LINK_TYPES[interface.link], 0, 0) + _options(options))


def _options(options: Iterable[tuple[int, bytes]]) -> bytes:
    """Each padded to 32 bits, and an end."""
    written = [struct.pack("=HH", code, len(value)) + value + bytes(-len(value) % 4) for code, value in options]
    return b"".join(written) + bytes(4)


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return b"".join((_FRAME.pack(kind, length), body, length.to_bytes(4, sys.byteorder)))
