"""Joining: a train of datagrams that are one flow without a gap becomes one packet, which the kernel takes as if it had
received it so. Only what segmenting would make of that packet again, to the last bit, is joined.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nankeen.tunnel.checksum import total, turned
from nankeen.tunnel.layout import (
    ACK,
    FIN,
    IPV6_HEADER,
    PSH,
    SHORTEST_TCP_HEADER,
    TCP,
    UDP,
    Rows,
    RowsCache,
    Shape,
    shape_of,
)
from nankeen.tunnel.offload import HEADER, LARGEST_PACKET, NEEDS_CSUM, GsoType

_U16 = struct.Struct("!H")
_LEAST = IPV6_HEADER + SHORTEST_TCP_HEADER
_ALL = 0xFFFF_FFFF
_ENDS = (FIN | PSH) << 16
"""In the word of a TCP header that has the flags."""

Piece = tuple[int, int]
"""The first segment of a packet and how many segments it has."""


class Joiner:
    """Works on one memory, which a train is received in from its beginning on."""

    def __init__(self, memory: bytearray, *, udp: bool) -> None:
        """`udp` says whether the kernel takes UDP that is still to be segmented."""
        self._memory = memory
        self._udp = udp
        self._cache = RowsCache(memory)
        self._rows: Rows | None = None
        self._payload = bytearray(LARGEST_PACKET)
        self._octets = memoryview(self._payload)

    def pieces(self, length: int, stride: int) -> list[Piece]:
        """The packets that a train of that many octets becomes, in order: each segment is in one of them. All segments
        but the last have `stride` octets, and one packet may be too few for all.
        """
        count = -(-length // stride)
        shape = shape_of(self._memory, stride) if count > 1 and stride >= _LEAST else None
        if shape is None or (shape.protocol == UDP and not self._udp):
            return [(row, 1) for row in range(count)]
        rows, last = self._cache.of(shape), length - (count - 1) * stride
        self._rows = rows
        if last < stride:
            self._memory[length : count * stride] = bytes(stride - last)
        words = rows.words[:count] & rows.compared
        _complete(words[-1], shape, self._memory, (count - 1) * stride, last)
        wrong = _wrong(rows, count, last)
        same = (words[1:] - words[:-1]) == rows.step
        if not wrong.any() and same.all():
            runs: list[Piece] = [(0, count)]
        else:
            good = ~wrong
            runs = _runs((same.all(axis=1) & good[1:] & good[:-1]).tolist())
        return [piece for run in runs for piece in self._cut(run, shape, count, last)]

    def packet(self, piece: Piece, length: int) -> tuple[bytes, memoryview]:
        """The packet of a piece of the last train that has more than one segment: its header, with what the kernel is
        told of it before it, and its payload. The next takes the payload's place.
        """
        first, count = piece
        rows = self._rows
        if rows is None:
            raise ValueError("there was no train")
        shape, memory = rows.shape, self._memory
        size, start, last = shape.payload, first * shape.stride, (first + count - 1) * shape.stride
        whole = (count - 1) * size
        np.frombuffer(self._payload, np.uint8, whole).reshape(count - 1, size)[:] = rows.payload[
            first : first + count - 1
        ]
        rest = min(length, last + shape.stride) - last - shape.header
        self._octets[whole : whole + rest] = memoryview(memory)[last + shape.header : last + shape.header + rest]
        header = memory[start : start + shape.header]
        octets = whole + rest
        _be_whole(header, shape, shape.header + octets, memory[last + shape.start + 13])
        told = HEADER.pack(NEEDS_CSUM, _gso(shape), shape.header, size, shape.start, shape.checksum - shape.start)
        return told + header, self._octets[:octets]

    def _cut(self, run: Piece, shape: Shape, count: int, last: int) -> Iterator[Piece]:
        """The packets that a run of segments makes, none of which is too large."""
        first, length = run
        if length == 1 or not self._can_begin(first * shape.stride, shape):
            yield from ((row, 1) for row in range(first, first + length))
            return
        most = (LARGEST_PACKET - shape.header) // shape.payload
        if first + length == count and (length - 1) * shape.payload + last <= LARGEST_PACKET:
            most = max(most, length)
        for at in range(first, first + length, most):
            yield at, min(most, first + length - at)

    def _can_begin(self, at: int, shape: Shape) -> bool:
        """Whether the segment there is whole and plain: the others of its run are as it is."""
        memory = self._memory
        if at and shape_of(memory[at : at + shape.stride], shape.stride) != shape:
            return False
        if shape.version == 4:
            (length,), checksum = _U16.unpack_from(memory, at + 2), memory[at + 10 : at + 12]
            if total(memory, at, at + shape.start) % 65535 or checksum == b"\xff\xff":
                return False
        else:
            length = _U16.unpack_from(memory, at + 4)[0] + IPV6_HEADER
        if length != shape.stride:
            return False
        if shape.protocol == UDP:
            return bool(_U16.unpack_from(memory, at + shape.start + 4)[0] == shape.stride - shape.start)
        return memory[at + shape.start + 13] == ACK and not memory[at + shape.start + 12] & 0x0F


def _complete(words: NDArray[np.uint32], shape: Shape, memory: bytearray, at: int, length: int) -> None:
    """Makes the words of the last segment those of a full one in the middle, where its lengths are its own; where they
    are not, words that go on from nothing.
    """
    shorter = shape.stride - length
    checksum = int(words[2]) & 0xFFFF
    stated = (
        _U16.unpack_from(memory, at + 2)[0] if shape.version == 4 else _U16.unpack_from(memory, at + 4)[0] + IPV6_HEADER
    )
    if stated != length or length <= shape.header or (shape.version == 4 and checksum == 0xFFFF):
        words[0] = 0
        return
    if shape.version == 4:
        words[0] = int(words[0]) + shorter & _ALL
        words[2] = int(words[2]) - checksum + (checksum - shorter) % 65535
    else:
        words[1] = int(words[1]) + (shorter << 16) & _ALL
    if shape.protocol == UDP:
        words[shape.start // 4 + 1] = int(words[shape.start // 4 + 1]) + (shorter << 16) & _ALL
    else:
        words[shape.start // 4 + 3] &= _ALL - _ENDS


def _wrong(rows: Rows, count: int, last: int) -> NDArray[np.bool_]:
    """Which of the segments have a checksum that segmenting would not write."""
    shape = rows.shape
    sums = rows.sums(count)
    sums += np.uint32(rows.pseudo)
    if last < shape.stride:
        sums[-1] += 65535 - turned(shape.stride - last)
    sums %= np.uint32(65535)
    never: NDArray[np.bool_] = rows.checksums[:count] == (0xFFFF if shape.protocol == TCP else 0)
    never |= sums != 0
    return never


def _runs(joint: list[bool]) -> list[Piece]:
    """Runs of segments, each of which goes on from the one before."""
    edges = [0, *(row + 1 for row, goes_on in enumerate(joint) if not goes_on), len(joint) + 1]
    return [(first, end - first) for first, end in pairwise(edges)]


def _be_whole(header: bytearray, shape: Shape, length: int, end: int) -> None:
    """Makes the header of a first segment that of the packet: of that length, with the flags of its end."""
    if shape.version == 4:
        _U16.pack_into(header, 2, length)
        _U16.pack_into(header, 10, 0)
        _U16.pack_into(header, 10, turned(-total(header, 0, shape.start) % 65535))
    else:
        _U16.pack_into(header, 4, length - IPV6_HEADER)
    if shape.protocol == UDP:
        _U16.pack_into(header, shape.start + 4, length - shape.start)
    else:
        header[shape.start + 13] = end
    pseudo = total(header, 12, 20) if shape.version == 4 else total(header, 8, 40)
    pseudo += turned(shape.protocol) + turned(length - shape.start)
    _U16.pack_into(header, shape.checksum, turned((pseudo - 1) % 65535 + 1))


def _gso(shape: Shape) -> GsoType:
    if shape.protocol == UDP:
        return GsoType.UDP_L4
    return GsoType.TCPV4 if shape.version == 4 else GsoType.TCPV6
