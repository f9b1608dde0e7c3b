"""Clients that are really executed, in both languages, and short paths: a Unix socket's has 107 bytes."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from nankeen.cni import build, install
from nankeen.cni import client as python_client
from nankeen.model.errors import NankeenError

Contents = Callable[..., bytes]
"""An executable that asks the agent at a socket, its SECONDS and PATIENCE as given."""


@dataclass(frozen=True)
class Executed:
    """How an execution of the client ended."""

    status: int
    output: bytes
    errors: bytes


@dataclass(frozen=True)
class Client:
    """The client as installed, to ask an agent on `socket`."""

    executable: Path
    socket: Path

    async def run(self, stdin: bytes = b"", **environment: str) -> Executed:
        process = await asyncio.create_subprocess_exec(
            self.executable,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        output, errors = await process.communicate(stdin)
        if process.stdin is not None:  # a client that ends before it has read all: nobody else looks at that error
            with suppress(BrokenPipeError, ConnectionResetError):
                await process.stdin.wait_closed()
        assert process.returncode is not None
        return Executed(process.returncode, output, errors)


@pytest.fixture
def own_namespace() -> int:
    """The inode of the network namespace that the tests run in."""
    return Path("/proc/self/ns/net").stat().st_ino


@pytest.fixture
def short_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="nk-") as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def compile_client(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compiles the client in C with some definitions, once for each set of them."""
    cache = tmp_path_factory.mktemp("compiled")

    def compile_(*defines: str) -> Path:
        try:
            return build.build(cache, defines)
        except NankeenError as error:
            pytest.skip(f"the client in C cannot be compiled here: {error}")

    return compile_


@pytest.fixture(params=["c", "python"])
def contents(request: pytest.FixtureRequest, compile_client: Callable[..., Path]) -> Contents:
    """Both twins, one after the other."""

    def compiled(socket: Path, **changes: int) -> bytes:
        program = compile_client(*(f"{name}={value}" for name, value in changes.items()))
        return install.compiled_executable(program, str(socket), str(socket.parent / "status.json"))

    def interpreted(socket: Path, **changes: int) -> bytes:
        text = install.python_executable(str(socket), str(socket.parent / "status.json")).decode()
        for name, value in changes.items():
            before = f"\n{name} = {getattr(python_client, name)}\n"
            assert text.count(before) == 1
            text = text.replace(before, f"\n{name} = {value}\n")
        return text.encode()

    return compiled if request.param == "c" else interpreted


@pytest.fixture
def client(short_path: Path, contents: Contents) -> Client:
    """The client as it is installed."""
    path = short_path / "run" / "cni.sock"
    return Client(install.install_executable(short_path / "bin", contents(path)), path)


@pytest.fixture
def hasty_client(short_path: Path, contents: Contents) -> Client:
    """A client that waits for no agent, and one second for an answer."""
    path = short_path / "run" / "cni.sock"
    return Client(install.install_executable(short_path / "bin", contents(path, SECONDS=1, PATIENCE=0)), path)


@pytest.fixture
def open_descriptors() -> Callable[[], int]:
    """How many descriptors this process has open."""
    return lambda: len(os.listdir("/proc/self/fd"))  # noqa: PTH208  (one descriptor, closed again)
