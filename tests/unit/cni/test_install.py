"""The executable and the configuration list on disk."""

from __future__ import annotations

import ast
import json
import os
import stat
import sys
from pathlib import Path

import pytest

from nankeen.cni import client, install
from nankeen.cni.version import SUPPORTED
from nankeen.model.errors import InputError


def test_the_executable_starts_with_the_real_interpreter_isolated(tmp_path: Path) -> None:
    executable = install.install_executable(tmp_path)
    first = executable.read_text().splitlines()[0]
    assert first == f"#!{os.path.realpath(sys.executable)} -ISE"
    assert stat.S_IMODE(executable.stat().st_mode) == 0o755


def test_the_executable_imports_nothing_but_what_is_built_in(tmp_path: Path) -> None:
    tree = ast.parse(install.install_executable(tmp_path).read_text())
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported == {"_socket", "posix", "sys"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]


def test_the_executable_asks_the_socket_it_was_told(tmp_path: Path) -> None:
    executable = install.install_executable(tmp_path, socket="/run/it's/cni.sock")
    names: dict[str, object] = {}
    exec(executable.read_text(), names)  # noqa: S102  (our own source)
    assert names["SOCKET"] == "/run/it's/cni.sock"


def test_the_client_and_the_agent_speak_the_same_versions() -> None:
    assert client.VERSIONS == SUPPORTED


def test_an_installation_replaces_the_one_before_and_leaves_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "nankeen").write_text("old")
    with (tmp_path / "nankeen").open() as running:
        install.install_executable(tmp_path)
        assert running.read() == "old"  # what runs keeps its file
    assert [path.name for path in tmp_path.iterdir()] == ["nankeen"]


def test_an_installation_does_not_write_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nankeen").symlink_to(victim)
    install.install_executable(tmp_path / "bin")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "bin" / "nankeen").is_symlink()


def test_a_failed_installation_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "nankeen" / "in-the-way").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        install.install_executable(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["nankeen"]


@pytest.mark.parametrize("interpreter", ["/" + "x" * 127, "/opt/my python/bin/python3"])
def test_an_interpreter_that_no_first_line_can_name_is_refused(tmp_path: Path, interpreter: str) -> None:
    with pytest.raises(InputError):
        install.install_executable(tmp_path, interpreter=interpreter)
    assert list(tmp_path.iterdir()) == []


def test_the_conflist_names_our_plugin_in_flannels_network(tmp_path: Path) -> None:
    path = install.install_conflist(tmp_path / "net.d")
    assert path.name == "10-nankeen.conflist"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert json.loads(path.read_bytes()) == {
        "cniVersion": "0.3.1",
        "name": "cbr0",
        "plugins": [{"type": "nankeen", "hairpinMode": True, "isDefaultGateway": True}],
    }


def test_what_was_installed_can_be_removed_and_removed_again(tmp_path: Path) -> None:
    install.install_executable(tmp_path)
    install.install_conflist(tmp_path)
    for _ in range(2):
        install.remove_executable(tmp_path)
        install.remove_conflist(tmp_path)
        assert list(tmp_path.iterdir()) == []
