"""A real agent, as a process of its own in a namespace, and events to wait for instead of sleeping."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from asyncinotify import Inotify, Mask

from nankeen.agent import status
from nankeen.agent.status import Status
from nankeen.model.lease import Lease, Reach
from nankeen.registry.sqlite import SqliteRegistry, create

if TYPE_CHECKING:
    from tests.kernel.conftest import Net

CONFIG = '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}'


@dataclass
class Node:
    """A namespace with an underlay interface, and the agent that may run in it."""

    net: Net
    directory: Path
    process: asyncio.subprocess.Process | None = None
    underlay: tuple[str, ...] = ("--iface", "eth0")
    """The agent's flags about it, and others."""
    name: str = "node1"
    program: tuple[str, ...] | None = None
    """What is run, with flags that say where the leases are; None for `nankeen agent` and the registry file."""
    registry_file: Path = field(init=False)

    def __post_init__(self) -> None:
        self.registry_file = self.directory / "registry.db"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    @property
    def _agent(self) -> tuple[str, ...]:
        flags = ("--registry", f"sqlite://{self.registry_file}", "--node-name", self.name)
        return (sys.executable, "-m", "nankeen", "agent", *flags)

    async def start(self) -> Status:
        """Starts the agent; returns when it says that it is ready."""
        pid = (await self.launch()).pid
        return await self.until(lambda status: status.ready and status.pid == pid)

    async def launch(self) -> asyncio.subprocess.Process:
        """Starts the agent."""
        paths = {
            "subnet-file": "flannel/subnet.env", "status-file": "run/status.json", "socket": "run/cni.sock",
            "cni-bin-dir": "bin", "cni-conf-dir": "conf", "cni-data-dir": "data", "lease-file": "leases.json",
        }  # fmt: skip
        options = [word for name, path in paths.items() for word in (f"--{name}", str(self.directory / path))]
        with (self.directory / "log").open("a") as log:
            self.process = await asyncio.create_subprocess_exec(
                *("ip", "netns", "exec", self.net.name, *(self.program or self._agent), *self.underlay, *options),
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")},
            )
        return self.process

    async def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        process, self.process = self.process, None
        return await process.wait()

    async def until(self, wanted: Callable[[Status], bool]) -> Status:
        """The agent's status, as soon as it is what is wanted."""
        file = self.directory / "run/status.json"
        file.parent.mkdir(exist_ok=True)
        with Inotify() as inotify:
            inotify.add_watch(file.parent, Mask.MOVED_TO)
            async with asyncio.timeout(20):
                while True:
                    found = status.read(file)
                    if found is not None and wanted(found):
                        return found
                    await inotify.get()

    async def join(self, number: int, vni: int = 1, backend: str = "vxlan", data: str | None = "") -> Lease:
        """Another node takes a lease."""
        registry = SqliteRegistry(self.registry_file)
        vtep = f'{{"VNI":{vni},"VtepMAC":"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"}}'
        reach = Reach(IPv4Address("192.168.0.10") + number, data if backend != "vxlan" else vtep)
        try:
            return await registry.acquire(f"node{number}", backend, [reach])
        finally:
            registry.close()

    async def leave(self, lease: Lease) -> None:
        registry = SqliteRegistry(self.registry_file)
        try:
            await registry.release(lease)
        finally:
            registry.close()


@pytest.fixture
async def node(net: Net, tmp_path: Path) -> AsyncIterator[Node]:
    net.run("ip link add eth0 type veth peer name far")
    net.run("ip address add 192.168.0.11/24 dev eth0")
    net.run("ip link set far up")
    net.run("ip link set eth0 up")
    create(tmp_path / "registry.db", CONFIG)
    found = Node(net, tmp_path)
    yield found
    if found.process is not None and found.process.returncode is None:
        await found.stop(signal.SIGKILL)
