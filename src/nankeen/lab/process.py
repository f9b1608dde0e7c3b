"""A process of this machine, told apart from one that got its number later."""

from __future__ import annotations

import os
import select
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this machine: a number alone may come to mean another one."""

    pid: int
    started: int
    """Clock ticks between the machine's start and the process's (proc(5), /proc/PID/stat, field 22)."""

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process of that number. Raises `ProcessLookupError`."""
        started = _start_time(pid)
        if started is None:
            raise ProcessLookupError(pid)
        return cls(pid, started)

    def descriptor(self) -> int | None:
        """A pidfd (pidfd_open(2)) that the caller closes, or None where the process is no more."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        if _start_time(self.pid) == self.started:  # asked after the descriptor was had: it cannot change any more
            return descriptor
        os.close(descriptor)
        return None

    @property
    def is_alive(self) -> bool:
        """Whether it runs; one that ended but was not reaped does not."""
        descriptor = self.descriptor()
        if descriptor is None:
            return False
        try:
            return not select.select([descriptor], [], [], 0)[0]
        finally:
            os.close(descriptor)


def _start_time(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(text.rpartition(")")[2].split()[19])
