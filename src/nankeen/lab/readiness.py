"""Waiting for what another process writes, by the kernel's notice of it (inotify(7))."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from asyncinotify import Inotify, Mask

from nankeen.agent import status
from nankeen.lab.runtime import NetworkList, find_network
from nankeen.model.errors import LabError

DEADLINE = 30.0
"""Seconds that an agent has."""

_Found = TypeVar("_Found")


def await_network(node: Path) -> NetworkList:
    """The node's network configuration list: its agent writes it when pods may come. Raises `LabError`."""
    directory = node / "etc/cni/net.d"
    return await_in(directory, lambda: find_network(directory), "its agent is not ready")


def await_peers(node: Path, peers: int) -> None:
    """Waits until the node's agent has dealt with that many peers: their routes stand. Raises `LabError`."""
    directory = node / "run/nankeen"
    await_in(directory, lambda: _knows(directory / "status.json", peers), "its agent lacks peers")


def await_in(directory: Path, look: Callable[[], _Found | None], complaint: str) -> _Found:
    """What `look` finds, as soon as it finds something; it looks again when a file of the directory changes.

    Raises `LabError` with the complaint.
    """
    give_up = time.monotonic() + DEADLINE
    with Inotify() as inotify:
        inotify.add_watch(directory, Mask.MOVED_TO | Mask.CLOSE_WRITE)
        while (found := look()) is None:
            if not select.select([inotify.fd], [], [], max(0.0, give_up - time.monotonic()))[0]:
                raise LabError(f"{complaint} after {DEADLINE:g} s", where=str(directory.parent))
            inotify.sync_get()
    return found


def _knows(path: Path, peers: int) -> bool | None:
    told = status.read(path)
    return True if told is not None and told.peers + len(told.rejected) >= peers else None
