"""Pods come and go while the agent is killed again and again: nobody is refused, and nothing is left in the end.

Runtimes are not kind either: some requests are given up half way, some pods vanish before their DEL, and some never get
one; those a garbage collection takes back (CNI 1.1.0, GC).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.cluster import need_root, wide_lab
from bench.leftovers import of_pods
from bench.row import Measure, Reach, Row
from nankeen.cni.install import install_executable
from nankeen.kernel import syscalls
from nankeen.kernel.namespace import Namespace, current
from nankeen.lab import Lab, LabNode, control, find_lab

_PODS = 300
_AT_ONCE = 40
"""Executables that run at the same time."""
_BETWEEN = 40
"""Answers that an agent lives to give, before it is killed."""
_FIRST_PORT = 20_000
_BANDWIDTH = {"ingressRate": 10**7, "ingressBurst": 10**6, "egressRate": 10**7, "egressBurst": 10**6}
"""In bits a second, and bits. A pod that has it has a device more."""


@dataclass
class Outcome:
    """What came of it."""

    added: int = 0
    kills: int = 0
    refused: list[str] = field(default_factory=list)
    """What runtimes were told that were not served."""
    doubled: list[str] = field(default_factory=list)
    """Addresses that two pods had at once."""
    left: frozenset[str] = frozenset()
    """What is on the node in the end, and was not at the beginning."""

    @property
    def faults(self) -> list[str]:
        """All that is not as it should be."""
        return [*self.refused, *self.doubled, *sorted(self.left)]


async def churn(lab: Lab, pods: int, rounds: int = 2, seed: int = 1) -> Outcome:
    """Attaches and detaches so many pods, each so often, to the first node of a lab. Raises `NankeenError`.

    Every fifth pod comes by flannel's configuration.
    """
    with tempfile.TemporaryDirectory(prefix="nk-") as directory:
        node = lab.nodes[0]
        socket = node.directory / "run/nankeen/cni.sock"
        runtime = _Runtime(install_executable(Path(directory), socket=str(socket)), seed)
        await runtime.first()
        before = of_pods(node)
        living = asyncio.gather(*(runtime.live(number, rounds) for number in range(pods)))
        await _kill(lab, node, runtime, living)
        await runtime.first()
        await runtime.collect()
        runtime.outcome.left = of_pods(node) - before
        return runtime.outcome


async def _kill(lab: Lab, node: LabNode, runtime: _Runtime, living: asyncio.Future[list[None]]) -> None:
    """Kills the agent whenever it has answered some requests, until the pods have lived."""
    while not living.done():
        answered = asyncio.ensure_future(runtime.answered(_BETWEEN))
        either: set[asyncio.Future[Any]] = {answered, living}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        answered.cancel()
        if not living.done():
            await asyncio.to_thread(control.ask, lab, {"do": "agent restart", "node": node.name, "kill": True})
            runtime.outcome.kills += 1
    await living


class _Runtime:
    """A container runtime, not of the kind sort."""

    def __init__(self, executable: Path, seed: int) -> None:
        self._executable = executable
        self._crowd = asyncio.Semaphore(_AT_ONCE)
        self._chance = random.Random(seed)  # noqa: S311  (no secret)
        self._standing: set[str] = set()
        self._answers = 0
        self._news = asyncio.Condition()
        self.outcome = Outcome()

    async def first(self) -> None:
        """A pod before or after all others: it finds an agent that is ready, and undoes what a crash left half done."""
        with _namespace() as pod:
            await self._execute("ADD", "first", pod, port=_FIRST_PORT - 1)
            await self._execute("DEL", "first", pod)

    async def live(self, number: int, rounds: int) -> None:
        """The lives of one pod after the other in one place."""
        for turn in range(rounds):
            with _namespace() as pod:
                container = f"churn{number}-{turn}"
                if not self._chance.randrange(8):
                    await self._give_up(container, pod)
                addresses = await self._add(container, pod, port=_FIRST_PORT + number if number % 3 == 0 else 0)
                forgotten, vanishes = not self._chance.randrange(6), not self._chance.randrange(4)
                self._standing.difference_update(() if forgotten else addresses)
                if not forgotten and not vanishes:
                    await self._execute("DEL", container, pod)
            if not forgotten and vanishes:
                await self._execute("DEL", container, "")
            if forgotten:
                return

    async def collect(self) -> None:
        """Says that no pod stands."""
        for kind in ("nankeen", "flannel"):
            await self._execute("GC", "", "", config={"cni.dev/valid-attachments": [], "type": kind})

    async def answered(self, number: int) -> None:
        """Returns when so many more requests have had an answer."""
        async with self._news:
            goal = self._answers + number
            await self._news.wait_for(lambda: self._answers >= goal)

    async def _add(self, container: str, pod: str, port: int) -> set[str]:
        result = await self._execute("ADD", container, pod, port=port)
        addresses = {item["address"] for item in (result or {}).get("ips", [])}
        self.outcome.added += bool(addresses)
        self.outcome.doubled += [f"{item} was given twice" for item in sorted(addresses & self._standing)]
        self._standing |= addresses
        return addresses

    async def _give_up(self, container: str, pod: str) -> None:
        """An ADD whose executable is killed before it has an answer, and the DEL that a runtime then sends."""
        async with self._crowd:
            process = await self._start("ADD", container, pod)
            process.kill()
            await process.communicate()
        await self._execute("DEL", container, pod)

    async def _execute(
        self, verb: str, container: str, pod: str, port: int = 0, config: Mapping[str, Any] = MappingProxyType({})
    ) -> dict[str, Any] | None:
        """The result, if any; a refusal is kept for the outcome."""
        document = {"cniVersion": "1.1.0", "name": "cbr0", "type": _kind(container), **config}
        if port:
            mapping = {"hostPort": port, "containerPort": 80, "protocol": "tcp"}
            document["runtimeConfig"] = {"portMappings": [mapping], "bandwidth": _BANDWIDTH}
        async with self._crowd:
            process = await self._start(verb, container, pod)
            output, _ = await process.communicate(json.dumps(document).encode())
        if process.returncode:
            self.outcome.refused.append(f"{verb} {container}: {output.decode(errors='replace').strip()}")
        async with self._news:
            self._answers += 1
            self._news.notify_all()
        return json.loads(output) if output and not process.returncode else None

    async def _start(self, verb: str, container: str, pod: str) -> asyncio.subprocess.Process:
        environment = {
            "CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_NETNS": pod, "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self._executable.parent),
        }  # fmt: skip
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(self._executable, stdin=pipe, stdout=pipe, env=environment)


def _kind(container: str) -> str:
    """The type of the configuration that a pod is attached with, always the same."""
    return (
        "flannel" if container.startswith("churn") and container.partition("-")[0].endswith(("0", "5")) else "nankeen"
    )


@contextmanager
def _namespace() -> Iterator[str]:
    """The path of a new network namespace, which vanishes afterwards."""
    with _made() as made:
        yield f"/proc/{os.getpid()}/fd/{made.descriptor}"


def _made() -> Namespace:
    with current() as home:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        try:
            return current()
        finally:
            syscalls.setns(home.descriptor, syscalls.CLONE_NEWNET)


@contextmanager
def _prepare() -> Iterator[Measure]:
    need_root()
    with wide_lab() as cluster:
        yield lambda number: _measured(asyncio.run(churn(find_lab(cluster.name), _PODS, seed=number)))


def _measured(outcome: Outcome) -> tuple[float, float]:
    for fault in outcome.faults:
        print(f"    {fault}", file=sys.stderr)
    return len(outcome.faults), outcome.added


ROWS = (
    Row(
        id="soak.cni",
        what=f"refused, doubled or left, {_PODS} pods that come and go while the agent is killed",
        unit="pods",
        against="ADDs that were served",
        reach=Reach("≤", 0, "pods"),
        prepare=_prepare,
        of_rounds=max,
    ),
)
