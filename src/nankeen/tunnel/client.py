"""The agent's side of the data path's control socket."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Self

from nankeen.model.errors import InputError, KernelError
from nankeen.tunnel.control import (
    LONGEST,
    SOCKET,
    Answer,
    Ask,
    Change,
    Configure,
    Known,
    Refused,
    Report,
    Request,
    Settings,
    Show,
    Stop,
    decode_answer,
    encode_request,
)

_CREDENTIALS = struct.Struct("=iII")
"""struct ucred: process, user and group."""
_SECONDS = 5.0
"""How long the data path may take for an answer: one that takes longer is as good as dead."""


class Client:
    """A connection to a data path. Its methods raise `KernelError` where that refuses, does not answer, or has gone."""

    def __init__(self, transport: asyncio.Transport, wire: _Wire, pid: int) -> None:
        self.pid = pid
        """The process's number, as it is known in this process's PID namespace; 0 where it is not."""
        self.process = _descriptor(pid)
        """A pidfd, until `close`; None where the process cannot be seen from here."""
        self._transport = transport
        self._wire = wire
        self._turn = asyncio.Lock()

    @classmethod
    async def connect(cls, path: Path = SOCKET) -> Self:
        """To whoever listens there. Raises `KernelError`."""
        try:
            transport, wire = await asyncio.get_running_loop().create_unix_connection(_Wire, str(path))
        except OSError as error:
            raise KernelError(
                f"no data path listens: {error.strerror}", where=str(path), errno=error.errno or 0
            ) from error
        pid, user = _peer(transport.get_extra_info("socket"))
        if user not in (0, os.geteuid()):
            transport.abort()
            raise KernelError(f"user {user} listens, who is not trusted", where=str(path), remedy="remove the socket")
        return cls(transport, wire, pid)

    @property
    def is_open(self) -> bool:
        return not self._transport.is_closing() and not self._wire.ended.is_set()

    async def ended(self) -> None:
        """Returns when the connection is no more, whoever ended it: as a rule, because the process is no more."""
        await self._wire.ended.wait()

    async def configure(self, settings: Settings) -> None:
        """Tells all there is to know."""
        await self._order(Configure(settings))

    async def change(self, change: Change) -> None:
        """Tells what has changed since."""
        await self._order(change)

    async def stop(self) -> None:
        """Has the process end; it ends after its answer."""
        await self._order(Stop())

    async def report(self) -> Report:
        """What the data path has done."""
        answer = await self._ask(Ask())
        if not isinstance(answer, Report):
            raise KernelError("it does not say what it has done", where=self._where)
        return answer

    def close(self) -> None:
        """Lets go of the data path, which goes on."""
        self._transport.abort()
        if self.process is not None:
            os.close(self.process)
            self.process = None

    @property
    def _where(self) -> str:
        return f"data path, process {self.pid}"

    async def _order(self, request: Request) -> None:
        answer = await self._ask(request)
        if isinstance(answer, Refused):
            raise KernelError(answer.problem, where=self._where)

    async def _ask(self, request: Request) -> Answer:
        async with self._turn:
            try:
                async with asyncio.timeout(_SECONDS):
                    self._transport.write(encode_request(request))
                    return decode_answer(await self._wire.line())
            except (EOFError, InputError, TimeoutError) as error:
                self._transport.abort()
                problem = f"no answer within {_SECONDS:g} s" if isinstance(error, TimeoutError) else str(error)
                raise KernelError(problem, where=self._where) from error
            except asyncio.CancelledError:  # what is still to come would be taken for the answer to something else
                self._transport.abort()
                raise


def report_now(path: Path, seconds: float) -> Report:
    """What the data path that listens there has done: for who cannot await it. Raises `KernelError`, also where it says
    nothing for that long.
    """
    answer = _ask_now(path, seconds, Ask())
    if not isinstance(answer, Report):
        raise KernelError("it does not say what it has done", where=str(path))
    return answer


def told_now(path: Path, seconds: float) -> Settings | None:
    """What the data path that listens there goes by, None where it was told nothing. Raises as `report_now` does."""
    answer = _ask_now(path, seconds, Show())
    if not isinstance(answer, Known):
        raise KernelError("it does not say what it was told", where=str(path))
    return answer.settings


def _ask_now(path: Path, seconds: float, request: Request) -> Answer:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(seconds)
            connection.connect(str(path))
            connection.sendall(encode_request(request))
            with connection.makefile("rb") as lines:
                return decode_answer(lines.readline(LONGEST))
    except (OSError, InputError) as error:
        raise KernelError(f"the data path does not answer: {error}", where=str(path)) from error


class _Wire(asyncio.Protocol):
    """Lines, as they come."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self._transport: asyncio.BaseTransport | None = None
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._received = bytearray()

    async def line(self) -> bytes:
        """The next line. Raises `EOFError`."""
        if self.ended.is_set() and self._lines.empty():
            raise EOFError("it has ended")
        if line := await self._lines.get():
            return line
        raise EOFError("it has ended")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if b"\n" in data:
            *lines, rest = bytes(self._received).split(b"\n")
            self._received = bytearray(rest)
            for line in lines:
                self._lines.put_nowait(line)
        if len(self._received) > LONGEST and self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (it has ended, whatever the reason)
        self.ended.set()
        self._lines.put_nowait(b"")


def _peer(connection: socket.socket) -> tuple[int, int]:
    """The process and the user at the other end (SO_PEERCRED, unix(7))."""
    pid, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, user


def _descriptor(pid: int) -> int | None:
    """The number means that process as long as the connection stands: so this is asked first."""
    with suppress(OSError):
        return os.pidfd_open(pid) if pid else None
    return None
