from __future__ import annotations

import os
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest

from nankeen.backend import Backend, open_backend
from nankeen.kernel.companion import Alone, Places, open_companion
from nankeen.kernel.keyfile import KeyFile
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.errors import InputError
from nankeen.model.netconf import BackendConfig
from nankeen.model.secret import Secret
from nankeen.model.wireguard import KeyPair
from tests.unit.backend.fabric import node

KEYS = KeyPair.of(Secret(bytes(range(32))))
TEXT = b64encode(KEYS.private.octets)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def backend(name: str) -> Backend:
    return open_backend(BackendConfig(name))


def test_a_node_without_a_key_gets_one_for_good(tmp_path: Path) -> None:
    path = tmp_path / "lib" / "wireguard.key"
    keys = KeyFile(path).load()
    assert KeyFile(path).load() == keys
    assert path.read_bytes() == b64encode(keys.private.octets)
    assert mode(path) == 0o400
    assert [entry.name for entry in path.parent.iterdir()] == ["wireguard.key"]


def test_the_key_that_flannel_made_is_taken_over(tmp_path: Path) -> None:
    theirs = tmp_path / "wgkey"
    theirs.write_bytes(TEXT + b"\n")
    ours = tmp_path / "wireguard.key"
    assert KeyFile(ours, theirs).load() == KEYS
    theirs.unlink()  # /run is empty after a reboot
    assert KeyFile(ours, theirs).load() == KEYS


def test_a_key_of_our_own_comes_before_flannels(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "wireguard.key", tmp_path / "wgkey"
    ours.write_bytes(TEXT)
    KeyFile(theirs).load()
    assert KeyFile(ours, theirs).load() == KEYS


def test_a_key_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(TEXT)
    path.chmod(0o644)
    KeyFile(path).load()
    assert mode(path) == 0o400


def test_what_is_no_key_is_refused_and_not_told(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("secret, but no key")
    with pytest.raises(InputError, match="it holds no private key of WireGuard; put 32 octets") as refused:
        KeyFile(path).load()
    assert "secret" not in str(refused.value)
    assert path.read_text() == "secret, but no key"


def test_a_draft_that_a_killed_agent_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / f".key.{os.getpid()}").write_text("half")
    assert KeyFile(tmp_path / "key").load() == KeyFile(tmp_path / "key").load()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="the key cannot be kept: Not a directory"):
        KeyFile(tmp_path / "file" / "key").load()


async def test_the_companion_gives_the_node_its_keys(tmp_path: Path) -> None:
    with NetlinkSocket() as socket:
        companion = open_companion(backend("wireguard"), socket, Places(key_file=tmp_path / "key"))
        prepared = await companion.prepare(node())
        assert prepared.keys is not None
        assert prepared == replace(node(), keys=prepared.keys)
        assert await companion.prepare(node()) == prepared


async def test_a_backend_that_needs_nothing_has_a_companion_that_does_nothing() -> None:
    with NetlinkSocket() as socket:
        companion = open_companion(backend("vxlan"), socket, Places())
    assert isinstance(companion, Alone)
    assert await companion.prepare(node()) == node()


def test_flannels_variable_names_the_key_file() -> None:
    assert Places.of({"WIREGUARD_KEY_FILE": "/etc/key"}).key_file == Path("/etc/key")
    assert Places.of({"WIREGUARD_KEY_FILE": ""}) == Places()
