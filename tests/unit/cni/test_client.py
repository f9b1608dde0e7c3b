"""The executable against an agent that is only a socket."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nankeen.cni.protocol import MAX_REQUEST, split_request
from nankeen.cni.request import MAX_INPUT
from tests.unit.cni.conftest import Client

CONFIG = b'{"cniVersion": "1.1.0", "name": "cbr0", "type": "nankeen"}'


@asynccontextmanager
async def agent(path: Path, answer: bytes) -> AsyncIterator[asyncio.Future[tuple[bytes, int]]]:
    """An agent that gives one answer; the future is the request it got, and the inode of the descriptor with it."""
    path.parent.mkdir()
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield loop.run_in_executor(None, _serve_one, listener, answer)


def _serve_one(listener: socket.socket, answer: bytes) -> tuple[bytes, int]:
    connection, _ = listener.accept()
    with connection:
        request, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 4)
        while part := connection.recv(1 << 16):
            request += part
        connection.sendall(answer)
    inode = 0
    for descriptor in descriptors:
        inode = os.fstat(descriptor).st_ino
        os.close(descriptor)
    return request, inode


async def test_the_agent_gets_the_variables_the_input_and_the_namespace(client: Client, own_namespace: int) -> None:
    async with agent(client.socket, b"\0{}\n") as served:
        done = await client.run(CONFIG, CNI_COMMAND="ADD", CNI_NETNS="/proc/self/ns/net", HOME="/root", CNI_ARGS="A=\n")
        request, inode = await served
    assert split_request(request) == (
        {"CNI_COMMAND": "ADD", "CNI_NETNS": "/proc/self/ns/net", "CNI_ARGS": "A=\n"},
        CONFIG,
    )
    assert inode == own_namespace
    assert (done.status, done.output, done.errors) == (0, b"{}\n", b"")


async def test_the_agents_status_is_the_exit_status(client: Client) -> None:
    async with agent(client.socket, b"\x01{}\n") as served:
        assert (await client.run(CONFIG, CNI_COMMAND="ADD")).status == 1
        await served


async def test_a_namespace_that_is_gone_is_left_to_the_agent_to_judge(client: Client) -> None:
    async with agent(client.socket, b"\0") as served:
        done = await client.run(CONFIG, CNI_COMMAND="DEL", CNI_NETNS="/run/netns/gone")
        request, inode = await served
    assert inode == 0
    assert b"CNI_NETNS=/run/netns/gone\0" in request
    assert (done.status, done.output) == (0, b"")


async def test_a_namespace_path_that_is_a_fifo_does_not_hold_the_client_up(client: Client, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    async with agent(client.socket, b"\0") as served:
        assert (await client.run(CONFIG, CNI_COMMAND="ADD", CNI_NETNS=str(tmp_path / "fifo"))).status == 0
        await served


async def test_an_input_of_any_length_ends(client: Client) -> None:
    async with agent(client.socket, b"\0") as served:
        await client.run(b" " * (MAX_INPUT + 4096), CNI_COMMAND="ADD")
        request, _ = await served
    _, stdin = split_request(request)
    assert len(stdin) == MAX_INPUT + 1
    assert len(request) < MAX_REQUEST


@pytest.mark.parametrize("verb", ["ADD", "DEL", "STATUS"])
async def test_without_an_agent_the_runtime_is_told_to_try_again(client: Client, verb: str) -> None:
    done = await client.run(CONFIG, CNI_COMMAND=verb)
    assert done.status == 1
    assert json.loads(done.output) == {
        "cniVersion": "1.1.0",
        "code": 11,
        "msg": f"the nankeen agent is not there: {client.socket}: No such file or directory",
    }


async def test_an_agent_that_ends_in_between_is_told(client: Client) -> None:
    async with agent(client.socket, b"") as served:
        done = await client.run(CONFIG, CNI_COMMAND="ADD")
        await served
    error = json.loads(done.output)
    assert (done.status, error["code"]) == (1, 11)
    assert error["msg"] == f"the nankeen agent closed {client.socket} without an answer"


async def test_an_agent_that_does_not_answer_is_given_up(client: Client) -> None:
    text = client.executable.read_text()
    assert text.count("\nSECONDS = 30\n") == 1
    client.executable.write_text(text.replace("\nSECONDS = 30\n", "\nSECONDS = 1\n"))
    client.socket.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(client.socket))
        listener.listen()
        done = await client.run(CONFIG, CNI_COMMAND="ADD")
    error = json.loads(done.output)
    assert (done.status, error["code"]) == (1, 11)
    assert error["msg"] == f"the nankeen agent did not answer on {client.socket} within 1 seconds"


async def test_version_is_answered_without_an_agent(client: Client) -> None:
    done = await client.run(b'{"cniVersion": "1.0.0"}', CNI_COMMAND="VERSION")
    assert done.status == 0
    assert json.loads(done.output) == {
        "cniVersion": "1.1.0",
        "supportedVersions": ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    }


async def test_a_person_who_runs_it_is_told_what_it_is(client: Client) -> None:
    done = await client.run()
    assert (done.status, done.output) == (0, b"")
    assert done.errors.startswith(b"nankeen CNI plugin\nCNI protocol versions supported: 0.1.0, ")
