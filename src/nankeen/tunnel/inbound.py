"""From the peers to the TUN device. Trains of one flow are joined; what is no packet, or not the peer's to send, goes
nowhere.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from nankeen.tunnel.join import Joiner
from nankeen.tunnel.layout import IPV4_HEADER, IPV6_HEADER
from nankeen.tunnel.offload import LARGEST_PACKET, PLAIN
from nankeen.tunnel.queue import Queue
from nankeen.tunnel.table import PeerTable
from nankeen.tunnel.underlay import Underlay

_READS = 64
"""Trains at most that are received before others have their turn."""
_MEMORY = 1 << 18
"""Octets: a train of the largest size is received behind others that it may go on from."""


class Inbound:
    """Writes to one queue what sockets of either family receive."""

    def __init__(self, queue: Queue, peers: PeerTable, drops: Counter[str]) -> None:
        self._queue = queue.descriptor
        self._peers = peers
        self._drops = drops
        self._memory = bytearray(_MEMORY + LARGEST_PACKET)
        self._octets = memoryview(self._memory)
        self._joins = queue.tcp
        self._joiner = Joiner(self._memory, udp=queue.udp)

    def run(self, underlay: Underlay) -> None:
        """Takes what is there, up to a limit. Datagrams of one size from one peer are looked at together."""
        length, stride, sender = 0, 0, ""
        try:
            for turn in range(_READS):
                came, size, host = underlay.receive(self._octets[length:])
                if length and not (host == sender and (size == stride or 0 < size == came < stride)):
                    self._deliver(length, stride, sender)
                    self._octets[:came] = self._octets[length : length + came]
                    length = 0
                if not length:
                    stride, sender = size or 1, host  # an empty datagram has no size
                length += came
                if (not turn and came == size) or came < stride or length % stride or length > _MEMORY - LARGEST_PACKET:
                    self._deliver(length, stride, sender)
                    length = 0
        except BlockingIOError:
            pass
        except OSError as error:
            self._drops[f"underlay: {os.strerror(error.errno or 0)}"] += 1
        if length:
            self._deliver(length, stride, sender)

    def _deliver(self, length: int, stride: int, sender: str) -> None:
        """Hands over a train."""
        if length <= stride or not self._joins:
            for at in range(0, length or 1, stride):
                self._deliver_one(at, min(stride, length - at), sender)
            return
        for piece in self._joiner.pieces(length, stride):
            first, count = piece
            at = first * stride
            if count == 1:
                self._deliver_one(at, min(stride, length - at), sender)
            else:
                packets = self._joiner.packet(piece, length)
                self._write(sender, at, packets, count, min(count * stride, length - at))

    def _deliver_one(self, at: int, length: int, sender: str) -> None:
        """Hands over one datagram's packet, which may be anything."""
        memory = self._memory
        version = memory[at] >> 4 if length else 0
        if version == 4 and length >= IPV4_HEADER:
            stated, header = memory[at + 2] << 8 | memory[at + 3], (memory[at] & 0x0F) << 2
            whole = IPV4_HEADER <= header <= stated
        elif version == 6 and length >= IPV6_HEADER:
            stated, whole = (memory[at + 4] << 8 | memory[at + 5]) + IPV6_HEADER, True
        else:
            stated, whole = 0, False
        if not whole:
            self._drops["malformed"] += 1
        elif stated > length:
            self._drops["truncated"] += 1
        else:
            self._write(sender, at, (PLAIN, self._octets[at : at + stated]), 1, stated)

    def _write(self, sender: str, at: int, buffers: Sequence[bytes | memoryview], count: int, octets: int) -> None:
        """Writes what begins like the packet there, if its sender may send it."""
        memory = self._memory
        addresses = memory[at + 12 : at + 20] if memory[at] >> 4 == 4 else memory[at + 8 : at + 40]
        verdict = self._peers.admit(sender, bytes(addresses))
        if isinstance(verdict, str):
            self._drops[verdict] += count
            return
        try:
            os.writev(self._queue, buffers)
        except OSError as error:
            self._drops[f"device: {os.strerror(error.errno or 0)}"] += count
            return
        verdict.received_packets += count
        verdict.received_bytes += octets
