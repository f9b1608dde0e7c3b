"""A netlink socket: requests one by one, in batches, and dumps.

A batch asks for one acknowledgement, of its last message: the kernel handles messages in order and reports a failure
unasked, so what is not reported has succeeded. That is what makes a thousand routes cost as little as they do.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from nankeen.kernel.namespace import Namespace, entered
from nankeen.kernel.netlink.message import (
    HEADER,
    NLM_F_ACK,
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    attributes,
    read_string,
)
from nankeen.model.address import HardwareAddress
from nankeen.model.errors import KernelError

ROUTE, XFRM, GENERIC = 0, 6, 16
"""NETLINK_*: what a socket talks to (linux/netlink.h)."""

_SIOCGSKNS = 0x894C
"""ioctl that opens the network namespace of a socket (linux/sockios.h)."""
_SOL_NETLINK = 270
_ADD_MEMBERSHIP = 1
_CAP_ACK = 10
_EXT_ACK = 11
_GET_STRICT_CHK = 12
_ERR_ATTR_MSG = 1

_SIOCGIFINDEX, _SIOCGIFHWADDR = 0x8933, 0x8927
_IFREQ = struct.Struct("=16si20x")
_ADDRESS = slice(18, 24)
"""Of a struct ifreq, where its struct sockaddr has the hardware address."""

_BATCH_MESSAGES = 256
"""Messages in one send: even when all of them fail, their error reports fit the receive buffer."""
_BATCH_BYTES = 48 << 10
_DEADLINE = 10.0
"""Seconds that the kernel has for an answer; it holds one lock for all changes of links."""
_DUMP_ATTEMPTS = 8
_SO_RCVBUFFORCE = 33  # socket(7)
_NEWS = 8 << 20
"""Octets of news that may wait, with all that the kernel counts: a few thousand, as of some hundred pods at once."""
_MOST_AT_ONCE = 1000
"""Datagrams that are taken before others have their turn."""
_READ_SIZE = 256 << 10


@dataclass(frozen=True, slots=True)
class Failure:
    """A message of a batch that the kernel refused: its index, the error number, and the kernel's own words if any."""

    index: int
    errno: int
    text: str

    def __str__(self) -> str:
        words = os.strerror(self.errno)
        return f"{words} ({self.text})" if self.text else words


class NetlinkSocket:
    """NETLINK_ROUTE in one network namespace: that of the caller, or the one given."""

    def __init__(
        self, namespace: Namespace | None = None, groups: Sequence[int] = (), *, protocol: int = ROUTE
    ) -> None:
        """`groups` are multicast groups to listen to (RTNLGRP_*); `protocol` is what to talk to instead of rtnetlink.

        Raises `KernelError`.
        """
        try:
            with entered(namespace):
                self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        except OSError as error:
            raise KernelError(f"cannot open a netlink socket: {error.strerror}", errno=error.errno or 0) from error
        self._socket.settimeout(_DEADLINE)
        for option in (_CAP_ACK, _EXT_ACK, _GET_STRICT_CHK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.bind((0, 0))
        self.port: int = self._socket.getsockname()[0]
        """The socket's netlink port ID: the kernel marks what it does at our request with it."""
        if groups:
            self._be_patient()
        for group in groups:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        self._sequence = 0

    def _be_patient(self) -> None:
        """Has the kernel keep more news for us than it would, where it lets us."""
        with suppress(PermissionError):  # in a user namespace
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _NEWS)

    def sibling(self, protocol: int) -> NetlinkSocket:
        """A socket that talks to something else in the same network namespace. Raises `KernelError`."""
        try:
            descriptor = fcntl.ioctl(self._socket, _SIOCGSKNS)
        except OSError as error:
            raise KernelError(f"cannot tell a socket's namespace: {error.strerror}", errno=error.errno or 0) from error
        with Namespace(descriptor) as namespace:
            return NetlinkSocket(namespace, protocol=protocol)

    def batch(self, messages: Sequence[bytes]) -> list[Failure]:
        """Sends the messages in order and returns those that the kernel refused."""
        failures: list[Failure] = []
        start = 0
        while start < len(messages):
            size, end = 0, start
            while end < len(messages) and end - start < _BATCH_MESSAGES and size + len(messages[end]) <= _BATCH_BYTES:
                size += len(messages[end])
                end += 1
            end = max(end, start + 1)
            failures += self._exchange(messages[start:end], start)
            start = end
        return failures

    def request(self, message: bytes, subject: str) -> None:
        """Sends one message; raises `KernelError` about `subject` where the kernel refuses it."""
        for failure in self.batch([message]):
            raise KernelError(str(failure), where=subject, errno=failure.errno)

    def index(self, device: str) -> int | None:
        """The interface index of a device in the socket's namespace; None where there is none.

        Asked by ioctl (netdevice(7)), which does not wait for the lock that all changes of links hold.
        """
        try:
            answer = fcntl.ioctl(self._socket, _SIOCGIFINDEX, _IFREQ.pack(device.encode(), 0))
        except OSError:
            return None
        index: int = _IFREQ.unpack(answer)[1]
        return index

    def hardware_address(self, device: str) -> HardwareAddress | None:
        """An Ethernet device's hardware address; None where there is no such device. Asked as `index` is."""
        try:
            answer = fcntl.ioctl(self._socket, _SIOCGIFHWADDR, _IFREQ.pack(device.encode(), 0))
        except OSError:
            return None
        return HardwareAddress(answer[_ADDRESS])

    def index_of(self, device: str) -> int:
        """The interface index of a device that is there. Raises `KernelError`."""
        index = self.index(device)
        if index is None:
            raise KernelError("the device has gone again", where=device, errno=errno.ENODEV)
        return index

    def query(self, message: bytes, subject: str) -> list[bytes]:
        """The bodies of what the kernel answers to one message; raises `KernelError` about `subject`."""
        self._sequence += 1
        data = bytearray(message)
        data[6] |= NLM_F_ACK
        data[8:12] = self._sequence.to_bytes(4, sys.byteorder)
        self._send(data)
        answers: list[bytes] = []
        while True:
            for kind, flags, sequence, body in self._receive():
                if sequence != self._sequence:
                    continue
                if kind != NLMSG_ERROR:
                    answers.append(body)
                elif code := _error_number(body):
                    raise KernelError(str(Failure(0, code, _extended_text(flags, body))), where=subject, errno=code)
                else:
                    return answers

    def dump(self, message: bytes) -> list[tuple[int, bytes]]:
        """All answers to a dump request, as message type and body; read again where the tables changed meanwhile."""
        for _ in range(_DUMP_ATTEMPTS):
            answers, whole = self._dump_once(message)
            if whole:
                return answers
        raise KernelError("the kernel's tables change faster than they can be read", errno=errno.EAGAIN)

    def _exchange(self, messages: Sequence[bytes], offset: int) -> list[Failure]:
        first = self._sequence + 1
        data = bytearray()
        at = 0
        for item in messages:
            self._sequence += 1
            at = len(data)
            data += item
            data[at + 8 : at + 12] = self._sequence.to_bytes(4, sys.byteorder)
        data[at + 6] |= NLM_F_ACK
        self._send(data)
        failures: list[Failure] = []
        while True:
            for kind, flags, sequence, body in self._receive():
                if kind != NLMSG_ERROR or sequence < first:
                    continue
                code = _error_number(body)
                if code:
                    failures.append(Failure(offset + sequence - first, code, _extended_text(flags, body)))
                if sequence == self._sequence:
                    return failures

    def _dump_once(self, message: bytes) -> tuple[list[tuple[int, bytes]], bool]:
        self._sequence += 1
        data = bytearray(message)
        data[6:8] = (int.from_bytes(data[6:8], sys.byteorder) | NLM_F_DUMP).to_bytes(2, sys.byteorder)
        data[8:12] = self._sequence.to_bytes(4, sys.byteorder)
        self._send(data)
        answers: list[tuple[int, bytes]] = []
        whole = True
        while True:
            for kind, flags, sequence, body in self._receive():
                if sequence != self._sequence:
                    continue
                whole = whole and not flags & NLM_F_DUMP_INTR
                code = _error_number(body) if kind in (NLMSG_DONE, NLMSG_ERROR) else 0
                if kind == NLMSG_DONE and not code:
                    return answers, whole
                if kind in (NLMSG_DONE, NLMSG_ERROR):
                    raise KernelError(f"dump refused: {Failure(0, code, _extended_text(flags, body))}", errno=code)
                answers.append((kind, body))

    def _send(self, data: bytearray) -> None:
        try:
            self._socket.sendto(data, (0, 0))
        except OSError as error:
            raise KernelError(f"netlink: {error.strerror or error}", errno=error.errno or 0) from error

    def _receive(self) -> Iterator[tuple[int, int, int, bytes]]:
        try:
            data = self._socket.recv(_READ_SIZE)
        except TimeoutError:
            raise KernelError(f"netlink: no answer within {_DEADLINE:g} s", errno=errno.ETIMEDOUT) from None
        except OSError as error:
            raise KernelError(f"netlink: {error.strerror or error}", errno=error.errno or 0) from error
        for kind, flags, sequence, _port, body in split(data):
            yield kind, flags, sequence, body

    async def receive(self) -> list[bytes]:
        """The datagrams that multicast groups have brought, awaited on the running event loop where there are none yet.
        Raises `OSError`; ENOBUFS means that some were lost.
        """
        self._socket.setblocking(False)
        found = [await asyncio.get_running_loop().sock_recv(self._socket, _READ_SIZE)]
        while len(found) < _MOST_AT_ONCE:
            try:
                found.append(self._socket.recv(_READ_SIZE))
            except BlockingIOError:
                break
        return found

    def heard(self) -> list[tuple[int, bytes]] | None:
        """What multicast groups have brought by now, as message type and body; None where some were lost."""
        self._socket.setblocking(False)
        found: list[tuple[int, bytes]] = []
        while True:
            try:
                data = self._socket.recv(_READ_SIZE)
            except BlockingIOError:
                return found
            except OSError:
                return None
            found += [(kind, body) for kind, _, _, _, body in split(data)]

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def split(data: bytes) -> Iterator[tuple[int, int, int, int, bytes]]:
    """The messages of one datagram, as type, flags, sequence number, port ID and body."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, flags, sequence, port = HEADER.unpack_from(data, offset)
        if length < 16:
            return
        yield kind, flags, sequence, port, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3


def _error_number(body: bytes) -> int:
    """What an error or the end of a dump tells; 0 for success. The end of a dump may say nothing at all."""
    return -int.from_bytes(body[:4], sys.byteorder, signed=True)


def _extended_text(flags: int, body: bytes) -> str:
    """The words of an extended acknowledgement (NLMSGERR_ATTR_MSG), or ""."""
    if not flags & NLM_F_ACK_TLVS:
        return ""
    length = 16 if flags & NLM_F_CAPPED else int.from_bytes(body[4:8], sys.byteorder)
    return read_string(attributes(body, 4 + ((length + 3) & ~3)).get(_ERR_ATTR_MSG, b""))
