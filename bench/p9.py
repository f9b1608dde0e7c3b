"""P9: how much memory an agent keeps resident, with 3 peers and with 5,000.

It is held against the least that a daemon in Python can be: an interpreter whose event loop waits for nothing.
Flannel's daemon kept 34 and 41 MB resident.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from bench.cluster import namespace
from bench.process import run, running
from bench.row import Measure, Reach, Row
from nankeen.model.errors import NankeenError
from nankeen.model.lease import Reach as NodeReach
from nankeen.registry import sqlite

_CONFIG = '{"Network": "10.0.0.0/8", "SubnetLen": 24, "Backend": {"Type": "vxlan"}}'
_PATIENCE = 120
"""Seconds in which an agent must have all its routes."""

_WAITS = "import asyncio; print('waits', flush=True); asyncio.run(asyncio.Event().wait())"


@contextmanager
def _prepare(peers: int) -> Iterator[Measure]:
    with namespace() as node, tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        run(("ip", "-n", node, "link", "add", "eth0", "type", "veth", "peer", "name", "port1"))
        run(("ip", "-n", node, "link", "set", "port1", "up"))
        run(("ip", "-n", node, "address", "add", "192.168.0.11/16", "dev", "eth0"))
        run(("ip", "-n", node, "link", "set", "eth0", "up"))
        asyncio.run(_fill(directory / "registry.db", peers))
        yield lambda _: (_agent_memory(node, directory, peers), _bare_memory())


async def _fill(path: Path, peers: int) -> None:
    """A registry with that many nodes in it."""
    sqlite.create(path, _CONFIG)
    registry = sqlite.SqliteRegistry(path)
    first = int(ip_address("192.168.1.0"))
    for number in range(peers):
        mac = (0x0242_0000_0000 + number).to_bytes(6).hex(":")
        reach = NodeReach(ip_address(first + number), f'{{"VNI":1,"VtepMAC":"{mac}"}}')
        await registry.acquire(f"peer{number}", "vxlan", [reach])
    registry.close()


def _agent_memory(node: str, directory: Path, peers: int) -> float:
    """What an agent holds once every peer has its route."""
    places = {
        "--subnet-file": "subnet.env",
        "--status-file": "status.json",
        "--socket": "cni.sock",
        "--cni-bin-dir": "bin",
        "--cni-conf-dir": "net.d",
        "--cni-data-dir": "cni",
    }
    flags = [word for flag, name in places.items() for word in (flag, str(directory / name))]
    registry = ("--registry", f"sqlite://{directory / 'registry.db'}", "--node-name", "node1", "--iface", "eth0")
    command = ("ip", "netns", "exec", node, sys.executable, "-P", "-m", "nankeen", "agent", *registry, *flags)
    with open(directory / "agent.log", "w") as log, running(command, log=log) as agent:
        deadline = time.monotonic() + _PATIENCE
        while _overlay_routes(node) < peers:
            if agent.poll() is not None or time.monotonic() > deadline:
                said = (directory / "agent.log").read_text()
                raise NankeenError(f"has {_overlay_routes(node)} of {peers} routes: {said[-500:]}", where="agent")
            time.sleep(0.1)
        return _resident(agent.pid)


def _overlay_routes(node: str) -> int:
    return sum("flannel.1" in line for line in run(("ip", "-n", node, "-4", "route", "show")).splitlines())


def _bare_memory() -> float:
    with running((sys.executable, "-c", _WAITS), ready="waits") as process:
        return _resident(process.pid)


def _resident(pid: int) -> float:
    """A process's resident memory (VmRSS, proc_pid_status(5)) in millions of bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    [kibibytes] = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(kibibytes) * 1024 / 1e6


def _row(row_id: str, peers: int, megabytes: int) -> Row:
    return Row(
        id=row_id,
        what=f"agent's resident memory, {peers:,} peers",
        unit="MB",
        against="a Python that only waits",
        reach=Reach("≤", megabytes, "MB"),
        prepare=partial(_prepare, peers),
    )


ROWS = (_row("P9", 3, 35), _row("P9.5000", 5000, 60))
