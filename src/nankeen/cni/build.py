"""Compiles the CNI client where the machine has a C compiler: `python -m nankeen.cni.build`.

It is done when the Python environment is set up, never while an agent starts: an agent installs what it finds, and the
client in Python where it finds nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nankeen.cni import client, compiled
from nankeen.model.errors import NankeenError

COMPILERS = ("musl-gcc", "cc", "gcc", "clang")
"""Tried in this order: musl makes the smallest static programs."""
COMPILE_SECONDS = 60.0


def build(directory: Path | None = None, defines: Sequence[str] = ()) -> Path:
    """The compiled client; it is compiled now if it was not before. `defines` are SECONDS=1 and the like.

    Raises `NankeenError` where no compiler makes one that works, and `OSError`.
    """
    directory = directory or compiled.cache()
    if directory is None:
        raise NankeenError("there is no place for a compiled client", remedy="set HOME or XDG_CACHE_HOME")
    program = directory / compiled.name(defines)
    if not program.is_file():
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".nankeen-cni-", dir=directory) as place:
            _compile(Path(place), [f"-D{item}" for item in defines]).replace(program)
    return program


def main() -> int:
    """Compiles the client and says where it is; returns the exit status: 1 where it cannot be done."""
    try:
        print(build())  # noqa: T201  (a command)
    except (NankeenError, OSError) as error:
        print(f"the CNI executable will be the one in Python: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _compile(place: Path, defines: Sequence[str]) -> Path:
    """A program that answers as it should, made in the directory by the first compiler that can."""
    program = place / "nankeen"
    refusals = []
    for compiler in filter(None, map(shutil.which, COMPILERS)):
        done = _run([compiler, *compiled.FLAGS, *defines, "-o", str(program), str(compiled.SOURCE)])
        if done.returncode == 0 and _works(program):
            program.chmod(0o755)
            return program
        refusals.append(f"{compiler}: {(done.stderr or 'what it makes does not run').strip().splitlines()[-1]}")
    raise NankeenError("; ".join(refusals) or "no C compiler", remedy="" if refusals else "such as Debian's gcc")


def _works(program: Path) -> bool:
    """Whether the program runs on this machine: a compiler may be one for another."""
    try:
        done = _run([str(program)])
    except OSError:
        return False
    return done.returncode == 0 and client.VERSIONS[-1] in done.stderr


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    try:
        return subprocess.run(
            command, check=False, capture_output=True, text=True, env=environment, timeout=COMPILE_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise NankeenError(f"no end within {COMPILE_SECONDS:g} s", where=command[0]) from error


if __name__ == "__main__":
    sys.exit(main())
