"""Waiting for agents: by what they write, each node for itself."""

from __future__ import annotations

import json
import select
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from nankeen.agent import status
from nankeen.agent.status import Status
from nankeen.lab import readiness
from nankeen.lab.cluster import Cluster
from nankeen.lab.lab import Lab, LabNode, Namespaces
from nankeen.lab.readiness import Readiness
from nankeen.model.errors import LabError


@pytest.fixture
def nodes(tmp_path: Path) -> list[LabNode]:
    made = [LabNode(name, Namespaces(Path("/")), "eth0", (), tmp_path / name) for name in ("node1", "node2")]
    for node in made:
        for directory in ("etc/cni/net.d", "run/nankeen"):
            (node.directory / directory).mkdir(parents=True)
    return made


def become_ready(node: LabNode) -> None:
    conflist = {"cniVersion": "1.0.0", "name": "cbr0", "plugins": [{"type": "nankeen"}]}
    draft = node.directory / "etc/cni/net.d/.draft"
    draft.write_text(json.dumps(conflist))
    draft.rename(draft.with_name("10-nankeen.conflist"))


def know(node: LabNode, peers: int, rejected: Mapping[str, str] = MappingProxyType({})) -> None:
    status.write(node.directory / "run/nankeen/status.json", Status(node.name, peers=peers, rejected=dict(rejected)))


def news(readiness: Readiness) -> list[str]:
    assert select.select([readiness.fileno()], [], [], 5)[0]
    return [node.name for node, _ in readiness.look()]


def test_a_node_is_ready_when_its_network_configuration_list_appears(nodes: list[LabNode]) -> None:
    with Readiness(nodes, 0) as waiting:
        assert waiting.look() == []
        become_ready(nodes[1])
        assert news(waiting) == ["node2"]
        become_ready(nodes[0])
        assert news(waiting) == ["node1"]


def test_what_stood_there_before_is_found_at_the_first_look(nodes: list[LabNode]) -> None:
    for node in nodes:
        become_ready(node)
        know(node, peers=1)
    with Readiness(nodes, 1) as waiting:
        assert not waiting.complete
        assert {node.name for node, _ in waiting.look()} == {"node1", "node2"}
        assert waiting.complete


def test_it_is_complete_when_every_agent_has_dealt_with_every_peer(nodes: list[LabNode]) -> None:
    for node in nodes:
        become_ready(node)
        know(node, peers=0)
    with Readiness(nodes, 1) as waiting:
        waiting.look()
        know(nodes[0], peers=1)
        news(waiting)
        assert not waiting.complete
        know(nodes[1], peers=0, rejected={"node1": "two of a kind"})
        news(waiting)
        assert waiting.complete


def test_agents_that_take_too_long_are_named(nodes: list[LabNode], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "DEADLINE", 0.0)
    become_ready(nodes[0])
    know(nodes[0], peers=0)
    with Readiness(nodes, 0) as waiting:
        waiting.look()
        with pytest.raises(LabError, match="node2: not ready"):
            waiting.look()


def test_agents_that_take_too_long_say_why(nodes: list[LabNode], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "DEADLINE", 0.0)
    for node in nodes:
        reason = "the kernel has no ipip: load the module `ipip`, or choose another backend"
        status.write(node.directory / "run/nankeen/status.json", Status(node.name, reason=reason))
    with Readiness(nodes, 0) as waiting:
        waiting.look()
        with pytest.raises(LabError, match=r"^node1, node2: not ready after 0 s: the kernel has no ipip: load[^:]*$"):
            waiting.look()


def test_a_lab_whose_agents_are_all_done_waits_for_nothing(nodes: list[LabNode], tmp_path: Path) -> None:
    for node in nodes:
        become_ready(node)
        know(node, peers=1)
    cluster = Cluster(Lab("lab", tmp_path, rootless=True, network="{}", nodes=tuple(nodes)))
    with Readiness(nodes, 1) as waiting:
        assert list(cluster._attach([], waiting)) == []
