"""Somebody who runs `nankeen` as a program: root, or an ordinary user."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

import nankeen

ORDINARY = 61234
"""A user ID that nobody has."""
SOURCE = Path(nankeen.__file__).parents[1]
_AWAY = ("setpriv", f"--reuid={ORDINARY}", f"--regid={ORDINARY}", "--clear-groups")


@dataclass
class Person:
    """What a command prints, for him."""

    prefix: tuple[str, ...] = ()

    @classmethod
    def named(cls, kind: str, *more: Any) -> Self:  # noqa: ANN401  (what the class has besides)
        """ "root", or anybody else. Skips where this is to be root, and is not."""
        root = os.geteuid() == 0
        if kind == "root" and not root:
            pytest.skip("needs root")
        return cls(_AWAY if root and kind != "root" else (), *more)

    def start(self, *words: str, **streams: Any) -> subprocess.Popen[str]:  # noqa: ANN401  (those of Popen)
        environment = {
            **os.environ,
            "PYTHONPATH": str(SOURCE),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "TERM": "xterm",
        }
        command = [*self.prefix, sys.executable, "-m", "nankeen", *words]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        return subprocess.Popen(command, env=environment, cwd="/", text=True, **streams)

    def run(self, *words: str) -> tuple[int, str, str]:
        """Its exit status, and what it printed."""
        with self.start(*words) as process:
            try:
                out, err = process.communicate(timeout=60)
            finally:
                process.kill()
        return process.returncode, out, err


@dataclass
class Owner(Person):
    """Somebody who has a lab of two nodes and two pods."""

    lab: str = ""


@contextmanager
def owning(owner: Owner) -> Iterator[None]:
    """While the lab stands."""
    try:
        status, _, err = owner.run("lab", "up", "--name", owner.lab, "--nodes", "2", "--pods", "2")
        assert status == 0, err
        yield
    finally:
        owner.run("lab", "down", "--name", owner.lab)
