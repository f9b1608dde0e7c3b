"""Where the compiled CNI client is kept, and under which name: `nankeen.cni.build` puts it there, `install` takes it.

    client.c ──▶ its hash, with flags and machine ──▶ <cache>/nankeen-cni-<hash> ──▶ copied to /opt/cni/bin

So a client compiled from another source is never found. One serves any socket: the path is written over in the copy.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

SOURCE = Path(__file__).with_name("client.c")
FLAGS = ("-std=c11", "-Os", "-static", "-s", "-Wall", "-Wextra")
"""Static, because the file may be copied to a node that has another C library, or none."""


def find(directory: Path | None = None) -> Path | None:
    """The client compiled from this very source, in the directory or the cache; None where there is none."""
    directory = directory or cache()
    program = directory / name() if directory else None
    return program if program and program.is_file() else None


def cache() -> Path | None:
    """Where compiled clients are kept: in the virtual environment, else in the user's cache (XDG Base Directory).

    None for a user who has neither.
    """
    if sys.prefix != sys.base_prefix:
        return Path(sys.prefix, "libexec")
    base = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))  # noqa: PTH111  (unlike pathlib's, never fails)
    return base / "nankeen" if base.is_absolute() else None


def name(defines: Sequence[str] = ()) -> str:
    """The file's name. `defines` are those that it is compiled with besides."""
    content = "\n".join([*FLAGS, *defines, platform.machine(), SOURCE.read_text(encoding="utf-8")])
    return f"nankeen-cni-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
