"""A lab's nodes: the namespaces that make one, and the agent in them."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from nankeen.agent.daemon import run
from nankeen.agent.settings import Settings
from nankeen.agent.wish import Wish
from nankeen.kernel import syscalls
from nankeen.kernel.namespace import Namespace, entered
from nankeen.lab import mounts
from nankeen.lab.forks import fork
from nankeen.lab.lab import Namespaces

AGENT_LOG = "agent.log"


@dataclass(frozen=True, slots=True)
class NodeHome:
    """The open namespaces of one node. They live as long as the supervisor, whether or not anything runs in them."""

    name: str
    directory: Path
    network: Namespace
    mount: int
    uts: int

    @classmethod
    def make(cls, name: str, directory: Path, network: Namespace) -> NodeHome:
        """Makes the node's mount and UTS namespaces; this process comes back to its own. Raises `OSError`."""
        ours = [_descriptor(kind) for kind in ("mnt", "uts")]
        try:
            with entered(network):
                syscalls.unshare(syscalls.CLONE_NEWUTS)
                socket.sethostname(name)
                mounts.enter_node_mounts(name, directory)
                made = [_descriptor(kind) for kind in ("mnt", "uts")]
                for descriptor in ours:
                    syscalls.setns(descriptor)
        finally:
            for descriptor in ours:
                os.close(descriptor)
        return cls(name, directory, network, *made)

    @property
    def descriptors(self) -> tuple[int, int, int]:
        """What a process needs to enter."""
        return self.network.descriptor, self.uts, self.mount

    def enter(self) -> None:
        """Moves this process, which has one thread, into the node for good."""
        for descriptor in self.descriptors:
            syscalls.setns(descriptor)

    def namespaces(self, network: Path) -> Namespaces:
        """Where others find them: as open files of the supervisor, which is process 1 of the lab."""
        return Namespaces(network, mount=Path(f"/proc/1/fd/{self.mount}"), uts=Path(f"/proc/1/fd/{self.uts}"))


def start_agent(home: NodeHome, registry: str, interface: str) -> int:
    """Starts the node's agent and returns its number; what it says is in the node's `agent.log`."""

    def work() -> int:
        home.enter()
        return run(Settings(node=home.name, registry=registry, underlay=Wish.parse([interface])))

    return fork(home.name, work, home.directory / AGENT_LOG, keep=home.descriptors)


def _descriptor(kind: str) -> int:
    return os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
