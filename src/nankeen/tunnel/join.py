"""Joining: a train of datagrams that are one flow without a gap becomes one packet, which the kernel takes as if it had
received it so. Only what segmenting would make of that packet again, to the last bit, is joined.
"""

from __future__ import annotations

import struct
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
    UDP,
    Rows,
    RowsCache,
    Shape,
    shape_of,
)
from nankeen.tunnel.offload import HEADER, LARGEST_PACKET, MOST_BUFFERS, NEEDS_CSUM, GsoType

_U16 = struct.Struct("!H")
_LEAST = IPV6_HEADER + SHORTEST_TCP_HEADER
_ALL = 0xFFFF_FFFF
_ENDS = np.uint8(FIN | PSH)
"""What the last segment of a packet may have, and no other."""
_FOLD = np.uint32(65535)

Piece = tuple[int, int]
"""The first segment of a packet and how many segments it has."""


class Joiner:
    """Works on one memory, which a train is received in from its beginning on."""

    def __init__(self, memory: bytearray, *, udp: bool) -> None:
        """`udp` says whether the kernel takes UDP that is still to be segmented."""
        self._memory = memory
        self._octets = memoryview(memory)
        self._udp = udp
        self._cache = RowsCache(memory)
        self._rows: Rows | None = None

    def pieces(self, length: int, stride: int) -> list[Piece]:
        """The packets that a train of that many octets becomes, in order: each segment is in one of them. All segments
        but the last have `stride` octets. A train may have more than fits one packet.
        """
        count = -(-length // stride)
        rows = self._rows_of(stride) if count > 1 and stride >= _LEAST else None
        if rows is None:
            return [(row, 1) for row in range(count)]
        last = length - (count - 1) * stride
        if last < stride:
            self._memory[length : count * stride] = bytes(stride - last)
        words = rows.words[:count] & rows.compared
        _complete(words[-1], rows, (count - 1) * stride, last)
        steps = words[1:] - words[:-1]
        sums = rows.sums(count)
        if last < stride:
            sums[-1] += 65535 - turned(stride - last)
        sums %= _FOLD
        checksums = rows.checksums[:count].tobytes()
        ends = rows.flags[:count] & _ENDS if rows.is_tcp else np.zeros(count, np.uint8)
        if rows.is_one_flow(steps, sums) and rows.never not in checksums and not any(ends[:-1].tobytes()):
            return self._cut((0, count), rows, length)
        good = (sums == rows.folded) & (np.frombuffer(checksums, np.uint16) != int.from_bytes(rows.never))
        joint = (steps == rows.step).all(axis=1) & good[1:] & good[:-1] & (ends[:-1] == 0)
        return [piece for run in _runs(joint.tolist()) for piece in self._cut(run, rows, length)]

    def packet(self, piece: Piece, length: int) -> list[bytes | memoryview]:
        """The packet of a piece of the last train that has more than one segment, in pieces of memory: its header, with
        what the kernel is told of it before it, and the payloads.
        """
        rows = self._rows
        if rows is None:
            raise ValueError("there was no train")
        (first, count), header = piece, rows.header
        start, last = first * rows.stride, (first + count - 1) * rows.stride
        payloads = rows.payloads(first, count)
        if length - last < rows.stride:
            payloads[-1] = self._octets[last + header : length]
        octets = (count - 1) * rows.size + len(payloads[-1])
        beginning = self._memory[start : start + header]
        _be_whole(beginning, rows, header + octets, self._memory[last + rows.start + 13])
        told = HEADER.pack(NEEDS_CSUM, _gso(rows), header, rows.size, rows.start, rows.checksum - rows.start)
        return [told + beginning, *payloads]

    def _rows_of(self, stride: int) -> Rows | None:
        """The rows of the train that has come; None where it cannot be joined."""
        shape = shape_of(self._memory, stride)
        if shape is None or (shape.protocol == UDP and not self._udp):
            return None
        if self._rows is None or self._rows.shape != shape:
            self._rows = self._cache.of(shape)
        return self._rows

    def _cut(self, run: Piece, rows: Rows, length: int) -> list[Piece]:
        """The packets that a run of segments makes, none of which is too large."""
        first, count = run
        if count == 1 or not self._can_begin(first * rows.stride, count, rows.shape):
            return [(row, 1) for row in range(first, first + count)]
        octets = min(length, (first + count) * rows.stride) - first * rows.stride
        if octets - (count - 1) * rows.header <= LARGEST_PACKET and count < MOST_BUFFERS:
            return [run]
        end, most = first + count, min((LARGEST_PACKET - rows.header) // rows.size, MOST_BUFFERS - 1)
        return [(at, min(most, end - at)) for at in range(first, end, most)]

    def _can_begin(self, at: int, count: int, shape: Shape) -> bool:
        """Whether the segment there is whole and plain: the others of its run are as it is. What IPv4's header counts
        must not overflow in as many.
        """
        memory = self._memory
        if at and shape_of(self._octets[at : at + shape.stride], shape.stride) != shape:
            return False
        if shape.version == 4:
            length, checksum = memory[at + 2] << 8 | memory[at + 3], memory[at + 10] << 8 | memory[at + 11]
            identification = memory[at + 4] << 8 | memory[at + 5]
            if checksum == 0xFFFF or checksum < count or identification + count > 65536:
                return False
            if total(memory, at, at + shape.start) % 65535:
                return False
        else:
            length = (memory[at + 4] << 8 | memory[at + 5]) + IPV6_HEADER
        if length != shape.stride:
            return False
        start = at + shape.start
        if shape.protocol == UDP:
            return memory[start + 4] << 8 | memory[start + 5] == shape.stride - shape.start
        return memory[start + 13] == ACK and not memory[start + 12] & 0x0F


def _complete(words: NDArray[np.uint32], rows: Rows, at: int, length: int) -> None:
    """Makes the words of the last segment those of a full one in the middle, where its lengths are its own; where they
    are not, words that go on from nothing.
    """
    memory, shorter = rows.memory, rows.stride - length
    if rows.is_v4:
        stated, checksum = memory[at + 2] << 8 | memory[at + 3], memory[at + 10] << 8 | memory[at + 11]
    else:
        stated, checksum = (memory[at + 4] << 8 | memory[at + 5]) + IPV6_HEADER, 0
    if stated != length or length <= rows.header or checksum == 0xFFFF:
        words[0] = 0
        return
    if shorter and rows.is_v4:
        words[0] = int(words[0]) + shorter & _ALL
        words[2] = int(words[2]) - checksum + (checksum - shorter) % 65535
    elif shorter:
        words[1] = int(words[1]) + (shorter << 16) & _ALL
    if shorter and not rows.is_tcp:
        word = rows.start // 4 + 1
        words[word] = int(words[word]) + (shorter << 16) & _ALL


def _runs(joint: list[bool]) -> list[Piece]:
    """Runs of segments, each of which goes on from the one before."""
    edges = [0, *(row + 1 for row, goes_on in enumerate(joint) if not goes_on), len(joint) + 1]
    return [(first, end - first) for first, end in pairwise(edges)]


def _be_whole(header: bytearray, rows: Rows, length: int, end: int) -> None:
    """Makes the header of a first segment that of the packet: of that length, with the flags of its end."""
    start = rows.start
    if rows.is_v4:
        checksum = ((header[10] << 8 | header[11]) + rows.stride - length) % 65535
        _U16.pack_into(header, 2, length)
        _U16.pack_into(header, 10, checksum)
        pseudo = total(header, 12, 20)
    else:
        _U16.pack_into(header, 4, length - IPV6_HEADER)
        pseudo = total(header, 8, 40)
    if rows.is_tcp:
        header[start + 13] = end
    else:
        _U16.pack_into(header, start + 4, length - start)
    pseudo += turned(rows.shape.protocol) + turned(length - start)
    _U16.pack_into(header, rows.checksum, turned((pseudo - 1) % 65535 + 1))


def _gso(rows: Rows) -> GsoType:
    if not rows.is_tcp:
        return GsoType.UDP_L4
    return GsoType.TCPV4 if rows.is_v4 else GsoType.TCPV6
