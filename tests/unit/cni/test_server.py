"""The agent's side of the socket: every client hears an answer, none holds up another, and no descriptor stays."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from nankeen.cni import server
from nankeen.cni.error import CniError, Code
from nankeen.cni.protocol import MAX_REQUEST
from nankeen.cni.request import MAX_INPUT, Request, Verb
from nankeen.cni.result import Result, ResultAddress, ResultInterface
from nankeen.model.errors import InputError, KernelError
from tests.unit.cni.conftest import Client

CONFIG = b'{"cniVersion": "0.4.0", "name": "cbr0", "type": "nankeen"}'
ADD = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c0ffee",
    "CNI_NETNS": "/proc/self/ns/net",
    "CNI_IFNAME": "eth0",
}
RESULT = Result(
    (ResultInterface("eth0"),), (ResultAddress(IPv4Interface("10.5.34.2/24"), IPv4Address("10.5.34.1"), 0),), ()
)


def encoded(environment: dict[str, str], stdin: bytes = CONFIG) -> bytes:
    return b"".join(f"{name}={value}\0".encode() for name, value in environment.items()) + b"\0" + stdin


async def attaches(_request: Request, _descriptor: int | None) -> Result:
    return RESULT


@asynccontextmanager
async def serving(path: Path, handler: server.Handler, **limits: float) -> AsyncIterator[None]:
    with server.listening(path) as listener:
        task = asyncio.create_task(server.serve(listener, handler, **limits))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def exchange(path: Path, request: bytes, descriptors: tuple[int, ...] = ()) -> bytes:
    """What the server answers to these octets."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, str(path))
        if descriptors:
            socket.send_fds(connection, [request[:1]], descriptors)
            request = request[1:]
        await loop.sock_sendall(connection, request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := await loop.sock_recv(connection, 1 << 16):
            answer += part
        return answer


async def test_a_client_hears_what_the_handler_says(client: Client, own_namespace: int) -> None:
    heard: list[tuple[Verb, str, int]] = []

    async def handler(request: Request, descriptor: int | None) -> Result:
        assert descriptor is not None
        heard.append((request.verb, request.container, os.fstat(descriptor).st_ino))
        return RESULT

    async with serving(client.socket, handler):
        done = await client.run(CONFIG, **ADD)
    assert heard == [(Verb.ADD, "c0ffee", own_namespace)]
    assert done.status == 0
    assert json.loads(done.output) == json.loads(RESULT.render("0.4.0"))


async def test_a_deletion_is_answered_with_nothing(client: Client) -> None:
    async def handler(_request: Request, _descriptor: int | None) -> None:
        return None

    async with serving(client.socket, handler):
        done = await client.run(CONFIG, **(ADD | {"CNI_COMMAND": "DEL"}))
    assert (done.status, done.output) == (0, b"")


@pytest.mark.parametrize(
    "error, code",
    [
        (CniError(Code.TRY_AGAIN_LATER, "no lease yet"), 11),
        (KernelError("Operation not permitted"), 100),
        (PermissionError(13, "Permission denied"), 5),
        (RuntimeError("a defect"), 999),
    ],
)
async def test_a_handlers_error_is_told_in_the_version_asked_for(client: Client, error: Exception, code: int) -> None:
    async def handler(_request: Request, _descriptor: int | None) -> Result:
        raise error

    async with serving(client.socket, handler):
        done = await client.run(CONFIG, **ADD)
    body = json.loads(done.output)
    assert (done.status, body["code"], body["cniVersion"]) == (1, code, "0.4.0")


async def test_a_verb_that_is_not_served_is_a_proper_error(client: Client) -> None:
    async with serving(client.socket, attaches):
        done = await client.run(CONFIG, **(ADD | {"CNI_COMMAND": "UPDATE"}))
    body = json.loads(done.output)
    assert (done.status, body["code"], body["msg"]) == (1, 4, "unknown CNI_COMMAND: UPDATE")


async def test_a_handler_that_takes_too_long_is_given_up(client: Client) -> None:
    async def handler(_request: Request, _descriptor: int | None) -> Result:
        await asyncio.Event().wait()
        return RESULT

    async with serving(client.socket, handler, handle_seconds=0.01):
        done = await client.run(CONFIG, **ADD)
    assert (done.status, json.loads(done.output)["code"]) == (1, 11)


async def test_a_silent_client_holds_up_nobody_and_is_dropped(short_path: Path) -> None:
    path = short_path / "cni.sock"
    loop = asyncio.get_running_loop()
    async with serving(path, attaches, receive_seconds=0.05):
        with socket.socket(socket.AF_UNIX) as silent:
            silent.setblocking(False)
            await loop.sock_connect(silent, str(path))
            assert (await exchange(path, encoded(ADD)))[0] == 0
            assert await loop.sock_recv(silent, 1) == b""


@pytest.mark.parametrize("request_", [b"", b"\0", b"\0\0\0", b"no protocol", encoded(ADD, b""), encoded({"A": "B"})])
async def test_octets_that_are_no_request_are_answered_with_an_error(short_path: Path, request_: bytes) -> None:
    async with serving(short_path / "cni.sock", attaches):
        answer = await exchange(short_path / "cni.sock", request_)
    assert answer[0] == 1
    assert json.loads(answer[1:])["code"] in (Code.INVALID_ENVIRONMENT, Code.DECODING)


@pytest.mark.parametrize("length", [MAX_INPUT + 1, 2 * MAX_REQUEST])
async def test_a_request_that_is_too_long_is_read_to_its_end_and_refused(short_path: Path, length: int) -> None:
    async with serving(short_path / "cni.sock", attaches):
        answer = await exchange(short_path / "cni.sock", encoded(ADD, b" " * length))
    assert json.loads(answer[1:])["code"] == Code.DECODING


async def test_of_a_request_that_is_too_long_no_more_than_the_longest_is_kept() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        receiving = asyncio.create_task(server._receive(ours, []))
        theirs.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(theirs, bytes(2 * MAX_REQUEST))
        theirs.shutdown(socket.SHUT_WR)
        assert len(await receiving) == MAX_REQUEST


async def test_two_descriptors_are_refused(short_path: Path) -> None:
    async with serving(short_path / "cni.sock", attaches):
        answer = await exchange(short_path / "cni.sock", encoded(ADD), (0, 1))
    assert json.loads(answer[1:])["code"] == Code.INVALID_ENVIRONMENT


async def test_no_descriptor_stays_whatever_happens(short_path: Path, open_descriptors: Callable[[], int]) -> None:
    path = short_path / "cni.sock"
    verdicts = iter([None, RuntimeError("a defect"), TimeoutError()])

    async def handler(_request: Request, _descriptor: int | None) -> Result:
        if error := next(verdicts):
            raise error
        return RESULT

    async with serving(path, handler, receive_seconds=0.05):
        before = open_descriptors()
        for _ in range(3):
            await exchange(path, encoded(ADD), (0,))
        await exchange(path, b"no protocol", (0,))
        await exchange(path, encoded(ADD), (0, 1, 2))
        with socket.socket(socket.AF_UNIX) as silent:
            silent.connect(str(path))
            socket.send_fds(silent, [b"C"], [0])
            silent.setblocking(False)
            assert await asyncio.get_running_loop().sock_recv(silent, 1) == b""
        with socket.socket(socket.AF_UNIX) as gone:
            gone.connect(str(path))
            socket.send_fds(gone, [encoded(ADD)[:-1]], [0])
        await exchange(path, b"", ())  # by then the one before has been dealt with
        assert open_descriptors() == before


def test_the_socket_is_its_owners_alone_and_goes_with_the_server(short_path: Path) -> None:
    path = short_path / "run" / "cni.sock"
    with server.listening(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()


def test_a_socket_that_a_crash_left_is_taken_over_and_a_strangers_is_left_alone(short_path: Path) -> None:
    path = short_path / "cni.sock"
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
    with server.listening(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        path.unlink()
        stranger = socket.socket(socket.AF_UNIX)
        stranger.bind(str(path))
    with stranger:
        assert path.exists()


def test_a_second_server_is_refused_and_takes_nothing_from_the_first(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LOCK_SECONDS", 0)
    path = short_path / "cni.sock"
    with server.listening(path):
        before = path.stat().st_ino
        with pytest.raises(InputError, match=r"cni\.sock: another agent listens there; stop it first"):
            server.listening(path).__enter__()
        assert path.stat().st_ino == before
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    with server.listening(path):
        assert path.exists()


def test_who_still_has_the_lock_of_a_killed_server_is_waited_for(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a program has it that the server was just starting: the fork has happened, the execution has not."""
    held = os.open(short_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            os.close(held)

    monkeypatch.setattr(time, "sleep", pause)
    with server.listening(short_path / "cni.sock"):
        assert len(pauses) == 3


async def test_a_peer_that_is_neither_root_nor_ourselves_hears_nothing(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_CREDENTIALS", _Strangers())
    async with serving(short_path / "cni.sock", attaches):
        with suppress(ConnectionError):
            assert await exchange(short_path / "cni.sock", encoded(ADD)) == b""


class _Strangers:
    """The credentials of a peer who is user 65534."""

    size = 12

    def unpack(self, _data: bytes) -> tuple[int, int, int]:
        return 1, 65_534, 65_534
