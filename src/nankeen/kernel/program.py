"""Running the two programs whose rule languages are not spoken here: nft, and the iptables of somebody else's rules."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Sequence

from nankeen.kernel.namespace import Namespace, entered
from nankeen.model.errors import KernelError

_DIRECTORIES = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_SECONDS = 60.0
"""How long a program may take: one that waits for a lock of others is given up some time."""


def find(name: str) -> str | None:
    """The program's path, also where the caller's PATH leaves out the system's directories."""
    return shutil.which(name) or shutil.which(name, path=_DIRECTORIES)


def run(command: Sequence[str], text: str = "", *, remedy: str, namespace: Namespace | None = None) -> str:
    """What a program prints, given that text on its standard input. No shell takes part.

    Raises `KernelError` where it is not there (with `remedy`), fails, or takes too long.
    """
    name, *arguments = command
    path = find(name)
    if path is None:
        raise KernelError(f"the program {name} is not installed", remedy=remedy, errno=errno.ENOENT)
    try:
        with entered(namespace):
            done = subprocess.run(
                [path, *arguments],
                input=text, capture_output=True, text=True, errors="replace", check=False, timeout=_SECONDS,
                env={**os.environ, "LC_ALL": "C"},
            )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise KernelError(f"no end after {_SECONDS:g} s", where=name, errno=errno.ETIMEDOUT) from error
    if done.returncode:
        told = next((line for line in done.stderr.split("\n") if line and not line.startswith("#")), "no reason given")
        raise KernelError(f"refused: {told[:300]}", where=name)
    return done.stdout
