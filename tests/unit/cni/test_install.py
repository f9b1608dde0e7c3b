"""The executable and the configuration list on disk."""

from __future__ import annotations

import ast
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nankeen.cni import client, compiled, install
from nankeen.cni.version import SUPPORTED
from nankeen.model.errors import InputError


def test_the_client_in_python_starts_with_the_real_interpreter_isolated() -> None:
    first = install.python_executable().splitlines()[0]
    assert first.decode() == f"#!{os.path.realpath(sys.executable)} -ISE"


def test_the_client_in_python_imports_nothing_but_what_is_built_in() -> None:
    tree = ast.parse(install.python_executable())
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported == {"_socket", "posix", "sys", "time"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]


def test_the_client_in_python_asks_the_socket_it_was_told() -> None:
    names: dict[str, object] = {}
    exec(install.python_executable("/run/it's/cni.sock", "/run/it's/status"), names)  # noqa: S102  (our own source)
    assert names["SOCKET"] == "/run/it's/cni.sock"
    assert names["STATUS_FILE"] == "/run/it's/status"


def test_the_compiled_client_asks_the_socket_it_was_told(compile_client: Callable[[], Path]) -> None:
    program = compile_client()
    told = install.compiled_executable(program, "/run/it's/cni.sock", "/run/it's/status.json")
    assert told.count(b"/run/it's/cni.sock\0") == 1
    assert told.count(b"/run/it's/status.json\0") == 1
    assert client.SOCKET.encode() not in told
    assert client.STATUS_FILE.encode() not in told
    assert len(told) == program.stat().st_size


def test_a_compiled_client_with_no_place_for_its_socket_is_refused(tmp_path: Path) -> None:
    (tmp_path / "nankeen").write_bytes(b"\x7fELF")
    with pytest.raises(InputError, match="not a compiled client"):
        install.compiled_executable(tmp_path / "nankeen")


@pytest.mark.parametrize("socket", ["", "/run/" + "é" * 52, "/run/a\0b", "/run/a\nb", "/run/\udcff"])
def test_a_path_that_can_be_no_socket_is_refused(socket: str) -> None:
    with pytest.raises(InputError, match="cannot be the path"):
        install.python_executable(socket)
    with pytest.raises(InputError, match="cannot be the path"):
        install.python_executable(status=socket * 3)


def test_the_longest_path_of_a_socket_is_taken(compile_client: Callable[[], Path]) -> None:
    longest = "/" + "x" * 106
    assert longest.encode() + b"\0" in install.compiled_executable(compile_client(), longest)


def test_the_compiled_client_is_preferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compile_client: Callable[[], Path]
) -> None:
    monkeypatch.setattr(compiled, "cache", lambda: compile_client().parent)
    executable = install.install_executable(tmp_path)
    assert executable.read_bytes() == compile_client().read_bytes()
    assert stat.S_IMODE(executable.stat().st_mode) == 0o755


def test_without_a_compiled_client_it_is_the_one_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "cache", lambda: None)
    executable = install.install_executable(tmp_path)
    assert executable.read_bytes() == install.python_executable()
    assert stat.S_IMODE(executable.stat().st_mode) == 0o755


@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_an_executable_that_is_there_already_is_left_alone(tmp_path: Path, mode: int) -> None:
    before = install.install_executable(tmp_path).stat()
    (tmp_path / "nankeen").chmod(mode)
    after = install.install_executable(tmp_path).stat()
    assert (after.st_ino == before.st_ino) == (mode == 0o755)
    assert stat.S_IMODE(after.st_mode) == 0o755


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
def test_an_interpreter_that_no_first_line_can_name_is_refused(interpreter: str) -> None:
    with pytest.raises(InputError):
        install.python_executable(interpreter=interpreter)


def test_the_conflist_names_our_plugin_in_flannels_network(tmp_path: Path) -> None:
    path = install.install_conflist(tmp_path / "net.d")
    assert path.name == "10-nankeen.conflist"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert json.loads(path.read_bytes()) == {
        "cniVersion": "1.0.0",
        "cniVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
        "name": "cbr0",
        "plugins": [
            {
                "type": "nankeen",
                "hairpinMode": True,
                "isDefaultGateway": True,
                "capabilities": dict.fromkeys(install.CAPABILITIES, True),
            }
        ],
    }


def test_the_conflists_versions_are_ours() -> None:
    assert install.CONFLIST_VERSION in install.CONFLIST_VERSIONS
    assert set(install.CONFLIST_VERSIONS) <= set(SUPPORTED)


def test_the_executable_is_installed_in_the_place_of_others_only_when_asked(tmp_path: Path) -> None:
    install.install_executable(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["nankeen"]
    install.install_executable(tmp_path, names=["flannel", "portmap"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flannel", "nankeen", "portmap"]
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_the_list_can_be_removed_and_removed_again(tmp_path: Path) -> None:
    install.install_conflist(tmp_path)
    for _ in range(2):
        install.remove_conflist(tmp_path)
        assert list(tmp_path.iterdir()) == []
