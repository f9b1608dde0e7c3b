"""Where a lab's leases are kept: in a file, or in an etcd that the lab runs for itself.

The etcd is a member of the lab with a network namespace of its own, plugged into the first switch like a node, so that
agents reach it as they would in a cluster: over the underlay.
"""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from nankeen.kernel import syscalls
from nankeen.kernel.namespace import Namespace, entered
from nankeen.lab import entry, places
from nankeen.lab.forks import fork, last_words
from nankeen.lab.lab import Lab, LabServer
from nankeen.lab.topology import Topology
from nankeen.model.errors import LabError
from nankeen.registry import Snapshot, make_registry, open_registry

_PATIENCE = 20_000
"""Milliseconds in which etcd must be there."""
_PEERS = "http://127.0.0.1:2380"
"""Where an etcd would hear its peers, in a namespace in which it has none."""
_QUICK = ("--heartbeat-interval=50", "--election-timeout=500", "--logger=zap", "--log-outputs=stderr")


def prepare(topology: Topology) -> None:
    """Sees to it that the registry can be had, and is imported once for all agents. Raises `LabError`."""
    if topology.servers and shutil.which("etcd") is None:
        remedy = "install it (Debian's package is etcd-server), or choose --registry sqlite"
        raise LabError("there is no etcd on this machine", where=f"lab {topology.name}", remedy=remedy)
    import_module(f"nankeen.registry.{topology.registry}")


def start(server: LabServer, network: Namespace) -> int:
    """Starts the server and returns its number, when it is ready. Raises `LabError`."""
    server.directory.mkdir()
    log = server.directory / "etcd.log"
    with _readiness(server.directory / "ready") as ready:
        command = _command(server)

        def work() -> int:
            syscalls.setns(network.descriptor)
            environment = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(server.directory / "ready")}
            os.execvpe(command[0], command, environment)  # noqa: S606  (this is what the lab is to run)

        pid = fork(server.name, work, log, keep=[network.descriptor])
        if not _is_ready(ready, pid):
            raise LabError(f"is not ready: {last_words(log)}", where=server.name)
    return pid


def fill(topology: Topology, address: str) -> None:
    """Gives the registry its configuration, and keeps the i-th subnet for node i. Raises `RegistryError`."""
    asyncio.run(_fill(topology, address))


async def _fill(topology: Topology, address: str) -> None:
    text = topology.network.to_json()
    made = make_registry(address, text)
    registry = open_registry(address)
    try:
        if not made:
            await registry.configure(text, 0)
        for node, subnets in topology.subnets().items():
            await registry.reserve(node, subnets)
    finally:
        registry.close()


def snapshot(lab: Lab) -> Snapshot:
    """What the registry holds. To be called where the lab's paths hold. Raises `NankeenError`."""
    if not lab.servers:
        return asyncio.run(_snapshot(lab.registry))
    with Namespace.open(lab.servers[0].namespaces.network) as network, entered(network):
        return asyncio.run(_snapshot(lab.registry))


def approach(lab: Lab) -> None:
    """Moves this process, which has one thread, to where the lab's registry can be reached, for good.

    Raises `LabError` and `KernelError`.
    """
    if lab.servers:
        entry.enter_lab(lab)
        with Namespace.open(lab.servers[0].namespaces.network) as network:
            syscalls.setns(network.descriptor)


async def _snapshot(address: str) -> Snapshot:
    registry = open_registry(address)
    try:
        return await registry.snapshot()
    finally:
        registry.close()


def _command(server: LabServer) -> list[str]:
    hosts = [f"[{ip}]" if ip.version == 6 else str(ip) for ip in (interface.ip for interface in server.addresses)]
    clients = ",".join(f"http://{host}:{places.ETCD_PORT}" for host in (*hosts, "127.0.0.1"))
    return [
        *("etcd", f"--data-dir={server.directory / 'data'}"),
        *(f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}"),
        *(f"--listen-peer-urls={_PEERS}", f"--initial-advertise-peer-urls={_PEERS}"),
        *(f"--initial-cluster=default={_PEERS}", *_QUICK),
    ]


@contextmanager
def _readiness(path: Path) -> Iterator[socket.socket]:
    """Where a service says that it is ready (sd_notify(3)), which etcd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(path))
        yield told


def _is_ready(told: socket.socket, pid: int) -> bool:
    """Waits until the process says so; False where it ends, or takes too long."""
    ended = os.pidfd_open(pid)
    try:
        poll = select.poll()
        for descriptor in (told.fileno(), ended):
            poll.register(descriptor, select.POLLIN)
        return [descriptor for descriptor, _ in poll.poll(_PATIENCE)] == [told.fileno()]
    finally:
        os.close(ended)
