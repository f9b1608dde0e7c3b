"""The ring of a packet socket: blocks of captured frames that the kernel fills and hands over (TPACKET_V3).

A block is the kernel's until its status says TP_STATUS_USER, ours until we set it back. The kernel hands it over when
it is full, or `RETIRE` after its first frame. Frames for which no block is free are dropped, and counted.
(linux/if_packet.h; Documentation/networking/packet_mmap.rst)
"""

from __future__ import annotations

import mmap
import socket
import struct
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

SOL_PACKET = 263
_PACKET_RX_RING = 5
_PACKET_STATISTICS = 6
_PACKET_VERSION = 10
_TPACKET_V3 = 2

RETIRE = 0.01
"""Seconds after which a block that is not full is handed over: frames come so much later than they were captured."""
BLOCK = 1 << 18
"""Octets of a block, larger than any frame."""

_REQUEST = struct.Struct("=7I")
_STATUS = struct.Struct("=I")
_BLOCK_HEADER = struct.Struct("=8xIII")
_FRAME_HEADER = struct.Struct("=6IH6xIH20xB")
"""struct tpacket3_hdr and the packet type of struct sockaddr_ll behind it."""
_STATISTICS = struct.Struct("=III")

_KERNEL, _USER = 0, 1
_VLAN_VALID, _VLAN_TPID_VALID = 1 << 4, 1 << 6
_VLAN_AT = 12
_OUTGOING = 4


class Direction(Enum):
    """Which way a frame passed its device."""

    IN = "in"
    OUT = "out"


_IN, _OUT = Direction.IN, Direction.OUT


class Frame(NamedTuple):
    """A captured frame. A tuple, because they come by the ten thousand a second."""

    time: int
    """Nanoseconds since 1970, when the kernel met it."""
    device: str
    direction: Direction
    data: bytes
    """From the link layer's header on; a VLAN tag that the device took off is where it was."""
    length: int
    """Octets of the whole frame, of which `data` may be the beginning."""


class Ring:
    """The ring of one socket, which must be bound to no protocol yet."""

    def __init__(self, sock: socket.socket, device: str, size: int) -> None:
        """Of about `size` octets. Raises `OSError`."""
        blocks = max(size // BLOCK, 2)
        sock.setsockopt(SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
        request = _REQUEST.pack(BLOCK, blocks, BLOCK, blocks, int(RETIRE * 1000), 0, 0)
        sock.setsockopt(SOL_PACKET, _PACKET_RX_RING, request)
        self._socket, self._device = sock, device
        self._map = mmap.mmap(sock.fileno(), BLOCK * blocks)
        self._blocks = blocks
        self._next = 0
        self._dropped = 0

    def read(self) -> list[Frame]:
        """The frames of all blocks that were handed over; these go back to the kernel."""
        found: list[Frame] = []
        for _ in range(self._blocks):
            at = self._next * BLOCK
            status, count, first = _BLOCK_HEADER.unpack_from(self._map, at)
            if not status & _USER:
                break
            found += self._frames(at + first, count)
            _STATUS.pack_into(self._map, at + 8, _KERNEL)
            self._next = (self._next + 1) % self._blocks
        return found

    @property
    def dropped(self) -> int:
        """Frames that found no room, from the beginning on."""
        raw = self._socket.getsockopt(SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
        self._dropped += _STATISTICS.unpack(raw)[1]  # the kernel counts from the last question on
        return self._dropped

    def close(self) -> None:
        self._map.close()

    def _frames(self, at: int, count: int) -> Iterator[Frame]:
        ring, device = self._map, self._device
        unpack, make = _FRAME_HEADER.unpack_from, tuple.__new__  # half the time of Frame's own
        for _ in range(count):
            following, seconds, nanoseconds, snap, length, status, mac, tag, tag_type, kind = unpack(ring, at)
            data = ring[at + mac : at + mac + snap]
            if status & _VLAN_VALID:
                data, length = _with_tag(data, tag, tag_type if status & _VLAN_TPID_VALID else 0x8100), length + 4
            direction = _OUT if kind == _OUTGOING else _IN
            yield make(Frame, (seconds * 1_000_000_000 + nanoseconds, device, direction, data, length))
            at += following


def _with_tag(data: bytes, tag: int, kind: int) -> bytes:
    """The frame with the VLAN tag that the device, or the kernel, took off (IEEE 802.1Q §9)."""
    return data[:_VLAN_AT] + kind.to_bytes(2, "big") + tag.to_bytes(2, "big") + data[_VLAN_AT:]
