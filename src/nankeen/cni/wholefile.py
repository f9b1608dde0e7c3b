"""Files that appear whole or not at all: somebody else may read, or start, them at any moment."""

from __future__ import annotations

import os
import re
import stat
import time
from contextlib import suppress
from pathlib import Path

_DRAFT = re.compile(r"\.(.+)\.[0-9a-f]{8}", re.DOTALL)
_OLD = 60.0
"""Seconds after which a draft is nobody's any more."""


def put(path: Path, content: bytes, mode: int, *, lasting: bool = True) -> Path:
    """Writes a file beside the path, then renames it. Its suffix is none that a runtime takes for a configuration.

    What need not outlive a boot is not `lasting`: the disk is not waited for, and drafts that a crash left stay. A file
    that is there already is left alone, so that an agent's start costs no writing to the disk. Raises `OSError`.
    """
    if _is_there(path, content, mode):
        return path
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if lasting:
        _clear(path)
    draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if lasting:
                os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return path


def remove(path: Path) -> None:
    """Removes a file, which nobody is just writing, and drafts of it; one that is not there is no error.

    Raises `OSError`.
    """
    path.unlink(missing_ok=True)
    _clear(path, age=0)


def drafted(name: str) -> str | None:
    """The name of the file that a draft of this name was to become; None for what is no draft."""
    found = _DRAFT.fullmatch(name)
    return found and found[1]


def _is_there(path: Path, content: bytes, mode: int) -> bool:
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    same = stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) == mode and found.st_uid == os.geteuid()
    return same and found.st_size == len(content) and path.read_bytes() == content


def _clear(path: Path, age: float = _OLD) -> None:
    """Removes drafts of that age in seconds, which a crash left beside the path. A directory that cannot be read keeps
    them.
    """
    with suppress(PermissionError, FileNotFoundError), os.scandir(path.parent) as entries:
        for entry in entries:
            if drafted(entry.name) == path.name:
                with suppress(FileNotFoundError):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime >= age:
                        Path(entry.path).unlink()
