"""The door of a lab: what is right becomes a topology, what is wrong is told in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nankeen.lab import labfile
from nankeen.lab.topology import Cable, PodPlan, Topology
from nankeen.model.address import Family
from nankeen.model.errors import ConfigError, InputError

TWO_SUBNETS = """
name: two
topology:
  nodes:
    sw1: {kind: switch}
    sw2: {kind: switch}
    r1: {kind: router}
    node1: {kind: node}
    node2: {kind: node}
    pod1: {kind: pod, node: node2, containers: 2}
  links:
    - endpoints: ["node1:eth0", "sw1:port1"]
    - endpoints: ["sw2:port1", "node2:eth0"]
      mtu: 1400
    - endpoints: ["r1:eth0", "sw1:port2"]
    - endpoints: ["r1:eth1", "sw2:port2"]
network:
  Network: 10.5.0.0/16
  Backend: {Type: vxlan, VNI: 7}
"""


def written(directory: Path, text: str) -> Topology:
    path = directory / "lab.yml"
    path.write_text(text)
    return labfile.read(path)


def flags(nodes: int, pods: int) -> Topology:
    return labfile.from_flags("lab", nodes, pods, labfile.default_network([Family.IPV4], "vxlan"), "sqlite")


def test_a_file_says_switches_routers_nodes_pods_and_links(tmp_path: Path) -> None:
    topology = written(tmp_path, TWO_SUBNETS)
    assert (topology.name, topology.switches, topology.routers) == ("two", ("sw1", "sw2"), ("r1",))
    assert topology.pods == (PodPlan("pod1", "node2", 2),)
    assert Cable("sw2", "port1", "node2", "eth0", 1400) in topology.cables
    assert str(topology.network.networks[0]) == "10.5.0.0/16"
    assert topology.network.backend.options["VNI"] == 7


def test_a_file_without_links_plugs_all_nodes_into_one_switch_and_is_named_after_itself(tmp_path: Path) -> None:
    topology = written(tmp_path, "topology: {nodes: {node1: {kind: node}, node2: {kind: node}}}")
    assert topology.name == "lab"
    assert topology.cables == (Cable("sw1", "port1", "node1", "eth0"), Cable("sw1", "port2", "node2", "eth0"))


def test_options_go_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text(TWO_SUBNETS)
    assert labfile.read(path, {"name": "other"}).name == "other"


@settings(deadline=None)  # no timing is asserted
@given(nodes=st.integers(1, 40), pods=st.integers(0, 60))
def test_flags_put_pod_i_on_node_i_minus_1_modulo_nodes_plus_1(nodes: int, pods: int) -> None:
    topology = flags(nodes, pods)
    assert topology.nodes == tuple(f"node{i}" for i in range(1, nodes + 1))
    assert [pod.name for pod in topology.pods] == [f"pod{i}" for i in range(1, pods + 1)]
    assert all(pod.node == f"node{(i - 1) % nodes + 1}" for i, pod in enumerate(topology.pods, 1))


@pytest.mark.parametrize(
    "change, words",
    [
        ({"name": "Lab"}, "name: 'Lab' is not allowed"),
        ({"name": "x" * 21}, "at most 20"),
        ({"name": "-a"}, "name: '-a'"),
        ({"name": "../etc"}, "name: '../etc'"),
        ({"name": 7}, "name: 7"),
        ({"colour": "red"}, "unknown field colour"),
        ({"registry": "paper"}, "registry: 'paper'"),
        ({"topology": None}, "topology: missing"),
        ({"topology": []}, "topology: []"),
        ({"topology": {}}, "topology.nodes: missing"),
        ({"topology": {"nodes": {}}}, "there is no node"),
        ({"topology": {"nodes": {"a": {"kind": "cat"}}}}, "topology.nodes.a.kind: 'cat'"),
        ({"topology": {"nodes": {"a": None}}}, "topology.nodes.a: missing"),
        ({"topology": {"nodes": {"a": {"kind": "node", "image": "x"}}}}, "unknown field topology.nodes.a.image"),
        ({"topology": {"nodes": {"a/b": {"kind": "node"}}}}, "topology.nodes: 'a/b'"),
        ({"topology": {"nodes": {1: {"kind": "node"}}}}, "a mapping"),
        ({"topology": {"nodes": {"sw1": {"kind": "node"}}}}, "sw1"),
        ({"network": {"Network": "10.0.0.0/33"}}, "network"),
        ({"network": {"Network": "10.5.0.0/16", "Backend": {"Type": "pigeon"}}}, "pigeon"),
        ({"network": {"Network": "192.168.0.0/16"}}, "overlaps 192.168.0.0/24 of sw1"),
    ],
)
def test_what_is_not_allowed_is_told_with_its_field(change: dict[str, Any], words: str) -> None:
    document = {"name": "lab", "topology": {"nodes": {"node1": {"kind": "node"}}}, **change}
    with pytest.raises(InputError) as caught:
        labfile.parse(document, "my.yml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ConfigError) or caught.value.where == "my.yml"


@pytest.mark.parametrize(
    "members, links, words",
    [
        ({}, "all", "a list of links"),
        ({}, [{"endpoints": ["node1:eth0"]}], 'two of the form "node1:eth0"'),
        ({}, [{"endpoints": ["node1:eth0", "sw1"]}], "topology.links[0].endpoints: 'sw1'"),
        ({}, [{"endpoints": ["node1:eth0", "sw1:a b"]}], "'sw1:a b'"),
        ({}, [{"endpoints": ["node1:lo", "sw1:port1"]}], "'node1:lo'"),
        ({}, [{"endpoints": ["node1:eth0", "sw9:port1"]}], "a switch, and a node or router"),
        ({}, [{"endpoints": ["node1:eth0", "sw1:p1"], "mtu": "big"}], "topology.links[0].mtu: 'big'"),
        ({}, [{"endpoints": ["node1:eth0", "sw1:p1"], "mtu": 100}], "a number from 576 to 65535"),
        ({}, [{"endpoints": ["node1:eth0", "sw1:p1"], "delay": 1}], "unknown field topology.links[0].delay"),
        ({}, [], "node1 has 0 links"),
        ({}, [{"endpoints": ["node1:eth0", "sw1:p1"]}, {"endpoints": ["node1:eth0", "sw1:p2"]}], "several links"),
        ({"r1": {"kind": "router"}}, [{"endpoints": ["node1:eth0", "sw1:p1"]}], "r1 has no link"),
        ({"pod1": {"kind": "pod"}}, None, "topology.nodes.pod1.node: missing"),
        ({"pod1": {"kind": "pod", "node": "sw1"}}, None, "topology.nodes.pod1.node: 'sw1'"),
        ({"pod1": {"kind": "pod", "node": "node1", "containers": 0}}, None, "containers: 0"),
        ({"pod1": {"kind": "pod", "node": "node1", "containers": True}}, None, "containers: True"),
    ],
)
def test_links_and_pods_must_fit_the_members(members: dict[str, Any], links: object, words: str) -> None:
    nodes = {"sw1": {"kind": "switch"}, "node1": {"kind": "node"}, **members}
    topology = {"nodes": nodes} if links is None else {"nodes": nodes, "links": links}
    with pytest.raises(InputError) as caught:
        labfile.parse({"name": "lab", "topology": topology}, "my.yml")
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "- a", "", "\x00", "!!python/object:os.system {}"])
def test_what_is_no_lab_file_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"lab\.yml"):
        written(tmp_path, text)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        labfile.read(tmp_path / "none.yml")


def test_more_nodes_than_subnets_are_refused_at_the_door() -> None:
    network = {"Network": "10.4.0.0/22", "SubnetLen": 24, "Backend": {"Type": "vxlan"}}
    with pytest.raises(InputError, match="subnets for 3 nodes only"):
        labfile.from_flags("lab", 4, 0, network, "sqlite")


def test_a_switch_takes_240_nodes_and_no_more() -> None:
    assert len(flags(240, 0).nodes) == 240
    with pytest.raises(InputError, match="sw1 has 241 nodes"):
        flags(241, 0)
