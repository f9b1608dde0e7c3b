"""A netlink socket for netfilter (NETLINK_NETFILTER): questions, dumps, and transactions, made whole or not at all."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

from nankeen.kernel.namespace import Namespace, entered
from nankeen.kernel.netlink.message import NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR
from nankeen.kernel.netlink.nftables import batch_ends
from nankeen.kernel.netlink.socket import split
from nankeen.model.errors import KernelError

_NETLINK_NETFILTER = 12
_SOL_NETLINK = 270
_ADD_MEMBERSHIP = 1
_DEADLINE = 10.0
"""Seconds that the kernel has for an answer; it holds one lock for all changes of tables."""
_DUMP_ATTEMPTS = 8
_READ_SIZE = 256 << 10
_LARGEST_PART = 150_000
"""Octets of messages: with less than the default of net.core.wmem_max a socket may always send them at once."""

Answer = tuple[int, bytes]
"""An answer's type and body."""


class NetfilterSocket:
    """In one network namespace: that of the caller, or the one given."""

    def __init__(self, namespace: Namespace | None = None, group: int = 0) -> None:
        """`group` is a multicast group to listen to (NFNLGRP_*). Raises `KernelError`."""
        try:
            with entered(namespace):
                kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
                self._socket = socket.socket(socket.AF_NETLINK, kind, _NETLINK_NETFILTER)
        except OSError as error:
            raise _failure(error.errno, "netfilter cannot be talked to") from error
        self._socket.settimeout(_DEADLINE)
        self._socket.bind((0, 0))
        self.port: int = self._socket.getsockname()[0]
        """The socket's netlink port ID: the kernel marks what it does at our request with it."""
        if group:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        self._sequence = 0

    def get(self, message: bytes) -> Answer | None:
        """The answer to a question about one object, None where there is no such object. Raises `KernelError`."""
        self._send([message])
        for kind, _, sequence, body in self._answers():
            if sequence != self._sequence:
                continue
            if kind != NLMSG_ERROR:
                return kind, body
            if (code := _code(body)) != errno.ENOENT:
                raise _failure(code, "netfilter")
            return None
        raise AssertionError("answers never end")  # they end by raising

    def dump(self, message: bytes) -> list[Answer]:
        """All answers, none where what is asked about does not exist; read again where the tables changed meanwhile."""
        for _ in range(_DUMP_ATTEMPTS):
            answers, whole = self._dump_once(message)
            if whole:
                return answers
        raise _failure(errno.EAGAIN, "the packet filter changes faster than it can be read")

    def request(self, message: bytes, subject: str) -> bool:
        """Has one thing done; False where what it is about is not there. Raises `KernelError` about `subject`."""
        asked = bytearray(message)
        asked[6] |= NLM_F_ACK
        self._send([asked])
        for kind, _, sequence, body in self._answers():
            if kind != NLMSG_ERROR or sequence != self._sequence:
                continue
            if (code := _code(body)) not in (0, errno.ENOENT):
                raise _failure(code, f"the kernel refused a change: {os.strerror(code)}", subject)
            return not code
        raise AssertionError("answers never end")  # they end by raising

    def transact(self, messages: Sequence[bytes], subject: str) -> None:
        """Makes all the changes, or none and raises `KernelError` about `subject`."""
        if not messages:
            return
        begin, end = batch_ends()
        last = bytearray(messages[-1])
        last[6] |= NLM_F_ACK  # not the closing message: kernels before 6.10 do not acknowledge that
        first = self._sequence + 1
        self._send([begin, *messages[:-1], last, end])
        acknowledged = self._sequence - 1
        for kind, _, sequence, body in self._answers():
            if kind != NLMSG_ERROR or sequence < first:
                continue
            if code := _code(body):
                raise _failure(code, f"the kernel refused a change: {os.strerror(code)}", subject)
            if sequence == acknowledged:
                return

    def transact_in_parts(self, messages: Iterable[bytes], subject: str) -> None:
        """Makes the changes in order, as many at once as fit what a socket sends. Raises `KernelError` about `subject`:
        then those of earlier parts are made.
        """
        part, size = list[bytes](), 0
        for message in messages:
            if part and size + len(message) > _LARGEST_PART:
                self.transact(part, subject)
                part, size = [], 0
            part.append(message)
            size += len(message)
        self.transact(part, subject)

    async def receive(self) -> bytes:
        """The next datagram that the multicast group brings, on the running event loop. Raises `OSError`; ENOBUFS means
        that some were lost.
        """
        self._socket.setblocking(False)
        return await asyncio.get_running_loop().sock_recv(self._socket, _READ_SIZE)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _dump_once(self, message: bytes) -> tuple[list[Answer], bool]:
        request = bytearray(message)
        request[6:8] = (int.from_bytes(request[6:8], sys.byteorder) | NLM_F_DUMP).to_bytes(2, sys.byteorder)
        self._send([request])
        found: list[Answer] = []
        whole = True
        for kind, flags, sequence, body in self._answers():
            if sequence != self._sequence:
                continue
            whole = whole and not flags & NLM_F_DUMP_INTR
            if kind == NLMSG_DONE:
                break
            if kind == NLMSG_ERROR:
                if (code := _code(body)) == errno.ENOENT:
                    return [], True
                raise _failure(code, "netfilter")
            found.append((kind, body))
        return found, whole

    def _send(self, messages: Sequence[bytes | bytearray]) -> None:
        data = bytearray()
        for item in messages:
            self._sequence += 1
            start = len(data)
            data += item
            data[start + 8 : start + 12] = self._sequence.to_bytes(4, sys.byteorder)
        try:
            self._socket.sendto(data, (0, 0))
        except OSError as error:
            raise _failure(error.errno, f"netfilter: {error.strerror or error}") from error

    def _answers(self) -> Iterator[tuple[int, int, int, bytes]]:
        while True:
            try:
                data = self._socket.recv(_READ_SIZE)
            except TimeoutError:
                raise _failure(errno.ETIMEDOUT, f"netfilter: no answer within {_DEADLINE:g} s") from None
            except OSError as error:
                raise _failure(error.errno, f"netfilter: {error.strerror or error}") from error
            for kind, flags, sequence, _port, body in split(data):
                yield kind, flags, sequence, body


def _code(body: bytes) -> int:
    return -int.from_bytes(body[:4], sys.byteorder, signed=True)


def _failure(code: int | None, problem: str, where: str = "") -> KernelError:
    remedy = "it takes CAP_NET_ADMIN in the network namespace" if code == errno.EPERM else ""
    return KernelError(problem, where=where, remedy=remedy, errno=code or 0)
