"""What a node remembers: all that was saved comes back, and what is damaged or older says so or does without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nankeen.agent import lastknown
from nankeen.agent.lastknown import Remembered
from nankeen.model.errors import InputError
from nankeen.registry import Snapshot
from tests.unit.agent.cluster import BACKENDS, CASES, config, lease


@pytest.mark.parametrize("name, mode", CASES)
def test_what_was_saved_comes_back(tmp_path: Path, name: str, mode: str) -> None:
    peers = [lease(number, [name, *list(BACKENDS)[:3]], mode) for number in (3, 2)]
    known = config(name, mode)
    saved = Remembered(Snapshot(known, {peer.node: peer for peer in peers}, 7), (known.backend,), tuple(peers))
    lastknown.save(tmp_path / "leases.json", saved)
    assert lastknown.load(tmp_path / "leases.json") == saved


def test_a_file_of_an_older_nankeen_is_read_without_what_it_does_not_tell(tmp_path: Path) -> None:
    file = tmp_path / "leases.json"
    known = config("vxlan", "ipv4")
    lastknown.save(file, Remembered(Snapshot(known, {"node2": lease(2, ["vxlan"], "ipv4")}, 7), (known.backend,)))
    document = json.loads(file.read_text())
    del document["standing"], document["backends"]
    file.write_text(json.dumps(document))
    found = lastknown.load(file)
    assert found is not None
    assert (list(found.snapshot.leases), found.backends, found.standing) == (["node2"], (), ())


def test_a_remembered_lease_that_cannot_be_read_is_left_out_and_stands_no_more(tmp_path: Path) -> None:
    file = tmp_path / "leases.json"
    known, peers = config("vxlan", "ipv4"), [lease(number, ["vxlan"], "ipv4") for number in (2, 3)]
    lastknown.save(file, Remembered(Snapshot(known, {peer.node: peer for peer in peers}, 7), (), tuple(peers)))
    file.write_text(file.read_text().replace("192.168.0.2", "nowhere"))
    found = lastknown.load(file)
    assert found is not None
    assert list(found.snapshot.rejected) == ["node2"]
    assert found.standing == (peers[1],)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"config":7}', "\0", '{"config":{"Network":"10.244.0.0/16"},"leases":7}']
)
def test_a_file_that_is_no_such_file_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "leases.json"
    file.write_text(text)
    with pytest.raises(InputError, match=r"leases\.json"):
        lastknown.load(file)


def test_a_node_that_was_never_here_remembers_nothing(tmp_path: Path) -> None:
    assert lastknown.load(tmp_path / "leases.json") is None
