"""A lab that stands, seen by who wants to disturb it: traffic between its pods, its agents, its configuration."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from asyncinotify import Inotify, Mask

import nankeen
from bench.meter import End, Meter, traffic
from nankeen.agent import status
from nankeen.agent.instep import check
from nankeen.agent.status import Status
from nankeen.kernel.monitor import Monitor
from nankeen.kernel.namespace import Namespace
from nankeen.lab import Lab, LabNode, LabPod, control, find_lab, places
from nankeen.model.lease import Lease
from nankeen.registry import Snapshot
from nankeen.registry.sqlite import SqliteRegistry

FAMILIES = {"ipv4": ("ipv4",), "ipv6": ("ipv6",), "dual": ("ipv4", "ipv6")}
_NETWORKS = {"ipv4": {"Network": "10.244.0.0/16"}, "ipv6": {"IPv6Network": "fd00:10:244::/48"}}
_PATIENCE = 20.0
"""Seconds after which what is waited for is given up: fewer than between two of an agent's audits."""
_number = count(1)


def network(backend: dict[str, Any], family: str = "dual") -> dict[str, Any]:
    """A network configuration, in flannel's spelling."""
    enabled = {"EnableIPv4": family != "ipv6", "EnableIPv6": family != "ipv4"}
    pools = {key: value for each in FAMILIES[family] for key, value in _NETWORKS[each].items()}
    return {**enabled, **pools, "Backend": backend}


def run(*words: str) -> str:
    """What a `nankeen` command prints; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "nankeen", *words],
        env={**os.environ, "PYTHONPATH": str(Path(nankeen.__file__).parents[1])},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True)
class Standing:
    """A lab at work."""

    lab: Lab
    registry: SqliteRegistry

    @property
    def pods(self) -> tuple[LabPod, ...]:
        return self.lab.pods

    @property
    def nodes(self) -> tuple[LabNode, ...]:
        return self.lab.nodes

    def node(self, name: str) -> LabNode:
        return self.lab.node(name)

    def tool(self, node: str, command: str) -> str:
        """What a command prints on a node; it must succeed."""
        namespace = self.node(node).namespaces.network.name
        words = ["ip", "netns", "exec", namespace, "sh", "-c", command]
        done = subprocess.run(words, check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def traffic(self, one: str = "pod1", other: str = "pod2") -> AbstractAsyncContextManager[Meter]:
        """Traffic between two pods, both ways, in each family they have."""
        return traffic(zip(_ends(self.lab.pod(one)), _ends(self.lab.pod(other)), strict=True))

    async def restart(self, node: str, *, kill: bool) -> None:
        """Ends a node's agent and starts another; returns when that one is ready."""
        request = {"do": "agent restart", "node": node, "kill": kill}
        pid = await asyncio.to_thread(control.ask, self.lab, request)
        await self.told(node, lambda status: status.ready and status.pid == pid)

    async def told(self, node: str, wanted: Callable[[Status], bool]) -> Status:
        """What a node's agent tells of itself, as soon as it is what is wanted."""
        file = self.node(node).directory / "run/nankeen/status.json"
        with Inotify() as inotify:
            inotify.add_watch(file.parent, Mask.MOVED_TO)
            async with asyncio.timeout(_PATIENCE):
                while True:
                    found = status.read(file)
                    if found is not None and wanted(found):
                        return found
                    await inotify.get()

    async def configure(self, backend: dict[str, Any], family: str = "dual") -> None:
        """Gives the cluster another backend, and leaves it at that."""
        await self.registry.set_config(json.dumps(network(backend, family)))

    async def leased(self, wanted: Callable[[Lease], bool]) -> None:
        """Returns when the leases of all nodes are what is wanted."""
        async with asyncio.timeout(_PATIENCE):
            async for snapshot in self.registry.watch():
                if all(wanted(lease) for lease in snapshot.leases.values()):
                    return

    async def snapshot(self) -> Snapshot:
        """What the registry holds now."""
        return await self.registry.snapshot()

    def differences(self, node: str, snapshot: Snapshot) -> list[str]:
        """What a node's kernel lacks, or has besides, of what the leases ask for."""
        found = self.node(node)
        with Namespace.open(found.namespaces.network) as namespace:
            return [str(change) for change in check(node, found.interface, snapshot, namespace)]

    async def settled(self, holds: Callable[[], bool]) -> None:
        """Returns when something holds; it is asked whenever the kernel of node1 tells of a change."""
        with Namespace.open(self.node("node1").namespaces.network) as namespace, Monitor(namespace) as news:
            async with asyncio.timeout(_PATIENCE):
                if not holds():
                    async for _ in news.batches():
                        if holds():
                            return

    async def in_step(self) -> None:
        """Returns when every agent is ready and has brought its kernel to what the leases ask for."""
        snapshot = await self.snapshot()
        for node in self.nodes:
            in_step = partial(self._is_in_step, node.name, snapshot)
            await self.told(node.name, in_step)

    def _is_in_step(self, node: str, snapshot: Snapshot, status: Status) -> bool:
        return status.ready and not self.differences(node, snapshot)

    async def damage(self, node: str, command: str) -> None:
        """Has somebody break something of a node's kernel; returns when its agent has put that right.

        It fails where that takes as long as until the next audit, or something else is broken then.
        """
        snapshot = await self.snapshot()
        assert self.differences(node, snapshot) == []
        before = (await self.told(node, lambda status: status.ready)).repaired
        self.tool(node, command)
        try:
            await self.told(node, lambda status: status.repaired > before and not self.differences(node, snapshot))
        except TimeoutError:
            pytest.fail(f"{command}: not repaired, and this is missing: {self.differences(node, snapshot)}")


def _ends(pod: LabPod) -> list[End]:
    return [End(pod.name, pod.namespaces.network, interface.ip) for interface in pod.addresses]


@contextmanager
def standing(
    network: dict[str, Any], members: dict[str, Any] | None = None, *cables: str, registry: str = "sqlite"
) -> Iterator[Standing]:
    """A lab with that network configuration, taken down afterwards: two nodes with a pod each on one switch, or these
    members, and cables such as `node1:eth0 sw1:port1`.
    """
    if places.is_rootless():
        pytest.skip("needs root: traffic flows between namespaces that have names")
    name = f"traffic-{os.getpid()}-{next(_number)}"
    topology: dict[str, Any] = {"nodes": members or pair()}
    if cables:
        topology["links"] = [{"endpoints": cable.split()} for cable in cables]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump({"name": name, "topology": topology, "network": network, "registry": registry}, file)
        file.flush()
        try:
            run("lab", "up", file.name)
            yield from _opened(name)
        finally:
            run("lab", "down", "--name", name)


def pair(first: int = 1) -> dict[str, Any]:
    """Two nodes, each with a pod of the same number."""
    numbers = (first, first + 1)
    nodes = {f"node{number}": {"kind": "node"} for number in numbers}
    return nodes | {f"pod{number}": {"kind": "pod", "node": f"node{number}"} for number in numbers}


def _opened(name: str) -> Iterator[Standing]:
    lab = find_lab(name)
    registry = SqliteRegistry(lab.directory / places.REGISTRY)  # there is no such file where the lab has an etcd
    try:
        yield Standing(lab, registry)
    finally:
        registry.close()


@asynccontextmanager
async def undisturbed(lab: Standing) -> AsyncIterator[Meter]:
    """Traffic of which nothing is lost, whatever happens meanwhile; else it fails and says which packets were."""
    async with lab.traffic() as meter:
        yield meter
        await meter.passed(400)  # what happened is past when some packets have passed after it
    assert not meter.losses, "\n".join(map(str, meter.losses))
