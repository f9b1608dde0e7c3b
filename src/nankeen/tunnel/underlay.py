"""The UDP socket of one family, which sends and receives trains of datagrams where the kernel can (udp(7))."""

from __future__ import annotations

import errno
import select
import socket
import sys
from contextlib import suppress

from nankeen.model.address import IPAddress
from nankeen.model.errors import KernelError
from nankeen.tunnel.checksum import Buffer
from nankeen.tunnel.offload import LARGEST_DATAGRAM, MOST_SEGMENTS, SOL_UDP, UDP_GRO, UDP_SEGMENT

Endpoint = tuple[str, int]

_BUFFER = 16 << 20
"""Octets that the kernel may hold for us: what comes within some milliseconds at full speed."""
_PATIENCE_MS = 20
"""How long a packet waits for room in the socket's buffer before it is dropped."""
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33  # socket(7); Python has no names for them
_PMTUDISC_DONT, _PMTUDISC_DO = 0, 2  # ip(7), ipv6(7)
_ANCILLARY = socket.CMSG_SPACE(4)
_NO_SEGMENTS = frozenset({errno.EIO, errno.EINVAL, errno.ENOPROTOOPT, errno.EOPNOTSUPP})
"""What a kernel, or a device without checksum offload, says to UDP_SEGMENT."""

_OPTIONS = {
    4: (socket.AF_INET, socket.IPPROTO_IP, 10, 14),  # IP_MTU_DISCOVER, IP_MTU (linux/in.h)
    6: (socket.AF_INET6, socket.IPPROTO_IPV6, 23, 24),  # IPV6_MTU_DISCOVER, IPV6_MTU (linux/in6.h)
}
_HEADERS = {4: 28, 6: 48}
"""Octets of the outer IP and UDP headers."""


class TooBig(Exception):  # noqa: N818  (what is the matter, as its ICMP message is called)
    """A datagram does not fit the way to its peer."""


class Underlay:
    """A bound socket."""

    def __init__(self, local: IPAddress, port: int) -> None:
        """Raises `KernelError`."""
        self.version = local.version
        self.coalesces = False
        """Whether the kernel gives us trains."""
        self.segments = True
        """Whether it takes them."""
        self._family, self._level, self._discover, self._mtu = _OPTIONS[local.version]
        self._socket = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._lengths: dict[int, list[tuple[int, int, bytes]]] = {}
        try:
            self._prepare(local, port)
        except OSError as error:
            self._socket.close()
            where = f"udp {local} port {port}"
            raise KernelError(f"cannot be bound: {error.strerror}", where=where, errno=error.errno or 0) from error

    def __str__(self) -> str:
        offloads = [name for name, there in (("GSO", self.segments), ("GRO", self.coalesces)) if there]
        return " ".join([f"IPv{self.version} UDP", *(offloads or ["without offloads"])])

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def receive(self, memory: Buffer) -> tuple[int, int, str]:
        """Receives a datagram, or a train from one peer: its octets, those of each datagram but the last, and the
        sender's address. Raises `BlockingIOError` where there is none, and `OSError`.
        """
        length, ancillary, _, sender = self._socket.recvmsg_into([memory], _ANCILLARY)
        for _, kind, data in ancillary:
            if kind == UDP_GRO:
                return length, int.from_bytes(data[:4], sys.byteorder), sender[0]
        return length, length, sender[0]

    def send(self, octets: memoryview, stride: int, endpoint: Endpoint) -> None:
        """Sends a train: datagrams of `stride` octets, the last of which may be shorter. Raises `TooBig` and `OSError`:
        what was sent before that is on its way.
        """
        length = len(octets)
        if length <= stride:
            self._send_one(octets, endpoint)
            return
        if self.segments:
            step = min(MOST_SEGMENTS, LARGEST_DATAGRAM // stride) * stride
            for at in range(0, length, step):
                try:
                    self._send_train(octets[at : at + step], stride, endpoint)
                except OSError as error:
                    if error.errno not in _NO_SEGMENTS:
                        raise
                    self._send_each(octets[at:], stride, endpoint)
                    self.segments = False  # it was not only too big, to which older kernels say EINVAL, too
                    return
            return
        self._send_each(octets, stride, endpoint)

    def send_in_fragments(self, octets: memoryview, stride: int, endpoint: Endpoint) -> None:
        """The same for what may be fragmented on its way. Raises `OSError`."""
        self._socket.setsockopt(self._level, self._discover, _PMTUDISC_DONT)
        try:
            self._send_each(octets, stride, endpoint)
        finally:
            self._socket.setsockopt(self._level, self._discover, _PMTUDISC_DO)

    def largest(self, endpoint: Endpoint) -> int:
        """Octets that a datagram to there may have on all of its way, as far as the kernel knows. Raises `OSError`."""
        with socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asking:
            asking.connect(endpoint)
            return asking.getsockopt(self._level, self._mtu) - _HEADERS[self.version]

    def _prepare(self, local: IPAddress, port: int) -> None:
        for option, fallback in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
            except PermissionError:  # in a user namespace: as much as everybody may have
                self._socket.setsockopt(socket.SOL_SOCKET, fallback, _BUFFER)
        if self.version == 6:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self._socket.setsockopt(self._level, self._discover, _PMTUDISC_DO)
        with suppress(OSError):  # a kernel before 5.0 gives them one by one
            self._socket.setsockopt(SOL_UDP, UDP_GRO, 1)
            self.coalesces = True
        self._socket.bind((str(local), port))

    def _send_train(self, octets: memoryview, stride: int, endpoint: Endpoint) -> None:
        if len(octets) <= stride:
            self._send_one(octets, endpoint)
            return
        ancillary = self._lengths.get(stride)
        if ancillary is None:
            ancillary = self._lengths[stride] = [(SOL_UDP, UDP_SEGMENT, stride.to_bytes(2, sys.byteorder))]
        try:
            self._socket.sendmsg((octets,), ancillary, 0, endpoint)
        except BlockingIOError:
            self._await_room()
            self._socket.sendmsg((octets,), ancillary, 0, endpoint)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                raise TooBig from error
            raise

    def _send_each(self, octets: memoryview, stride: int, endpoint: Endpoint) -> None:
        for at in range(0, len(octets), stride):
            self._send_one(octets[at : at + stride], endpoint)

    def _send_one(self, octets: memoryview, endpoint: Endpoint) -> None:
        try:
            self._socket.sendto(octets, endpoint)
        except BlockingIOError:
            self._await_room()
            self._socket.sendto(octets, endpoint)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                raise TooBig from error
            raise

    def _await_room(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        poll.poll(_PATIENCE_MS)
