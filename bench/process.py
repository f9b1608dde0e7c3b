"""Running other programs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from nankeen.model.errors import NankeenError

ROOT = Path(__file__).parent.parent
NK = str(ROOT / "nk")


def run(command: Sequence[str], *, given: str = "") -> str:
    """What a program prints. Raises `NankeenError` with its complaint when it fails."""
    done = subprocess.run(command, input=given, check=False, capture_output=True, text=True)
    if done.returncode:
        complaint = (done.stderr or done.stdout).strip()
        raise NankeenError(f"exit status {done.returncode}: {complaint}", where=" ".join(command))
    return done.stdout


@contextmanager
def running(command: Sequence[str], *, ready: str = "", log: IO[str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A program that runs inside the block, once it has printed a line with `ready` in it. Or it prints to `log`."""
    output = subprocess.PIPE if log is None else log
    with subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True) as process:
        try:
            if ready:
                _await_line(process, ready)
            yield process
        finally:
            process.terminate()


def _await_line(process: subprocess.Popen[str], ready: str) -> None:
    said: list[str] = []
    for line in process.stdout or ():
        said.append(line)
        if ready in line:
            return
    raise NankeenError(f"ended before it said {ready!r}: {''.join(said).strip()}", where=str(process.args))
