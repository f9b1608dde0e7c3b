"""The data path's side of its control socket, for a loop of its own: without asyncio, and never waiting for anybody.

    listener = Listener(path)
    …                                                       the main loop polls `listener.fileno()` for reading, and:
    for connection, request in listener.ready():
        listener.answer(connection, handle(request))

Whoever may connect may redirect pods' packets: the socket is the owner's alone, and the peer's user is checked besides.
What is no request is answered here, with an error.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from nankeen.model.errors import InputError, KernelError
from nankeen.tunnel.control import LONGEST, Answer, Refused, Request, decode_request, encode_answer

_CREDENTIALS = struct.Struct("=iII")
"""struct ucred (unix(7)): process, user and group."""
_MOST = 16
"""Connections at one time: there is one agent, and perhaps a person who looks."""
_CHUNK = 1 << 18


@dataclass(slots=True, eq=False)
class Connection:
    """Somebody who asks. Requests are answered in the order in which they came."""

    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)
    """The beginning of a line."""
    lines: deque[bytes] = field(default_factory=deque)
    """What was received whole, and has its turn when all before it is answered."""
    asked: bool = False
    """Whether a request is out that has to be answered."""
    unsent: bytearray = field(default_factory=bytearray)
    ended: bool = False
    """Nothing more will come."""


class Listener:
    """The listening socket and its connections, behind one descriptor."""

    def __init__(self, path: Path) -> None:
        """Can be connected to from here on. Raises `KernelError` where another process listens there, and `OSError`."""
        self._path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock(path)
        self._connections: dict[int, Connection] = {}
        self._epoll = select.epoll()
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        path.unlink(missing_ok=True)
        self._listening.bind(str(path))
        self._inode = path.stat().st_ino
        path.chmod(0o600)
        self._listening.listen(_MOST)
        self._epoll.register(self._listening, select.EPOLLIN)

    def fileno(self) -> int:
        """Readable when `ready` has something to do. It stays the same."""
        return self._epoll.fileno()

    def ready(self) -> list[tuple[Connection, Request]]:
        """The requests whose turn it is, one of each connection at most; each is to be answered."""
        found = []
        for descriptor, events in self._epoll.poll(0):
            connection = self._connections.get(descriptor)
            if connection is None:
                self._accept()
                continue
            if not events & select.EPOLLOUT:
                _receive(connection)
            self._flush(connection)
            if not connection.unsent and (request := self._next(connection)) is not None:
                found.append((connection, request))
        return found

    def answer(self, connection: Connection, answer: Answer) -> None:
        """Sends an answer, as far as that goes at once, and the rest when it can. One who has gone is not told."""
        connection.asked = False
        connection.unsent += encode_answer(answer)
        self._flush(connection)

    def close(self) -> None:
        """Listens no more, and takes the socket away."""
        for connection in list(self._connections.values()):
            self._drop(connection)
        self._listening.close()
        self._epoll.close()
        if self._path.exists() and self._path.stat().st_ino == self._inode:
            self._path.unlink()
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        try:
            accepted, _ = self._listening.accept()
        except OSError:  # it has gone again, or there are no descriptors left: it is asked about again
            return
        accepted.setblocking(False)
        if len(self._connections) >= _MOST or not _is_trusted(accepted):
            accepted.close()
            return
        self._connections[accepted.fileno()] = Connection(accepted)
        self._epoll.register(accepted, select.EPOLLIN)

    def _next(self, connection: Connection) -> Request | None:
        """The connection's next request; what is none on the way to it is answered."""
        while connection.lines and not connection.unsent:
            try:
                request = decode_request(connection.lines.popleft())
            except InputError as error:
                self.answer(connection, Refused(error.problem))
            else:
                connection.asked = True
                self._watch(connection)
                return request
        return None

    def _flush(self, connection: Connection) -> None:
        """Sends what can be sent now."""
        if connection.socket.fileno() < 0:
            return
        try:
            while connection.unsent:
                del connection.unsent[: connection.socket.send(connection.unsent)]
        except BlockingIOError:
            pass
        except OSError:  # it did not wait for the answer, which is its own affair
            self._drop(connection)
            return
        self._watch(connection)

    def _watch(self, connection: Connection) -> None:
        """Has the loop woken for what comes next: sending, a line that waits for its turn, or more to read."""
        if connection.asked:
            events = 0
        elif connection.unsent or connection.lines:
            events = select.EPOLLOUT
        elif connection.ended:
            self._drop(connection)
            return
        else:
            events = select.EPOLLIN
        self._epoll.modify(connection.socket, events)

    def _drop(self, connection: Connection) -> None:
        if self._connections.pop(connection.socket.fileno(), None) is not None:
            self._epoll.unregister(connection.socket)
            connection.socket.close()


def _receive(connection: Connection) -> None:
    """Reads what is there. A line that is too long is the last: its beginning is read as one, and is no request."""
    try:
        while len(connection.received) <= LONGEST:
            chunk = connection.socket.recv(_CHUNK)
            if not chunk:
                connection.ended = True
                break
            connection.received += chunk
    except BlockingIOError:
        pass
    except OSError:
        connection.ended = True
    *lines, rest = bytes(connection.received).split(b"\n")
    if len(rest) > LONGEST:
        connection.ended, lines, rest = True, [*lines, rest], b""
    connection.lines.extend(lines)
    connection.received = bytearray(rest)


def _is_trusted(connection: socket.socket) -> bool:
    """Whether the peer is root or ourselves."""
    _, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return user in (0, os.geteuid())


def _lock(path: Path) -> int:
    """Keeps other processes from the socket, by a lock beside it that no crash leaves behind (flock(2))."""
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise KernelError("another data path listens there", where=str(path), remedy="stop it first") from error
    return lock
