"""Waiting for agents, by the kernel's notice of what they write (inotify(7)).

All nodes are watched through one inotify instance: a user has 128 of them, and each agent needs one of its own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from asyncinotify import Inotify, Mask

from nankeen.agent import status
from nankeen.lab.lab import LabNode
from nankeen.lab.runtime import NetworkList, find_network
from nankeen.model.errors import LabError

DEADLINE = 60.0
"""Seconds that the agents have."""
_CONFIG = "etc/cni/net.d"
_STATUS = "run/nankeen"


class Readiness:
    """What some nodes are still to become: ready for pods, and in possession of their routes."""

    def __init__(self, nodes: Sequence[LabNode], peers: int) -> None:
        """`peers` is how many other nodes each of them is to know. Raises `LabError`."""
        self._peers = peers
        self._unready = {node.name: node for node in nodes}
        self._apart = dict(self._unready)
        self._touched = set(self._unready)
        self._give_up = time.monotonic() + DEADLINE
        try:
            self._inotify = Inotify(sync_timeout=0)
        except OSError as error:
            remedy = "take a lab down, or raise the sysctl fs.inotify.max_user_instances"
            raise LabError(f"cannot watch for the agents: {error.strerror}", remedy=remedy) from error
        self._watched: dict[Path, str] = {}
        for node in nodes:
            for directory in (node.directory / _CONFIG, node.directory / _STATUS):
                self._inotify.add_watch(directory, Mask.MOVED_TO | Mask.CLOSE_WRITE)
                self._watched[directory] = node.name

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to wait for."""
        return not self._unready and not self._apart

    @property
    def milliseconds_left(self) -> int:
        """Until the agents are given up; 0 when there is nothing to wait for any more."""
        return 0 if self.complete else max(1, int((self._give_up - time.monotonic()) * 1000))

    def fileno(self) -> int:
        """Readable when `look` may find something new."""
        return self._inotify.fd

    def look(self) -> list[tuple[LabNode, NetworkList]]:
        """The nodes that have become ready since, each with what its runtime attaches pods by. Raises `LabError`."""
        while (event := self._inotify.sync_get()) is not None:
            if event.watch is not None:
                self._touched.add(self._watched[event.watch.path])
        touched, self._touched = self._touched, set()
        if not touched and not self.complete and self._give_up < time.monotonic():
            self._complain()
        ready = [
            (self._unready[name], network)
            for name in touched & self._unready.keys()
            if (network := self._network(name))
        ]
        for node, _ in ready:
            del self._unready[node.name]
        for name in touched & self._apart.keys():
            if self._knows_peers(self._apart[name]):
                del self._apart[name]
        return ready

    def _network(self, name: str) -> NetworkList | None:
        return find_network(self._unready[name].directory / _CONFIG)

    def _knows_peers(self, node: LabNode) -> bool:
        told = status.read(node.directory / _STATUS / "status.json")
        return told is not None and told.peers + len(told.rejected) >= self._peers

    def _complain(self) -> None:
        waiting = ", ".join(sorted(self._unready)) or f"{', '.join(sorted(self._apart))}, which lack peers"
        raise LabError(f"not ready after {DEADLINE:g} s{self._reasons()}", where=waiting)

    def _reasons(self) -> str:
        """What the agents say of it: their logs go with the lab."""
        told = [status.read(node.directory / _STATUS / "status.json") for node in self._unready.values()]
        reasons = sorted({one.reason for one in told if one is not None and one.reason})
        return f": {', '.join(reasons)}" if reasons else ""

    def close(self) -> None:
        self._inotify.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
