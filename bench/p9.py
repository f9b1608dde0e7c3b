"""P9: how much memory an agent keeps resident, with 3 peers and with 5,000.

It is held against the least that a daemon in Python can be: an interpreter whose event loop waits for nothing.
Flannel's daemon kept 34 and 41 MB resident.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.fabric import Home, home
from bench.process import running
from bench.row import Measure, Reach, Row
from bench.store import Filled, in_etcd, in_sqlite

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
)
