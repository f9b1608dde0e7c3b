"""Work that a child does inside a lab."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from nankeen.inspect.inside import inside
from nankeen.lab import Lab
from nankeen.model.errors import KernelError, LabError

LAB = Lab("paper", Path("/nowhere"), rootless=False, network="{}")


def test_what_the_child_returns_is_returned() -> None:
    parent = os.getpid()
    child, text = inside(LAB, lambda: (os.getpid(), "done"))
    assert (child != parent, text) == (True, "done")


def test_an_error_of_ours_is_raised_as_it_was() -> None:
    def work() -> None:
        raise KernelError("no", where="here", remedy="try again")

    with pytest.raises(KernelError, match="here: no; try again"):
        inside(LAB, work)


def test_a_child_that_is_killed_is_an_error() -> None:
    with pytest.raises(LabError, match="ended without a word"):
        inside(LAB, lambda: os.kill(os.getpid(), signal.SIGKILL))


def test_a_mistake_is_shown_where_it_happened(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LabError, match="ended without a word"):
        inside(LAB, lambda: 1 // 0)
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_an_interrupted_parent_leaves_no_child() -> None:
    def interrupt_parent_and_wait() -> None:
        os.kill(os.getppid(), signal.SIGINT)
        signal.pause()

    children = Path(f"/proc/self/task/{os.getpid()}/children")  # other tests' servers may be among them
    before = children.read_text()
    with pytest.raises(KeyboardInterrupt):
        inside(LAB, interrupt_parent_and_wait)
    assert children.read_text() == before


def test_no_descriptor_is_left_open() -> None:
    before = {path.name for path in Path("/proc/self/fd").iterdir() if path.exists()}
    inside(LAB, lambda: None)
    assert {path.name for path in Path("/proc/self/fd").iterdir() if path.exists()} == before
