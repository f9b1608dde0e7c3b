"""From the TUN device to the peers.

A packet that the kernel left whole is segmented; smaller ones of one size to one peer that follow each other are sent
as one train. Each is one hop on its way, as by a router: its TTL goes down by one, and what cannot be sent is told.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from nankeen.model.errors import InputError
from nankeen.tunnel import icmp
from nankeen.tunnel.checksum import put, total
from nankeen.tunnel.icmp import Limiter, Problem
from nankeen.tunnel.layout import IPV4_HEADER, IPV6_HEADER
from nankeen.tunnel.offload import HEADER, LARGEST_DATAGRAM, LARGEST_PACKET, MOST_SEGMENTS, NEEDS_CSUM, PLAIN
from nankeen.tunnel.queue import Queue
from nankeen.tunnel.segment import Segmenter
from nankeen.tunnel.table import Peer, PeerTable
from nankeen.tunnel.underlay import TooBig, Underlay

_READS = 64
"""Packets at most that are read before others have their turn."""
_UDP_CHECKSUM = 6
_DONT_FRAGMENT = 0x40
"""In the octet of an IPv4 header that has the flags."""
_LEAST_MTU = 1280
"""Of IPv6: octets that every link carries, if need be in fragments of its own (RFC 8200 §5)."""
_U16 = struct.Struct("!H")


class _Batch:
    """Datagrams of one size to one peer, in the memory that they are sent from."""

    def __init__(self) -> None:
        self.memory = bytearray(LARGEST_PACKET + 1)
        self.octets = memoryview(self.memory)
        self.peer: Peer | None = None
        self.stride = 0
        self.length = 0
        self.count = 0
        self.checksum = (0, 0)
        """Where the checksum that is still to be made begins, and where it goes, in each of them; zeros for none."""


class Outbound:
    """Reads from one queue and sends by one socket for each family."""

    def __init__(
        self,
        queue: Queue,
        underlays: Mapping[int, Underlay],
        addresses: Mapping[int, bytes],
        peers: PeerTable,
        drops: Counter[str],
    ) -> None:
        """`underlays` and `addresses`, the node's own inner ones, are by IP version."""
        self._queue = queue.descriptor
        self._underlays = underlays
        self._addresses = addresses
        self._peers = peers
        self._drops = drops
        self._header = bytearray(HEADER.size)
        self._segmenter = Segmenter()
        self._packet = self._segmenter.packet
        self._octets = memoryview(self._packet)
        self._read_into = [self._header, self._packet]
        self._batch = _Batch()
        self._limiter = Limiter()

    def run(self) -> None:
        """Takes what is there, up to a limit. The first goes on its way at once: most often it is the only one."""
        queue, buffers, header, take = self._queue, self._read_into, self._header, self._take
        try:
            for turn in range(_READS):
                length = os.readv(queue, buffers) - HEADER.size
                take(length, header)
                if not turn:
                    self._flush()
        except BlockingIOError:
            pass
        except OSError as error:  # EBADFD or EIO: the device is gone or down, and says so again if it stays
            self._drops[f"device: {os.strerror(error.errno or 0)}"] += 1
        self._flush()

    def _take(self, length: int, header: bytearray) -> None:
        packet = self._packet
        if packet[0] >> 4 == 4 and length >= IPV4_HEADER:
            destination, ttl = bytes(packet[16:20]), packet[8]
        elif packet[0] >> 4 == 6 and length >= IPV6_HEADER:
            destination, ttl = bytes(packet[24:40]), packet[7]
        else:
            self._drops["malformed"] += 1
            return
        peer = self._peers.to(destination)
        if peer is None:
            self._refuse(Problem.NO_ROUTE, length, "no peer has the destination")
        elif ttl <= 1:
            self._refuse(Problem.TIME_EXCEEDED, length, "TTL exceeded")
        elif header[1]:
            self._flush()
            self._send_whole(peer, length)
        else:
            self._add(peer, length, header)

    def _send_whole(self, peer: Peer, length: int) -> None:
        """Segments and sends a packet that the kernel left whole."""
        _, gso_type, _, gso_size, start, _ = HEADER.unpack(self._header)
        try:
            octets, stride, segments = self._segmenter.segment(length, gso_type, gso_size, start)
        except InputError:
            self._drops["malformed"] += 1
        else:
            self._send(peer, octets, stride, segments)

    def _add(self, peer: Peer, length: int, header: bytearray) -> None:
        """Puts a packet with those that are to be sent at once."""
        checksum, packet, batch = (0, 0), self._packet, self._batch
        if header[0] & NEEDS_CSUM:
            _, _, _, _, start, offset = HEADER.unpack(header)
            checksum = start, offset
            if start + offset + 2 > length:
                self._drops["malformed"] += 1
                return
        if packet[0] >> 4 == 4:
            packet[8] -= 1
            found = (packet[10] << 8 | packet[11]) + 0x100  # RFC 1141
            found = found + (found >= 0xFFFF) & 0xFFFF
            packet[10], packet[11] = found >> 8, found & 0xFF
        else:
            packet[7] -= 1
        if batch.count and not (
            batch.peer is peer
            and length <= batch.stride
            and batch.checksum == checksum
            and batch.length + length <= LARGEST_DATAGRAM
            and batch.count < MOST_SEGMENTS
        ):
            self._flush()
        if not batch.count:
            batch.peer, batch.stride, batch.checksum = peer, length, checksum
        batch.octets[batch.length : batch.length + length] = self._octets[:length]
        batch.length += length
        batch.count += 1
        if length < batch.stride:
            self._flush()

    def _flush(self) -> None:
        """Sends what was put together."""
        batch = self._batch
        if not batch.count or batch.peer is None:
            return
        if batch.checksum != (0, 0):
            _complete(batch)
        octets, count = batch.octets[: batch.length], batch.count
        batch.length = batch.count = 0
        self._send(batch.peer, octets, batch.stride, count)

    def _send(self, peer: Peer, octets: memoryview, stride: int, count: int) -> None:
        version = octets[0] >> 4
        underlay = self._underlays.get(version)
        if underlay is None:
            self._drops[f"no underlay for IPv{version}"] += count
            return
        try:
            underlay.send(octets, stride, peer.endpoint)
        except TooBig:
            for start, end in _alike(octets, stride):
                self._send_too_big(underlay, peer, octets[start:end], stride)
        except OSError as error:
            self._drops[f"underlay: {os.strerror(error.errno or 0)}"] += count
        else:
            peer.sent_packets += count
            peer.sent_bytes += len(octets)

    def _send_too_big(self, underlay: Underlay, peer: Peer, octets: memoryview, stride: int) -> None:
        """Sends packets of one sender that do not fit the way to their peer, in fragments; where they must not be
        fragmented, he is told (RFC 2003 §3.1, RFC 2473 §7).
        """
        count, is_v4 = -(-len(octets) // stride), octets[0] >> 4 == 4
        reason = "too big"
        try:
            if not octets[6] & _DONT_FRAGMENT if is_v4 else min(stride, len(octets)) <= _LEAST_MTU:
                underlay.send_in_fragments(octets, stride, peer.endpoint)
                peer.sent_packets += count
                peer.sent_bytes += len(octets)
                return
            mtu = underlay.largest(peer.endpoint)
            self._answer(Problem.TOO_BIG, bytes(octets[: min(stride, _QUOTED)]), mtu if is_v4 else max(mtu, _LEAST_MTU))
        except OSError as error:
            reason = f"underlay: {os.strerror(error.errno or 0)}"
        self._drops[reason] += count

    def _refuse(self, problem: Problem, length: int, reason: str) -> None:
        self._flush()
        self._drops[reason] += 1
        self._answer(problem, bytes(self._packet[: min(length, _QUOTED)]))

    def _answer(self, problem: Problem, packet: bytes, mtu: int = 0) -> None:
        """Tells the packet's sender, where that may be told anything."""
        own = self._addresses.get(packet[0] >> 4)
        if own is not None and self._limiter.allows() and (message := icmp.error(problem, packet, own, mtu)):
            try:
                os.writev(self._queue, (PLAIN, message))
            except OSError as error:
                self._drops[f"device: {os.strerror(error.errno or 0)}"] += 1


_QUOTED = 1280


def _alike(octets: memoryview, stride: int) -> Iterator[tuple[int, int]]:
    """Where runs of packets begin and end that are from one sender to one destination, and may all be fragmented, or
    none of them.
    """
    addresses = slice(12, 20) if octets[0] >> 4 == 4 else slice(8, 40)
    start, first = 0, b""
    for at in range(0, len(octets), stride):
        packet = octets[at : at + stride]
        found = bytes(packet[addresses]) + bytes([packet[6] & _DONT_FRAGMENT])
        if first and found != first:
            yield start, at
            start = at
        first = found
    yield start, len(octets)


def _complete(batch: _Batch) -> None:
    """Makes the checksums that the kernel left to us, from the sum of the pseudo header that stands in their place."""
    (start, offset), memory, stride = batch.checksum, batch.memory, batch.stride
    full = batch.length // stride
    zero = 65535 if offset == _UDP_CHECKSUM else 0
    done = 0
    if full > 2 and (stride - start) % 2 == 0 and start % 2 == 0:
        words = np.ndarray((full, (stride - start) // 2), np.uint16, memory, start, (stride, 2))
        sums = np.add.reduce(words, axis=1, dtype=np.uint32)
        found = (np.uint32(65535 << 14) - sums) % np.uint32(65535)
        if zero:
            found[found == 0] = zero
        np.ndarray((full,), np.uint16, memory, start + offset, (stride,))[:] = found
        done = full
    for row in range(done, batch.count):
        at, end = row * stride, min(batch.length, (row + 1) * stride)
        put(memory, at + start + offset, total(memory, at + start, end))
        if zero and not (memory[at + start + offset] or memory[at + start + offset + 1]):
            memory[at + start + offset] = memory[at + start + offset + 1] = 0xFF
