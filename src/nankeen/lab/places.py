"""Where labs keep their files: one directory for each, under one that only their owner can enter."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from nankeen.kernel import syscalls
from nankeen.model.errors import LabError

RECORD = "lab.json"
CONTROL = "control.sock"
REGISTRY = "registry.db"
ETCD_PORT = 2379
ETCD_PREFIX = "/coreos.com/network"


def is_rootless() -> bool:
    """Whether labs need a user namespace: this process may not make namespaces as it is (capabilities(7))."""
    return not syscalls.has_capability(syscalls.CAP_SYS_ADMIN)


def home() -> Path:
    """The directory of all labs of this user. It need not exist."""
    return Path(f"/tmp/nankeen-lab-{os.getuid()}") if is_rootless() else Path("/run/nankeen-lab")  # noqa: S108 (see `prepare_home`)


def prepare_home() -> Path:
    """Makes the directory of all labs. Raises `LabError` where it is not ours alone: /tmp is open to everybody."""
    directory = home()
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise LabError(f"cannot make the directory of labs: {error.strerror}", where=str(directory)) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise LabError("the directory of labs is not ours alone", where=str(directory), remedy="remove it")
    return directory
