"""Trains: segments of one size that follow each other in memory, seen as rows of a matrix.

A packet that the kernel has not segmented yet, and the datagrams that it becomes, differ in their headers alone, and
those from row to row by constants: with M the octets of payload in a row,

    IPv4    identification + 1, header checksum − 1     (RFC 791)
    TCP     sequence number + M                         (RFC 9293)

the checksum over the payload apart. So headers are made, and compared, for all rows at once, as 32-bit words in which
what overflows falls out as it does on the wire.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nankeen.tunnel.checksum import Buffer, turned
from nankeen.tunnel.offload import LARGEST_PACKET

TCP, UDP = 6, 17
IPV4_HEADER, IPV6_HEADER, UDP_HEADER, SHORTEST_TCP_HEADER = 20, 40, 8, 20
FIN, PSH, ACK = 0x01, 0x08, 0x10
LONGEST_HEADER = 192
"""Octets of an IP header with more options, or extension headers, than anybody sends."""

ARENA = 1 << 18
"""Octets of memory for the segments of one packet: enough for the largest one, if each has 32 octets of payload."""
SMALLEST_PAYLOAD = 32
"""Octets of payload that segments must have to be joined."""

_NETWORK_WORD = np.dtype(">u4")
_ALL = 0xFFFF_FFFF


class Shape(NamedTuple):
    """What tells one train's form from another's."""

    version: int
    protocol: int
    start: int
    """Where the TCP or UDP header begins: octets of the IP header with all its options."""
    header: int
    """Octets before the payload: those of the IP header and of the TCP or UDP header."""
    stride: int
    """Octets from one segment to the next: header and payload."""

    @property
    def payload(self) -> int:
        """Octets of payload in each segment but the last, which may have less."""
        return self.stride - self.header

    @property
    def checksum(self) -> int:
        """Where the TCP or UDP checksum is, from the beginning of a segment."""
        return self.start + (16 if self.protocol == TCP else 6)

    @property
    def is_plain(self) -> bool:
        """Whether the IP header has no options."""
        return self.start == (IPV4_HEADER if self.version == 4 else IPV6_HEADER)

    @property
    def most(self) -> int:
        """Segments that one packet can be cut into."""
        return min(max(1, (LARGEST_PACKET - self.header) // self.payload) + 1, ARENA // self.stride)


class Rows:
    """One memory, seen as segments of one shape, the first at its beginning."""

    def __init__(self, shape: Shape, memory: bytearray) -> None:
        self.shape = shape
        self.memory = memory
        self.is_v4, self.is_tcp = shape.version == 4, shape.protocol == TCP
        self.start, self.header, self.stride, self.size = shape.start, shape.header, shape.stride, shape.payload
        """See `Shape`; `size` is its `payload`."""
        self.checksum = shape.checksum
        stride, start, count = shape.stride, shape.start, len(memory) // shape.stride
        self.words: NDArray[np.uint32] = np.ndarray((count, shape.header // 4), _NETWORK_WORD, memory, 0, (stride, 4))
        """Row by row, the header as 32-bit words in network order."""
        self.payload: NDArray[np.uint8] = np.ndarray((count, self.size), np.uint8, memory, shape.header, (stride, 1))
        self._payloads: list[memoryview] = []
        self.checksums: NDArray[np.uint16] = np.ndarray((count,), np.uint16, memory, shape.checksum, (stride,))
        """TCP's or UDP's, in this machine's order."""
        self.flags: NDArray[np.uint8] = np.ndarray(
            (count,), np.uint8, memory, start + 13 if self.is_tcp else 0, (stride,)
        )
        """TCP's; of UDP, which has none, nothing of use."""
        self.step = _step(shape)
        """What the words of a row have more than those of the one before."""
        self.steps = _steps(shape)
        """What the words of a row have more than those of the first."""
        self.compared = _compared(shape)
        """The bits of the words that follow from those of the first row: without checksums, and the flags of an end."""
        self.pseudo = turned(shape.protocol) + turned(stride - start)
        """Protocol and length of the pseudo header (RFC 9293 §3.1), in this machine's order."""
        self.folded = -self.pseudo % 65535
        """What the sum of a segment with a right checksum is, modulo 65,535, without `pseudo`."""
        self.never = b"\xff\xff" if self.is_tcp else b"\0\0"
        """The checksum that nobody writes, because another says the same (RFC 1624), or because it means none."""
        self._summed = (12 if self.is_v4 else 8) if shape.is_plain else start
        self._known, self._right_sums, self._right_steps = 0, b"", b""
        self._sum: NDArray[np.uint16] | None = None
        if stride % 2 == 0:
            words = (count, (stride - self._summed) // 2)
            self._sum = np.ndarray(words, np.uint16, memory, self._summed, (stride, 2))

    def payloads(self, first: int, count: int) -> list[memoryview]:
        """Those of some rows, as memory."""
        octets, known = memoryview(self.memory), self._payloads
        for row in range(len(known), first + count):
            known.append(octets[row * self.stride + self.header : (row + 1) * self.stride])
        return known[first : first + count]

    def sums(self, count: int) -> NDArray[np.uint32]:
        """Of the first rows: the transport's header and payload, and, where there are no options, the addresses. A last
        one that is shorter has zeros at its end.
        """
        if self._sum is not None:
            return _row_sums(self._sum[:count])
        stride, start = self.stride, self._summed
        padded = np.zeros((count, stride - start + 1), np.uint8)
        padded[:, :-1] = np.ndarray((count, stride - start), np.uint8, self.memory, start, (stride, 1))
        return _row_sums(padded.view(np.uint16))

    def is_one_flow(self, steps: NDArray[np.uint32], sums: NDArray[np.uint32]) -> bool:
        """Whether each row goes on from the one before by these steps, and no folded sum is wrong. Their octets are
        compared, which is far less work than NumPy's comparisons are for so few.
        """
        if len(sums) > self._known:
            self._known = len(sums)
            self._right_sums = np.full(self._known, self.folded, np.uint32).tobytes()
            self._right_steps = np.tile(self.step, (self._known, 1)).tobytes()
        return self._right_sums.startswith(sums.tobytes()) and self._right_steps.startswith(steps.tobytes())


class RowsCache:
    """The rows of one memory in the shapes that were in use last."""

    _MOST = 32

    def __init__(self, memory: bytearray) -> None:
        self.memory = memory
        self._rows: dict[Shape, Rows] = {}

    def of(self, shape: Shape) -> Rows:
        rows = self._rows.get(shape)
        if rows is None:
            if len(self._rows) >= self._MOST:
                del self._rows[next(iter(self._rows))]
            rows = self._rows[shape] = Rows(shape, self.memory)
        return rows


def shape_of(memory: Buffer, stride: int) -> Shape | None:
    """The shape of a train that begins with this segment, which is at least as long as an IPv6 and a TCP header; None
    where no train can begin with it.
    """
    version = memory[0] >> 4
    if version == 4 and memory[0] == 0x45 and not memory[6] & 0x3F and not memory[7]:  # no options, no fragment
        protocol, start = memory[9], IPV4_HEADER
    elif version == 6:
        protocol, start = memory[6], IPV6_HEADER
    else:
        return None
    if protocol == TCP:
        header = start + (memory[start + 12] >> 4 << 2)
        if header < start + SHORTEST_TCP_HEADER:
            return None
    elif protocol == UDP:
        header = start + UDP_HEADER
    else:
        return None
    return Shape(version, protocol, start, header, stride) if stride - header >= SMALLEST_PAYLOAD else None


def _row_sums(words: NDArray[np.uint16]) -> NDArray[np.uint32]:
    sums: NDArray[np.uint32] = np.add.reduce(words, axis=1, dtype=np.uint32)
    return sums


def _step(shape: Shape) -> NDArray[np.uint32]:
    step = np.zeros(shape.header // 4, np.uint32)
    if shape.version == 4:
        step[1] = 1 << 16
        step[2] = _ALL
    if shape.protocol == TCP:
        step[shape.start // 4 + 1] = shape.payload
    return step


@lru_cache(maxsize=32)
def _steps(shape: Shape) -> NDArray[np.uint32]:
    return np.arange(shape.most, dtype=np.uint32)[:, None] * _step(shape)


def _compared(shape: Shape) -> NDArray[np.uint32]:
    compared = np.full(shape.header // 4, _ALL, np.uint32)
    word, offset = divmod(shape.checksum, 4)
    compared[word] = 0xFFFF_0000 if offset else 0x0000_FFFF
    if shape.protocol == TCP:
        compared[shape.start // 4 + 3] -= (FIN | PSH) << 16
    return compared
