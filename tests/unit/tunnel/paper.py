"""A queue and an underlay on paper: sockets in place of a device, lists in place of a network."""

from __future__ import annotations

import os
import socket
from collections import deque
from ipaddress import ip_address, ip_network
from typing import Literal

from nankeen.model.tunnel import TunnelPeer
from nankeen.tunnel.checksum import Buffer
from nankeen.tunnel.offload import HEADER, LARGEST_PACKET, PLAIN
from nankeen.tunnel.queue import Queue
from nankeen.tunnel.underlay import Endpoint, TooBig, Underlay

OWN = [ip_network(own) for own in ("10.244.1.0/24", "fd10:244:0:1::/64", "192.168.0.11", "fd00::11")]
NODE2, NODE3, NODE2_IPV6 = "192.168.0.12", "192.168.0.13", "fd00::12"


def peer(subnet: str, endpoint: str, node: str, port: int = 8285) -> TunnelPeer:
    return TunnelPeer("flannel0", ip_network(subnet), ip_address(endpoint), port, node)


PEERS = [
    peer("10.244.2.0/24", NODE2, "node2"),
    peer("10.244.3.0/24", NODE3, "node3"),
    peer("fd10:244:0:2::/64", NODE2_IPV6, "node2"),
]


class PaperQueue(Queue):
    """The kernel's end of it is the test's: a packet is read, or written, as one message."""

    def __init__(self, *, tcp: bool = True, udp: bool = True) -> None:
        self.tcp, self.udp = tcp, udp
        kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        for end in (kernel, ours):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self._kernel, self.descriptor = kernel, ours.detach()

    def give(self, packet: bytes, header: bytes = PLAIN) -> None:
        """The kernel has a packet for us."""
        self._kernel.send(header + packet)

    def taken(self) -> list[tuple[bytes, bytes]]:
        """What the kernel got since it was asked last: headers of virtio, and packets."""
        found: list[tuple[bytes, bytes]] = []
        while True:
            try:
                message = self._kernel.recv(HEADER.size + LARGEST_PACKET)
            except BlockingIOError:
                return found
            found.append((message[: HEADER.size], message[HEADER.size :]))

    def packets(self) -> list[bytes]:
        return [packet for _, packet in self.taken()]

    def close(self) -> None:
        self._kernel.close()
        os.close(self.descriptor)


class PaperUnderlay(Underlay):
    """Of one family. What is sent is kept; what is to be received is put there."""

    def __init__(self, version: Literal[4, 6] = 4, largest: int = 65_507) -> None:
        self.version = version
        self.segments = self.coalesces = True
        self.mtu: int | OSError = largest
        """Octets that a datagram may have; or what the kernel says to who asks for them."""
        self.fails: dict[str, OSError] = {}
        """What goes wrong, by method."""
        self.trains: list[list[bytes]] = []
        self.endpoints: list[Endpoint] = []
        self.fragmented: list[bytes] = []
        self.arriving: deque[tuple[bytes, int, str] | OSError] = deque()

    @property
    def sent(self) -> list[bytes]:
        return [datagram for train in self.trains for datagram in train]

    def send(self, octets: memoryview, stride: int, endpoint: Endpoint) -> None:
        if "send" in self.fails:
            raise self.fails["send"]
        if isinstance(self.mtu, OSError) or stride > self.mtu:
            raise TooBig
        self.trains.append([bytes(octets[at : at + stride]) for at in range(0, len(octets), stride)])
        self.endpoints.append(endpoint)

    def send_in_fragments(self, octets: memoryview, stride: int, endpoint: Endpoint) -> None:  # noqa: ARG002
        if "send_in_fragments" in self.fails:
            raise self.fails["send_in_fragments"]
        self.fragmented += [bytes(octets[at : at + stride]) for at in range(0, len(octets), stride)]

    def largest(self, endpoint: Endpoint) -> int:  # noqa: ARG002  (the same everywhere)
        if isinstance(self.mtu, OSError):
            raise self.mtu
        return self.mtu

    def receive(self, memory: Buffer) -> tuple[int, int, str]:
        if not self.arriving:
            raise BlockingIOError
        arrived = self.arriving.popleft()
        if isinstance(arrived, OSError):
            raise arrived
        octets, stride, sender = arrived
        memory[: len(octets)] = octets
        return len(octets), stride, sender

    def arrive(self, *datagrams: bytes, sender: str = NODE2) -> None:
        """As a train where there are several, the last of which may be shorter."""
        self.arriving.append((b"".join(datagrams), len(datagrams[0]), sender))

    def close(self) -> None:
        """Nothing is open."""
