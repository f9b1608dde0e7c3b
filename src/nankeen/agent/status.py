"""What an agent tells of itself: a small JSON file, replaced whole whenever something in it changes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nankeen.model.errors import InputError


@dataclass(frozen=True, slots=True)
class Status:
    """One agent's state. `reason` says why it is not ready, in words for a person."""

    node: str
    pid: int = field(default_factory=os.getpid)
    ready: bool = False
    reason: str = "starting"
    backend: str = ""
    subnets: tuple[str, ...] = ()
    mtu: int = 0
    peers: int = 0
    rejected: Mapping[str, str] = field(default_factory=dict)
    """Leases that are no peers, and why, by node."""
    refused: tuple[str, ...] = ()
    """Changes that the kernel refused at the last attempt."""
    repaired: int = 0
    """Kernel objects that somebody else had removed or altered, since the agent started."""
    pending: str = ""
    """Why the newest network configuration is not followed; the node stays with the one before."""
    revision: int = 0
    """The registry's revision that the kernel was last made equal to."""
    expires: float | None = None
    """When the lease expires, in seconds since 1970; None for a reservation, and where there is no lease yet."""

    def __str__(self) -> str:
        """In one line for a person."""
        if not self.ready:
            return f"not ready: {self.reason}"
        backend = f" by {self.backend}" if self.backend else ""
        return f"ready: {' '.join(self.subnets)}{backend}, peers: {self.peers}"


def write(path: Path, status: Status) -> None:
    """Replaces the file. Raises `OSError`."""
    write_atomically(path, json.dumps(asdict(status)) + "\n")


def read(path: Path) -> Status | None:
    """What the agent last said; None where no agent has spoken. Raises `InputError` where the file is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        document["subnets"], document["refused"] = tuple(document["subnets"]), tuple(document["refused"])
        return Status(**document)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"not an agent's status: {error}", where=str(path)) from error


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Replaces a file whole: a reader sees the old text or the new. Raises `OSError`."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    draft.replace(path)
