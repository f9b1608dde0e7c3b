"""The agent's side of the CNI socket: receives requests with their namespace, has them handled, sends the answers.

Each connection is a task with a deadline for every step, so a slow or silent client holds up nobody. Whoever may
connect may attach to any namespace: the socket is the owner's alone, and the peer's user is checked besides.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nankeen.cni.error import CniError, Code, as_cni_error
from nankeen.cni.protocol import MAX_REQUEST, Answer, split_request
from nankeen.cni.request import Request, parse_request, requested_version
from nankeen.cni.result import Result
from nankeen.model.errors import InputError, NankeenError

SOCKET = Path("/run/nankeen/cni.sock")
RECEIVE_SECONDS = 5.0
HANDLE_SECONDS = 20.0
"""Less than the client's patience, so that it hears the reason."""
SEND_SECONDS = 5.0
LOCK_SECONDS = 2.0
"""How long a server that begins waits for another to let go of the place."""

Handler = Callable[[Request, int | None], Awaitable[Result | bytes | None]]
"""Serves a request, with the descriptor of the pod's namespace where there is one: it is lent, the server closes it.
What it gives is printed: octets as they are, as another plugin's answer. Raises what `as_cni_error` can tell."""

_CREDENTIALS = struct.Struct("=iII")
"""struct ucred (unix(7)): process, user and group."""
_MAX_DESCRIPTORS = 8
_ACCEPT_PAUSE, _LOCK_PAUSE = 0.1, 0.02
"""Seconds."""
_log = logging.getLogger(__name__)


@contextmanager
def listening(path: Path = SOCKET) -> Iterator[socket.socket]:
    """The listening socket; it can be connected to from here on, and is removed afterwards.

    Raises `InputError` where another process listens there, and `OSError`.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    with _alone(path), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        path.unlink(missing_ok=True)
        listener.setblocking(False)
        listener.bind(str(path))
        inode = path.stat().st_ino
        try:
            path.chmod(0o600)
            listener.listen(4096)
            yield listener
        finally:
            # Somebody else may have put a socket of his own in its place.
            if path.exists() and path.stat().st_ino == inode:
                path.unlink()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keeps other servers from the socket by a lock on its directory, which no crash leaves behind (flock(2)).

    Without it a second agent would take the socket from the first unnoticed, and both would undo each other's work. A
    program that a killed agent was just starting has the lock, too, until it is executed: that is waited for.
    """
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    deadline = time.monotonic() + LOCK_SECONDS
    try:
        while not _lock(directory):
            if time.monotonic() >= deadline:
                raise InputError(
                    "another agent listens there", where=str(path), remedy="stop it first: one agent keeps a node"
                )
            time.sleep(_LOCK_PAUSE)
        yield
    finally:
        os.close(directory)


def _lock(directory: int) -> bool:
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def serve(
    listener: socket.socket,
    handler: Handler,
    *,
    receive_seconds: float = RECEIVE_SECONDS,
    handle_seconds: float = HANDLE_SECONDS,
) -> None:
    """Serves the listening socket until cancelled; what is being handled then is cancelled, too."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:  # out of descriptors: they come back as requests end
                _log.error("cannot accept on the CNI socket: %s", error)
                await asyncio.sleep(_ACCEPT_PAUSE)
                continue
            tasks.create_task(
                _serve_connection(connection, handler, receive_seconds, handle_seconds), name="cni request"
            )


async def _serve_connection(
    connection: socket.socket, handler: Handler, receive_seconds: float, handle_seconds: float
) -> None:
    descriptors: list[int] = []
    with connection:
        try:
            if not _trusted(connection):
                return
            async with asyncio.timeout(receive_seconds):
                data = await _receive(connection, descriptors)
            answer = await _answer(data, descriptors, handler, handle_seconds)
            async with asyncio.timeout(SEND_SECONDS):
                await asyncio.get_running_loop().sock_sendall(connection, answer.encode())
        except TimeoutError:
            _log.warning("a CNI client was too slow")
        except OSError as error:
            _log.warning("a CNI client went away: %s", error)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _trusted(connection: socket.socket) -> bool:
    """Whether the peer is root or ourselves."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process, user, _ = _CREDENTIALS.unpack(credentials)
    if user in (0, os.geteuid()):
        return True
    _log.warning("refused process %d of user %d on the CNI socket", process, user)
    return False


async def _receive(connection: socket.socket, descriptors: list[int]) -> bytes:
    """The request up to the end of writing. What is beyond the longest is read, so that the client hears an answer, and
    dropped. Descriptors are added to the list at once: whatever happens, the caller closes them.
    """
    data = bytearray()
    while True:
        try:
            part, received, _, _ = socket.recv_fds(connection, 1 << 16, _MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            await _readable(connection)
            continue
        descriptors += received
        if not part:
            return bytes(data)
        data += part[: MAX_REQUEST - len(data)]


async def _readable(connection: socket.socket) -> None:
    """Returns when there is something to receive: asyncio itself receives no descriptors."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection)


async def _answer(data: bytes, descriptors: list[int], handler: Handler, seconds: float) -> Answer:
    stdin = b""
    try:
        environment, stdin = split_request(data)
        request = parse_request(environment, stdin)
        async with asyncio.timeout(seconds):
            result = await handler(request, _namespace(descriptors))
    except Exception as error:  # noqa: BLE001  (the runtime hears of whatever it is)
        if not isinstance(error, NankeenError | OSError):
            _log.exception("a CNI request met a defect")
        refusal = as_cni_error(error)
        _log.warning("CNI request refused with code %d: %s", refusal.code, refusal)
        return Answer(1, refusal.render(requested_version(stdin)))
    return Answer(0, result.render(request.config.version) if isinstance(result, Result) else result or b"")


def _namespace(descriptors: list[int]) -> int | None:
    if len(descriptors) > 1:
        raise CniError(Code.INVALID_ENVIRONMENT, f"{len(descriptors)} descriptors for one namespace")
    return descriptors[0] if descriptors else None
