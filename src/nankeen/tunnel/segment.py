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
    PSH,
    SHORTEST_TCP_HEADER,
    SMALLEST_PAYLOAD,
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
_MULTIPLE = 65535 << 14
"""Of 65,535, and more than the sum of any segment."""


class Train(NamedTuple):
    """Segments that follow each other in memory."""

    octets: memoryview
    stride: int
    """Octets of each but the last, which may be shorter."""
    segments: int


class Segmenter:
    """Has the memory for one train: the next takes its place."""

    def __init__(self) -> None:
        self._memory = bytearray(ARENA)
        self._octets = memoryview(self._memory)
        self._cache = RowsCache(self._memory)

    def segment(self, packet: bytearray, length: int, gso_type: int, gso_size: int, start: int) -> Train:
        """The segments of the packet, with `gso_size` octets of payload each. Its TCP or UDP header is at `start`.

        The packet's own header is changed. Raises `InputError` where the packet is not what it is said to be.
        """
        shape = _shape(packet, length, gso_type, gso_size, start)
        rows, payload = self._cache.of(shape), length - shape.header
        full, rest = divmod(payload, gso_size)
        count = full + 1 if rest else full
        if count * shape.stride > ARENA or count > len(rows.steps):
            raise InputError(f"{count} segments of {shape.stride} octets are too many")
        flags = packet[start + 13] if shape.protocol == TCP else 0
        _be_first(packet, shape)
        template = np.frombuffer(packet, _NETWORK_WORD, shape.header // 4)
        np.add(rows.steps[:count], template, out=rows.words[:count], casting="unsafe")
        if shape.version == 4:
            _repair(rows, packet, count)
        whole = full * gso_size
        rows.payload[:full] = np.frombuffer(packet, np.uint8, whole, shape.header).reshape(full, gso_size)
        last = (count - 1) * shape.stride
        if rest:
            at = last + shape.header
            self._octets[at : at + rest] = memoryview(packet)[shape.header + whole : length]
            self._octets[at + rest : at + gso_size] = bytes(gso_size - rest)
        sums = _finish(rows, packet, count)
        if rest or flags & (FIN | PSH):
            _be_last(rows, last, int(sums[-1]), shape.header + rest if rest else shape.stride, flags)
        return Train(self._octets[: payload + count * shape.header], shape.stride, count)


def _shape(packet: bytearray, length: int, gso_type: int, gso_size: int, start: int) -> Shape:
    version = packet[0] >> 4
    if gso_type == GsoType.UDP_L4:
        protocol, header = UDP, start + UDP_HEADER
    else:
        expected, protocol = _PROTOCOLS.get(GsoType(gso_type), (0, 0)) if gso_type in tuple(GsoType) else (0, 0)
        header = start + (packet[start + 12] >> 4 << 2)
        if version != expected or header < start + SHORTEST_TCP_HEADER:
            raise InputError("not the kind of packet that is to be segmented")
    least = IPV4_HEADER if version == 4 else IPV6_HEADER
    if not (least <= start < header < length <= LARGEST_PACKET and start % 4 == 0 and gso_size >= SMALLEST_PAYLOAD):
        raise InputError("a packet to be segmented with lengths that cannot be")
    return Shape(version, protocol, start, header, header + gso_size)


def _be_first(packet: bytearray, shape: Shape) -> None:
    """Makes the packet's header that of a first, full segment, with the transport's checksum left out."""
    stride, start = shape.stride, shape.start
    if shape.version == 4:
        _U16.pack_into(packet, 2, stride)
        _U16.pack_into(packet, 10, 0)
        _U16.pack_into(packet, 10, turned(-total(packet, 0, start) % 65535))
    else:
        _U16.pack_into(packet, 4, stride - IPV6_HEADER)
    if shape.protocol == UDP:
        _U16.pack_into(packet, start + 4, stride - start)
    else:
        packet[start + 13] &= ~(FIN | PSH)
    _U16.pack_into(packet, shape.checksum, 0)


def _repair(rows: Rows, packet: bytearray, count: int) -> None:
    """Puts IPv4's words right where they do not go on by constants: where the identification comes to 65,536, which is
    no more than 65,535 to a checksum, and where the checksum passes zero, and so takes from the octets before it.
    """
    first, checksum = _U16.unpack_from(packet, 4)[0], _U16.unpack_from(packet, 10)[0]
    if checksum < count or first + count > 65536:
        identifications = np.arange(first, first + count, dtype=np.int64) % 65536
        rows.words[:count, 2] = (int.from_bytes(packet[8:10]) << 16) + (checksum + first - identifications) % 65535


def _finish(rows: Rows, packet: bytearray, count: int) -> NDArray[np.uint32]:
    """Writes the transport's checksums; returns the sums before they were folded, what is to be taken from 65,535."""
    shape, known = rows.shape, rows.pseudo
    if not shape.is_plain:
        known += total(packet, 12, 20) if shape.version == 4 else total(packet, 8, 40)
    sums = rows.sums(count)
    np.subtract(np.uint32(_MULTIPLE - known % 65535), sums, out=sums)
    if shape.protocol == UDP:
        sums %= np.uint32(65535)
        sums[sums == 0] = 65535  # zero would mean that there is none (RFC 768)
        rows.checksums[:count] = sums
    else:
        np.remainder(sums, np.uint32(65535), out=rows.checksums[:count], casting="unsafe")
    return sums


def _be_last(rows: Rows, at: int, complement: int, length: int, flags: int) -> None:
    """Makes the segment there the last: with its own length, and the flags that stand for the end."""
    shape, memory = rows.shape, rows.memory
    shorter = shape.stride - length
    if shape.version == 4:
        (checksum,) = _U16.unpack_from(memory, at + 10)
        _U16.pack_into(memory, at + 2, length)
        _U16.pack_into(memory, at + 10, (checksum + shorter) % 65535)
    else:
        _U16.pack_into(memory, at + 4, length - IPV6_HEADER)
    complement += turned(shorter)
    if shape.protocol == UDP:
        _U16.pack_into(memory, at + shape.start + 4, length - shape.start)
        complement += turned(shorter)
    else:
        memory[at + shape.start + 13] = flags
        complement -= turned(flags & (FIN | PSH))
    found = complement % 65535
    if found == 0 and shape.protocol == UDP:
        found = 65535
    _U16.pack_into(memory, at + shape.checksum, turned(found))
