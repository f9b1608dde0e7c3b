"""Segmenting: a packet that the kernel has left whole becomes a train of datagrams, as its own GSO would make them."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nankeen.model.errors import InputError
from nankeen.tunnel.checksum import total, turned
from nankeen.tunnel.layout import (
    ARENA,
    FIN,
    IPV4_HEADER,
    IPV6_HEADER,
    LONGEST_HEADER,
    PSH,
    SHORTEST_TCP_HEADER,
    TCP,
    UDP,
    UDP_HEADER,
    Rows,
    RowsCache,
    Shape,
)
from nankeen.tunnel.offload import LARGEST_PACKET, GsoType

_U16 = struct.Struct("!H")
_PROTOCOLS = {GsoType.TCPV4: (4, TCP), GsoType.TCPV6: (6, TCP)}
_NETWORK_WORD = np.dtype(">u4")
_MULTIPLE = 65535 << 16
"""Of 65,535, and more than the sum of any segment."""
_FOLD = np.uint32(65535)


_PLANS = 64
"""Ways to segment that are remembered."""


class Train(NamedTuple):
    """Segments that follow each other in memory."""

    octets: memoryview
    stride: int
    """Octets of each but the last, which may be shorter."""
    segments: int


class Segmenter:
    """Has the memory for one packet, and for one train: the next takes its place."""

    def __init__(self) -> None:
        self.packet = bytearray(LARGEST_PACKET + 1)
        """Where the packet is put."""
        self._memory = bytearray(ARENA)
        self._octets = memoryview(self._memory)
        self._source = memoryview(self.packet)
        self._cache = RowsCache(self._memory)
        self._plans: dict[tuple[int, ...], _Plan] = {}

    def segment(self, length: int, gso_type: int, gso_size: int, start: int) -> Train:
        """The segments of the packet, with `gso_size` octets of payload each. Its TCP or UDP header is at `start`.

        Their TTL is less by one. The packet's own header is changed. Raises `InputError` where it is no such packet.
        """
        packet = self.packet
        key = (packet[0] >> 4, packet[start + 12 & 0xFF] >> 4, gso_type, gso_size, start)
        plan = self._plans.get(key) or self._learn(key)
        rows = plan.rows
        header, stride = rows.header, rows.stride
        full, rest = divmod(length - header, gso_size)
        count = full + 1 if rest else full
        if not header < length <= LARGEST_PACKET or count > len(rows.steps):
            raise InputError(f"{length} octets are not to be segmented so")
        flags = plan.begin(packet, length)
        np.add(rows.steps[:count], plan.template, out=rows.words[:count], casting="unsafe")
        if rows.is_v4:
            _repair(rows, packet, count)
        rows.payload[:full] = plan.payload[:full]
        last = full * stride if rest else (full - 1) * stride
        if rest:
            at = last + header
            self._octets[at : at + rest] = self._source[length - rest : length]
            self._octets[at + rest : at + gso_size] = bytes(gso_size - rest)
        final = plan.finish(packet, count)
        if rest or flags & (FIN | PSH):
            _be_last(rows, last, final, header + rest if rest else stride, flags)
        return Train(self._octets[: length + (count - 1) * header], stride, count)

    def _learn(self, key: tuple[int, ...]) -> _Plan:
        """What is the same for all packets that are segmented alike. Raises `InputError`."""
        if len(self._plans) >= _PLANS:
            self._plans.clear()
        version, _, gso_type, gso_size, start = key
        shape = _shape(version, self.packet, gso_type, gso_size, start)
        plan = self._plans[key] = _Plan(self._cache.of(shape), self.packet)
        return plan


class _Plan:
    """How packets of one kind are segmented."""

    def __init__(self, rows: Rows, packet: bytearray) -> None:
        self.rows = rows
        self.template: NDArray[np.uint32] = np.ndarray((rows.header // 4,), _NETWORK_WORD, packet, 0)
        """The packet's header, in 32-bit words."""
        full = (LARGEST_PACKET - rows.header) // rows.size
        self.payload: NDArray[np.uint8] = np.ndarray((full, rows.size), np.uint8, packet, rows.header)
        """Its payload, as the rows will have it."""
        self._is_plain = rows.shape.is_plain

    def begin(self, packet: bytearray, length: int) -> int:
        """Makes the packet's header that of a first, full segment, without the transport's checksum.

        Returns TCP's flags as they were.
        """
        rows = self.rows
        start, stride, checksum = rows.start, rows.stride, rows.checksum
        if rows.is_v4:
            packet[8] -= 1
            packet[2], packet[3] = stride >> 8, stride & 0xFF
            now = ((packet[10] << 8 | packet[11]) + length - stride + 0x100) % 65535  # RFC 1624
            packet[10], packet[11] = now >> 8, now & 0xFF
        else:
            packet[7] -= 1
            _U16.pack_into(packet, 4, stride - IPV6_HEADER)
        packet[checksum] = packet[checksum + 1] = 0
        if rows.is_tcp:
            flags = packet[start + 13]
            packet[start + 13] = flags & ~(FIN | PSH)
            return flags
        _U16.pack_into(packet, start + 4, stride - start)
        return 0

    def finish(self, packet: bytearray, count: int) -> int:
        """Writes the transport's checksums; returns the last one before it was folded."""
        rows = self.rows
        known = rows.pseudo
        if not self._is_plain:
            known += total(packet, 12, 20) if rows.is_v4 else total(packet, 8, 40)
        sums = rows.sums(count)
        np.subtract(np.uint32(_MULTIPLE - known % 65535), sums, out=sums)
        if rows.is_tcp:
            np.remainder(sums, _FOLD, out=rows.checksums[:count], casting="unsafe")
        else:
            rows.checksums[:count] = (sums - 1) % _FOLD + 1  # zero would mean that there is none (RFC 768)
        return int(sums[-1])


def _shape(version: int, packet: bytearray, gso_type: int, gso_size: int, start: int) -> Shape:
    least = IPV4_HEADER if version == 4 else IPV6_HEADER
    if not (least <= start <= LONGEST_HEADER and start % 4 == 0 and gso_size):
        raise InputError("a packet to be segmented with lengths that cannot be")
    if gso_type == GsoType.UDP_L4:
        protocol, header = UDP, start + UDP_HEADER
    else:
        expected, protocol = _PROTOCOLS.get(gso_type, (0, 0))  # type: ignore[call-overload]
        header = start + (packet[start + 12] >> 4 << 2)
        if version != expected or header < start + SHORTEST_TCP_HEADER:
            raise InputError("not the kind of packet that is to be segmented")
    if header + gso_size > LARGEST_PACKET:
        raise InputError("a packet to be segmented with lengths that cannot be")
    return Shape(version, protocol, start, header, header + gso_size)


def _repair(rows: Rows, packet: bytearray, count: int) -> None:
    """Puts IPv4's words right where they do not go on by constants: where the identification comes to 65,536, which is
    no more than 65,535 to a checksum, and where the checksum passes zero, and so takes from the octets before it.
    """
    first, checksum = packet[4] << 8 | packet[5], packet[10] << 8 | packet[11]
    if checksum < count or first + count > 65536:
        identifications = np.arange(first, first + count, dtype=np.int64) % 65536
        rows.words[:count, 2] = (int.from_bytes(packet[8:10]) << 16) + (checksum + first - identifications) % 65535


def _be_last(rows: Rows, at: int, complement: int, length: int, flags: int) -> None:
    """Makes the segment there the last: with its own length, and the flags that stand for the end."""
    memory, start = rows.memory, rows.start
    shorter = rows.stride - length
    complement += turned(shorter)
    if rows.is_v4:
        checksum = (memory[at + 10] << 8 | memory[at + 11]) + shorter
        _U16.pack_into(memory, at + 2, length)
        _U16.pack_into(memory, at + 10, checksum % 65535)
    else:
        _U16.pack_into(memory, at + 4, length - IPV6_HEADER)
    if rows.is_tcp:
        memory[at + start + 13] = flags
        found = (complement - turned(flags & (FIN | PSH))) % 65535
    else:
        _U16.pack_into(memory, at + start + 4, length - start)
        found = (complement + turned(shorter) - 1) % 65535 + 1
    _U16.pack_into(memory, at + rows.checksum, turned(found))
