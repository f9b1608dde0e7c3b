"""What can be wrong with an SQLite file, in words: where it is, and what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from nankeen.model.errors import RegistryError

_FAULTS = {
    sqlite3.SQLITE_NOTADB: ("is not an SQLite database", "name the registry's file, or make a new registry"),
    sqlite3.SQLITE_CORRUPT: (
        "is damaged",
        "restore a copy, or make a new registry: the nodes will ask for their subnets again",
    ),
    sqlite3.SQLITE_ERROR: (
        "is not a whole registry",
        "restore a copy, or make a new registry: the nodes will ask for their subnets again",
    ),
    sqlite3.SQLITE_READONLY: (
        "cannot be written",
        "check the owner and mode of the file and its directory, and whether its file system is mounted read-only",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened",
        "check the owner and mode of the file and its directory, and that it is a file",
    ),
    sqlite3.SQLITE_FULL: ("cannot grow: its file system is full", "make room"),
    sqlite3.SQLITE_IOERR: ("cannot be read or written: input/output error", "check the disk it is on"),
}
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)


def is_busy(error: sqlite3.Error) -> bool:
    """Whether it is only that another process has the file just now."""
    return _code(error) in _BUSY


def _code(error: sqlite3.Error) -> int:
    """The primary result code (https://sqlite.org/rescode.html); -1 for an error of the Python module itself."""
    code: int = getattr(error, "sqlite_errorcode", -1)
    return code & 0xFF if code >= 0 else code


def fault(path: Path, error: sqlite3.Error) -> RegistryError:
    problem, remedy = _FAULTS.get(_code(error), ("cannot be used", "see https://sqlite.org/rescode.html"))
    return RegistryError(f"{problem} ({error})", where=str(path), remedy=remedy)


def unreachable(path: Path, error: OSError) -> RegistryError:
    if isinstance(error, FileNotFoundError) and not path.parent.is_dir():
        return RegistryError(
            "the directory does not exist", where=str(path), remedy=f"make {path.parent}, or correct the path"
        )
    if isinstance(error, FileNotFoundError):
        return RegistryError(
            "does not exist", where=str(path), remedy="make it by `nankeen config set FILE`, or correct the path"
        )
    reason = (error.strerror or str(error)).lower()
    return RegistryError(
        f"cannot be used: {reason}", where=str(path), remedy="check the owner and mode of the file and its directory"
    )


def locked(path: Path, seconds: float) -> RegistryError:
    """The error for a file that another process has kept for so long."""
    holders = ", ".join(_lock_holders(path)) or "a process that cannot be seen from here"
    return RegistryError(
        f"is locked for more than {seconds:g} s, by {holders}", where=str(path), remedy="let it finish, or end it"
    )


def log_files(path: Path) -> tuple[Path, Path]:
    """The write-ahead log and its shared index, which SQLite keeps beside the file."""
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def _lock_holders(path: Path) -> list[str]:
    """The processes that keep others from the file, as /proc/locks tells (proc_locks(5)); of other namespaces none."""
    files = {str(file.stat().st_ino) for file in (path, *log_files(path)) if file.exists()}
    holders = set()
    for line in Path("/proc/locks").read_text().splitlines():
        match line.split():
            case [_, "POSIX", _, "WRITE", pid, device, *_] if device.rpartition(":")[2] in files:
                holders.add(f"process {pid} ({_command(pid)})")
    return sorted(holders)


def _command(pid: str) -> str:
    try:
        return Path("/proc", pid, "comm").read_text().strip()
    except OSError:
        return "gone meanwhile"
