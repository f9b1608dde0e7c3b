"""An agent that is killed while it installs: at every system call, one after the other."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from nankeen.cni import install, wholefile
from tests.crash import killed_at

PROGRAM = b"#!/bin/sh\n" + b"#" * 100_000
CALLS = [(os, name) for name in ("open", "fdopen", "fchmod", "fsync", "rename", "replace", "mkdir", "scandir")]
"""What `nankeen.cni.wholefile` asks of the system."""


def install_all(directory: Path) -> None:
    """As an agent does when it is ready."""
    install.install_executable(directory / "bin", PROGRAM)
    install.install_conflist(directory / "conf")


def crashes(tmp_path: Path, before: Callable[[Path], None]) -> Iterator[Path]:
    """What each crash leaves, in a directory of its own."""
    number, killed = 0, True
    while killed:
        number += 1
        directory = tmp_path / str(number)
        directory.mkdir()
        before(directory)
        killed = killed_at(number, partial(install_all, directory), CALLS)
        yield directory
    assert number > 10  # calls there were indeed


def visible(directory: Path) -> list[Path]:
    """What a runtime sees: it takes no notice of a name that begins with a dot, or ends otherwise."""
    configurations = [path for path in directory.glob("conf/*") if path.suffix in (".conf", ".conflist", ".json")]
    return sorted(path for path in (*directory.glob("bin/*"), *configurations) if path.name[0] != ".")


def older(directory: Path) -> None:
    """There is what another release installed."""
    install.install_executable(directory / "bin", b"#!/bin/sh\n")
    install.install_conflist(directory / "conf", b'{"name": "cbr0"}')


@pytest.mark.parametrize("before", [lambda _: None, older], ids=["nothing", "another release"])
def test_whenever_an_agent_is_killed_a_runtime_finds_whole_files_or_none(
    tmp_path: Path, before: Callable[[Path], None]
) -> None:
    for directory in crashes(tmp_path, before):
        found = visible(directory)
        for path in found:
            content, mode = path.read_bytes(), stat.S_IMODE(path.stat().st_mode)
            if path.parent.name == "bin":
                assert (content in (PROGRAM, b"#!/bin/sh\n"), mode) == (True, 0o755)
            else:
                assert (json.loads(content)["name"], mode) == ("cbr0", 0o644)
        names = [path.name for path in found]
        assert names in ([], ["nankeen"], ["nankeen", install.CONFLIST])  # no configuration without its executable


def test_what_a_crash_left_goes_with_a_later_installation(tmp_path: Path) -> None:
    left = 0
    for directory in crashes(tmp_path, lambda _: None):
        for path in directory.glob("*/.*"):
            os.utime(path, (0, 0))
            left += 1
        older(directory)
        install_all(directory)
        assert [path.name for path in sorted(directory.glob("*/*"))] == ["nankeen", install.CONFLIST]
    assert left > 2


def test_a_file_goes_with_what_a_crash_left_of_it(tmp_path: Path) -> None:
    for name in ("file", ".file.0123abcd", ".another.0123abcd"):
        (tmp_path / name).touch()
    for _ in range(2):
        wholefile.remove(tmp_path / "file")
    wholefile.remove(tmp_path / "nowhere" / "file")
    assert [path.name for path in tmp_path.iterdir()] == [".another.0123abcd"]


def test_a_draft_that_is_being_written_is_left_alone_and_so_are_others_files(tmp_path: Path) -> None:
    drafts = [tmp_path / name for name in (".file.0123abcd", ".file.backup", ".another.0123abcd", "file.0123abcd")]
    for draft in drafts:
        draft.touch()
    for draft in drafts[1:]:
        os.utime(draft, (0, 0))
    wholefile.put(tmp_path / "file", b"content", 0o644)
    assert sorted(tmp_path.iterdir()) == sorted([*drafts, tmp_path / "file"])
