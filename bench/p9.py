"""P9: how much memory an agent keeps resident, with 3 peers and with 5,000, and the udp backend's data path.

It is held against the least that a daemon in Python can be: an interpreter whose event loop waits for nothing.
Flannel's daemon kept 34 and 41 MB resident.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from bench.cluster import Lab, lab, need_root
from bench.fabric import Home, home
from bench.process import running
from bench.row import Measure, Reach, Row
from bench.store import Filled, in_etcd, in_sqlite
from bench.stream import throughput
from nankeen.lab import find_lab

_DATA_PATH = "nankeen.tunnel"
_WAITS = "import asyncio; print('waits', flush=True); asyncio.run(asyncio.Event().wait())"


@contextmanager
def _prepare(filled: Filled, peers: int) -> Iterator[Measure]:
    with tempfile.TemporaryDirectory() as name, home(Path(name)) as node, filled(node, peers) as registry:
        yield lambda _: (_agent_memory(node, registry.address), _bare_memory())


def _agent_memory(node: Home, registry: str) -> float:
    """What an agent holds once every peer has its route. They stay as they are from one round to the next."""
    with node.agent(registry) as agent:
        node.await_ready(agent.pid)
        return _resident(agent.pid)


@contextmanager
def _prepare_data_path() -> Iterator[Measure]:
    need_root()
    with lab(nodes=2, pods=2, backend="udp") as cluster:
        yield lambda _: (_data_path_memory(cluster), _bare_memory())


def _data_path_memory(cluster: Lab) -> float:
    """What the larger of both nodes' data paths holds after a stream at full speed."""
    throughput(cluster)
    networks = {node.namespaces.network.stat().st_ino for node in find_lab(cluster.name).nodes}
    return max(_resident(pid) for pid in _processes(networks) if _DATA_PATH in _command(pid))


def _processes(networks: Collection[int]) -> Iterator[int]:
    """Those in one of these network namespaces, by inode."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            if (process / "ns/net").stat().st_ino in networks:
                yield int(process.name)


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:  # as above
        return []


def _bare_memory() -> float:
    with running((sys.executable, "-c", _WAITS), ready="waits") as process:
        return _resident(process.pid)


def _resident(pid: int) -> float:
    """A process's resident memory (VmRSS, proc_pid_status(5)) in millions of bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    [kibibytes] = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(kibibytes) * 1024 / 1e6


def _row(row_id: str, filled: Filled, peers: int, megabytes: int) -> Row:
    return Row(
        id=row_id,
        what=f"agent's resident memory, {peers:,} peers{' by etcd' if filled is in_etcd else ''}",
        unit="MB",
        against="a Python that only waits",
        reach=Reach("≤", megabytes, "MB"),
        prepare=partial(_prepare, filled, peers),
    )


ROWS = (
    _row("P9", in_sqlite, 3, 35),
    _row("P9.5000", in_sqlite, 5000, 60),
    _row("P9.etcd", in_etcd, 3, 35),
    _row("P9.etcd5000", in_etcd, 5000, 60),
    Row(
        id="P9.udp",
        what="udp data path's resident memory, one peer, after 3 s at full speed",
        unit="MB",
        against="a Python that only waits",
        reach=Reach("≤", 80, "MB"),
        prepare=_prepare_data_path,
    ),
)
