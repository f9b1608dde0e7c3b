"""The executable, in C and in Python, against an agent that is only a socket."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import pytest

from nankeen.agent import status
from nankeen.agent.status import Status
from nankeen.cni.install import install_executable
from nankeen.cni.protocol import MAX_REQUEST, split_request
from nankeen.cni.request import MAX_INPUT
from tests.unit.cni.conftest import Client, Contents, Executed

CONFIG = b'{"cniVersion": "1.1.0", "name": "cbr0", "type": "nankeen"}'


@asynccontextmanager
async def agent(path: Path, answer: bytes, *parts: bytes) -> AsyncIterator[asyncio.Future[tuple[bytes, int]]]:
    """An agent that gives one answer, maybe in parts; the future is the request it got, and the inode of the descriptor
    with it.
    """
    loop = asyncio.get_running_loop()
    with listening(path) as listener:
        yield loop.run_in_executor(None, _serve_one, listener, (answer, *parts))


@contextmanager
def listening(path: Path, length: int = 8) -> Iterator[socket.socket]:
    """A socket at the path with a queue of that length, which is gone afterwards."""
    path.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(length)
        try:
            yield listener
        finally:
            path.unlink()


def _serve_one(listener: socket.socket, answer: Sequence[bytes]) -> tuple[bytes, int]:
    connection, _ = listener.accept()
    with connection:
        request, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 4)
        while part := connection.recv(1 << 16):
            request += part
        with suppress(BrokenPipeError):  # a client that has read enough
            for part in answer:
                connection.sendall(part)
                time.sleep(0.01 if len(answer) > 1 else 0)
    inode = 0
    for descriptor in descriptors:
        inode = os.fstat(descriptor).st_ino
        os.close(descriptor)
    return request, inode


def message(done: Executed) -> tuple[int, str]:
    """The code and the words of the error that an execution ended with."""
    assert (done.status, done.errors) == (1, b"")
    error = json.loads(done.output)
    assert error.keys() <= {"cniVersion", "code", "msg", "details"}
    return error["code"], error["msg"]


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


@pytest.mark.parametrize("length", [0, MAX_INPUT, MAX_INPUT + 1, 10 * MAX_INPUT])
async def test_an_input_of_any_length_ends(client: Client, length: int) -> None:
    async with agent(client.socket, b"\0") as served:
        assert (await client.run(b" " * length, CNI_COMMAND="ADD")).status == 0
        request, _ = await served
    _, stdin = split_request(request)
    assert len(stdin) == min(length, MAX_INPUT + 1)
    assert len(request) < MAX_REQUEST


@pytest.mark.parametrize("verb, code", [("ADD", 11), ("DEL", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)])
async def test_without_an_agent_the_runtime_is_told_to_try_again(hasty_client: Client, verb: str, code: int) -> None:
    done = await hasty_client.run(CONFIG, CNI_COMMAND=verb)
    assert message(done) == (code, f"the nankeen agent is not there: {hasty_client.socket}: No such file or directory")
    assert json.loads(done.output)["cniVersion"] == "1.1.0"
    assert "details" not in json.loads(done.output)


@pytest.mark.parametrize(
    "reason",
    ["the registry is away", 'a "quoted" \\ path', "é\n\U0001f600", "x" * 300, "\u2028" * 50, '"reason": "no"'],
)
async def test_without_an_agent_its_last_words_are_told(hasty_client: Client, reason: str) -> None:
    hasty_client.socket.parent.mkdir()
    status.write(hasty_client.socket.parent / "status.json", Status('"reason": "not this"', reason=reason))
    error = json.loads((await hasty_client.run(CONFIG, CNI_COMMAND="ADD")).output)
    assert error["details"] == f"the agent said last: {reason}"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'"reason": "', b'"reason": "\\', b'"reason": "a\n"', b'"reason": "\xff"', b'"reason": "\0"',
     b'"reason": "' + b"x" * 302 + b'"', b'"reason": "' + b"y" * (1 << 17), b'{"ready": true, "reason": ""}'],
)  # fmt: skip
async def test_a_status_file_that_says_nothing_is_left_out(hasty_client: Client, content: bytes) -> None:
    hasty_client.socket.parent.mkdir()
    (hasty_client.socket.parent / "status.json").write_bytes(content)
    error = json.loads((await hasty_client.run(CONFIG, CNI_COMMAND="STATUS")).output)
    assert error["code"] == 50
    assert "details" not in error


async def test_nobody_behind_the_socket_is_no_agent_either(hasty_client: Client) -> None:
    hasty_client.socket.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(hasty_client.socket))
        done = await hasty_client.run(CONFIG, CNI_COMMAND="ADD")
    assert message(done) == (11, f"the nankeen agent is not there: {hasty_client.socket}: Connection refused")


@pytest.mark.parametrize("verb, code", [("STATUS", 50), ("CHECK", 11), ("GC", 11)])
async def test_only_add_and_del_wait_for_an_agent(client: Client, verb: str, code: int) -> None:
    assert message(await client.run(CONFIG, CNI_COMMAND=verb))[0] == code


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
async def test_an_agent_that_is_restarted_is_waited_for(client: Client, verb: str) -> None:
    loop = asyncio.get_running_loop()
    with listening(client.socket) as listener:
        running = asyncio.create_task(client.run(CONFIG, CNI_COMMAND=verb, CNI_NETNS="/proc/self/ns/net"))
        connection, _ = await loop.run_in_executor(None, listener.accept)
    # The first agent has gone, its socket with it, and has not answered. That the client looks now can not be awaited.
    connection.close()
    await asyncio.sleep(0.1)
    async with agent(client.socket, b"\0{}\n") as served:
        assert await running == Executed(0, b"{}\n", b"")
        request, inode = await served
    assert split_request(request)[1] == CONFIG
    assert inode


async def test_an_agent_that_ends_in_between_is_told(hasty_client: Client) -> None:
    async with agent(hasty_client.socket, b"") as served:
        done = await hasty_client.run(CONFIG, CNI_COMMAND="ADD")
        await served
    assert message(done) == (11, f"the nankeen agent closed {hasty_client.socket} without an answer")


async def test_an_agent_that_does_not_answer_is_given_up(hasty_client: Client) -> None:
    with listening(hasty_client.socket):
        done = await hasty_client.run(CONFIG, CNI_COMMAND="ADD")
    assert message(done) == (11, f"the nankeen agent did not answer on {hasty_client.socket} within 1 seconds")


async def test_an_agent_that_does_not_read_is_given_up(hasty_client: Client) -> None:
    with listening(hasty_client.socket):
        done = await hasty_client.run(b" " * MAX_INPUT, CNI_COMMAND="ADD")
    assert message(done) == (11, f"the nankeen agent did not answer on {hasty_client.socket} within 1 seconds")


async def test_an_agent_that_keeps_answering_is_given_up_all_the_same(hasty_client: Client) -> None:
    async with agent(hasty_client.socket, *[b" "] * 150) as served:
        done = await hasty_client.run(CONFIG, CNI_COMMAND="ADD")
        await served
    assert message(done) == (11, f"the nankeen agent did not answer on {hasty_client.socket} within 1 seconds")


async def test_an_answer_in_parts_is_printed_whole(client: Client) -> None:
    async with agent(client.socket, b"\0", b"{", b"}", b"\n") as served:
        assert await client.run(CONFIG, CNI_COMMAND="ADD") == Executed(0, b"{}\n", b"")
        await served


async def test_whatever_the_agent_answers_is_printed_as_it_is(client: Client) -> None:
    octets = bytes(range(256)) * 1024
    async with agent(client.socket, b"\xff" + octets) as served:
        done = await client.run(CONFIG, CNI_COMMAND="ADD")
        await served
    assert (done.status, done.errors) == (255, b"")
    assert sha256(done.output).digest() == sha256(octets).digest()  # a difference would be long to tell


async def test_an_answer_has_a_limit(client: Client) -> None:
    async with agent(client.socket, b"\0" * (2 << 20)) as served:
        done = await client.run(CONFIG, CNI_COMMAND="ADD")
        await served
    assert message(done) == (5, f"the nankeen agent answered more than 1048576 bytes on {client.socket}")


async def test_an_answer_at_its_limit_is_printed(client: Client) -> None:
    async with agent(client.socket, b"\0" * (1 << 20)) as served:
        assert len((await client.run(CONFIG, CNI_COMMAND="ADD")).output) == (1 << 20) - 1
        await served


async def test_variables_that_are_no_text_are_passed_on_as_they_are(client: Client) -> None:
    environment = {"CNI_COMMAND": "ADD", "CNI_ARGS": 'K=\\"}\n\x01', "CNI_": "", "CNI_X": "\udcff", "XCNI_Y": "no"}
    async with agent(client.socket, b"\0") as served:
        await client.run(CONFIG, **environment)
        request, _ = await served
    variables, _, _ = request.partition(b"\0\0")
    assert sorted(variables.split(b"\0")) == [
        b"CNI_=",
        b'CNI_ARGS=K=\\"}\n\x01',
        b"CNI_COMMAND=ADD",
        b"CNI_X=\xff",
    ]


async def test_an_odd_path_of_the_socket_is_told_in_json(short_path: Path, contents: Contents) -> None:
    path = short_path / 'a "b" \\c é.sock'
    odd = Client(install_executable(short_path / "bin", contents(path, SECONDS=1, PATIENCE=0)), path)
    assert message(await odd.run(CONFIG, CNI_COMMAND="ADD"))[1].startswith(f"the nankeen agent is not there: {path}: ")


def test_without_standard_input_the_runtime_is_told(client: Client) -> None:
    done = shell(f"{client.executable} <&-", "ADD")
    assert message(done) == (5, "cannot read standard input: Bad file descriptor")


@pytest.mark.parametrize("closed", ["<&- >&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full"])
def test_an_answer_that_cannot_be_written_is_a_failure(client: Client, closed: str) -> None:
    done = shell(f"echo | {client.executable} {closed}", "VERSION")
    assert (done.status, done.output) == (1, b"")
    assert bool(done.errors) == ("2>&-" not in closed)


def shell(line: str, verb: str) -> Executed:
    """How a command line of sh ends: it can close descriptors."""
    done = subprocess.run(["sh", "-c", line], env={"CNI_COMMAND": verb}, capture_output=True, check=False)
    return Executed(done.returncode, done.stdout, done.stderr)


async def test_a_runtime_that_has_gone_kills_no_client(client: Client) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    async with agent(client.socket, b"\0{}\n") as served:
        process = await asyncio.create_subprocess_exec(
            client.executable,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=writer,
            stderr=asyncio.subprocess.PIPE,
            env={"CNI_COMMAND": "ADD"},
        )
        os.close(writer)
        _, errors = await process.communicate()
        await served
    assert (process.returncode, errors) == (1, b"nankeen: cannot write the answer: Broken pipe\n")


async def test_a_connection_does_not_take_the_place_of_a_closed_output(client: Client) -> None:
    """What is printed would go to the agent."""
    async with agent(client.socket, b"\0{}\n") as served:
        process = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            f"{client.executable} </dev/null >&-",
            env={"CNI_COMMAND": "ADD"},
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
        assert await served == (b"CNI_COMMAND=ADD\0\0", 0)
    assert (process.returncode, errors) == (1, b"nankeen: cannot write the answer: Bad file descriptor\n")


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
