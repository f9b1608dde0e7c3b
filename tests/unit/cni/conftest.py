"""A client that is really executed, and short paths: a Unix socket's has 107 bytes."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nankeen.cni.install import install_executable


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


@pytest.fixture
def client(short_path: Path) -> Client:
    path = short_path / "run" / "cni.sock"
    return Client(install_executable(short_path / "bin", socket=str(path)), path)


@pytest.fixture
def open_descriptors() -> Callable[[], int]:
    """How many descriptors this process has open."""
    return lambda: len(os.listdir("/proc/self/fd"))  # noqa: PTH208  (one descriptor, closed again)
