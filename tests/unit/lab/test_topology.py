"""What a topology means in addresses: the lecture's numbers, for both families alike."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from nankeen.lab import labfile
from nankeen.lab.topology import Topology
from nankeen.model.address import Family


def racks(racks: int, nodes: int) -> Topology:
    """`nodes` nodes on each of `racks` switches, one router between them."""
    members = {f"sw{i}": {"kind": "switch"} for i in range(1, racks + 1)} | {"r1": {"kind": "router"}}
    links = [{"endpoints": [f"r1:eth{i}", f"sw{i}:up"]} for i in range(1, racks + 1)]
    for i in range(racks * nodes):
        members[f"node{i + 1}"] = {"kind": "node"}
        links.append({"endpoints": [f"node{i + 1}:eth0", f"sw{i // nodes + 1}:port{i}"]})
    document = {
        "name": "racks",
        "topology": {"nodes": members, "links": links},
        "network": labfile.default_network(Family, "vxlan"),
    }
    return labfile.parse(document, "racks.yml")


def addresses(topology: Topology, member: str) -> list[list[str]]:
    return [[str(i) for i in ips] for cable, ips in topology.addresses().items() if cable.member == member]


def test_node_i_of_the_first_switch_has_192_168_0_10_plus_i() -> None:
    topology = racks(2, 3)
    assert addresses(topology, "node1") == [["192.168.0.11/24", "fd00:192:168::11/64"]]
    assert addresses(topology, "node3") == [["192.168.0.13/24", "fd00:192:168::13/64"]]


def test_the_next_switch_is_the_next_network() -> None:
    assert addresses(racks(2, 3), "node4") == [["192.168.1.11/24", "fd00:192:168:1::11/64"]]


def test_a_router_has_the_first_address_of_each_switch_and_is_the_gateway_there() -> None:
    topology = racks(2, 1)
    assert addresses(topology, "r1") == [
        ["192.168.0.1/24", "fd00:192:168::1/64"],
        ["192.168.1.1/24", "fd00:192:168:1::1/64"],
    ]
    assert {switch: list(map(str, ips)) for switch, ips in topology.gateways().items()} == {
        "sw1": ["192.168.0.1", "fd00:192:168::1"],
        "sw2": ["192.168.1.1", "fd00:192:168:1::1"],
    }


def test_a_switch_without_a_router_has_no_gateway() -> None:
    network = labfile.default_network([Family.IPV4], "vxlan")
    assert labfile.from_flags("lab", 2, 0, network, "sqlite").gateways() == {}


def test_node_i_holds_the_i_th_pod_subnet() -> None:
    subnets = racks(1, 3).subnets()
    assert list(map(str, subnets["node1"])) == ["10.244.1.0/24", "fd00:10:244:1::/64"]
    assert list(map(str, subnets["node3"])) == ["10.244.3.0/24", "fd00:10:244:3::/64"]


@settings(deadline=None)  # no timing is asserted
@given(switches=st.integers(1, 4), nodes=st.integers(1, 12))
def test_no_two_interfaces_share_an_address_and_no_two_nodes_a_subnet(switches: int, nodes: int) -> None:
    topology = racks(switches, nodes)
    held = [interface for interfaces in topology.addresses().values() for interface in interfaces]
    assert len(held) == len(set(held)) == 2 * (switches * nodes + switches)
    subnets = [subnet for pair in topology.subnets().values() for subnet in pair]
    assert len(subnets) == len(set(subnets)) == 2 * switches * nodes
