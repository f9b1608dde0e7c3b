"""The desired state of a node, as leases come, change and go."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from nankeen.agent.fabric import Fabric, bridge_address, hardware
from nankeen.backend import Node, Underlay, open_backend
from nankeen.model.address import HardwareAddress
from nankeen.model.diff import diff
from nankeen.model.lease import Endpoint, Lease, Reach
from nankeen.model.netconf import BackendConfig
from nankeen.model.state import Bridge, Link, State, Vxlan

NETWORK = IPv4Network("10.244.0.0/16")
OUR_MAC = HardwareAddress.parse("02:00:00:00:ff:00")
VXLAN = open_backend(BackendConfig("vxlan"))


def fabric() -> Fabric:
    node = Node(
        "node0",
        Underlay("eth0", 1500, (IPv4Address("192.168.0.10"),)),
        (NETWORK,),
        (IPv4Network("10.244.1.0/24"),),
        hardware={"flannel.1": OUR_MAC},
    )
    return Fabric((VXLAN,), node)


def lease(number: int, mac: int = 0) -> Lease:
    data = f'{{"VNI":1,"VtepMAC":"02:00:00:00:{mac:02x}:{number:02x}"}}'
    reach = Reach(IPv4Address("192.168.0.10") + number, data)
    return Lease(f"node{number}", "vxlan", (Endpoint(IPv4Network((int(NETWORK[0]) + (number + 1) * 256, 24)), reach),))


def test_a_node_without_peers_has_its_tunnel_end_point_and_its_bridge() -> None:
    assert [str(item) for item in fabric().state] == [
        f"flannel.1: vxlan id 1 local 192.168.0.10 dev eth0 dstport 8472 nolearning mtu 1450 address {OUR_MAC} up",
        "net/ipv6/conf/flannel.1/accept_ra = 0",
        "inet 10.244.1.0/32 dev flannel.1",
        "cni0: bridge mtu 1450 address 0a:58:0a:f4:01:01 up",
        "net/ipv6/conf/cni0/accept_ra = 0",
        "inet 10.244.1.1/24 dev cni0",
        "net/ipv4/ip_forward = 1",
    ]


def test_pods_leave_unsegmented_what_a_data_path_outside_the_kernel_sends_at_once() -> None:
    node = fabric().node
    assert fabric().gso_max_size == 65_536
    assert Fabric((open_backend(BackendConfig("udp")), VXLAN), node).gso_max_size < 65_507


def test_the_bridge_can_be_somebody_elses() -> None:
    own = fabric()
    made = Fabric(own.backends, own.node, bridged=False)
    left = [str(item) for item in made.state if item not in own.state or "cni0" in str(item)]
    assert left == []
    assert "net/ipv4/ip_forward = 1" in map(str, made.state)
    assert own.claim.devices - made.claim.devices == {"cni0"}


def test_packets_for_pods_that_are_not_there_can_be_dropped() -> None:
    own = fabric()
    made = Fabric(own.backends, own.node, blackhole=True)
    (added,) = diff(made.state, own.state, made.claim)
    assert str(added) == "+ blackhole 10.244.1.0/24 proto 110 metric 32767"
    (removed,) = diff(own.state, made.state, own.claim)
    assert str(removed) == "- blackhole 10.244.1.0/24 proto 110 metric 32767"


def test_a_peer_that_joins_adds_its_path_and_nothing_else() -> None:
    before, after = fabric().update([lease(1)])
    assert len(before) == 0
    assert [str(item) for item in after] == [
        "02:00:00:00:00:01 dev flannel.1 dst 192.168.0.11 self permanent",
        "10.244.2.0 dev flannel.1 lladdr 02:00:00:00:00:01 PERMANENT",
        "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
    ]


def test_only_the_lease_that_changed_is_worked_on() -> None:
    node = fabric()
    first, second = lease(1), lease(2)
    node.update([first, second])
    before, after = node.update([first, lease(2, mac=9)])
    changes = [str(change) for change in diff(after, before, node.claim)]
    old = "10.244.3.0 dev flannel.1 lladdr 02:00:00:00:00:02 PERMANENT"
    new = "10.244.3.0 dev flannel.1 lladdr 02:00:00:00:09:02 PERMANENT"
    assert changes == [
        "+ 02:00:00:00:09:02 dev flannel.1 dst 192.168.0.12 self permanent",
        f"~ {new}  (was: {old})",
        "- 02:00:00:00:00:02 dev flannel.1 dst 192.168.0.12 self permanent",
    ]


def test_a_bad_lease_is_refused_alone_and_named() -> None:
    node = fabric()
    bad = Lease("node2", "vxlan", (Endpoint(IPv4Network("10.9.0.0/24"), Reach(IPv4Address("192.168.0.12"))),))
    node.update([lease(1), bad])
    assert list(node.peers) == ["node1"]
    assert "10.9.0.0/24" in node.rejected["node2"]


leases = st.dictionaries(st.integers(1, 6), st.integers(0, 3)).map(
    lambda chosen: [lease(number, mac) for number, mac in chosen.items()]
)


@given(st.lists(leases, min_size=1, max_size=5))
def test_steps_from_set_to_set_lead_where_the_last_set_alone_leads(sets: list[list[Lease]]) -> None:
    stepping, alone = fabric(), fabric()
    state = stepping.state
    for chosen in sets:
        before, after = stepping.update(chosen)
        kept = [item for item in state if before.get(item.identity) is None]
        state = State(kept) | after
    alone.update(sets[-1])
    assert state == stepping.state == alone.state


def test_hardware_addresses_stay_what_they_are_and_are_the_same_after_a_reboot() -> None:
    standing = State([Link("flannel.1", Vxlan(1, "eth0", None), address=HardwareAddress.parse("02:00:00:00:00:07"))])
    assert str(hardware("node1", ["flannel.1"], standing)["flannel.1"]) == "02:00:00:00:00:07"
    after_a_reboot = hardware("node1", ["flannel.1", "flannel-v6.1"], State())
    assert after_a_reboot == hardware("node1", ["flannel-v6.1", "flannel.1"], State())
    assert len({*after_a_reboot.values(), *hardware("node2", ["flannel.1"], State()).values()}) == 3
    assert not any(address.is_multicast for address in after_a_reboot.values())


def test_the_bridge_of_running_pods_keeps_its_hardware_address() -> None:
    theirs = HardwareAddress.parse("5e:00:00:00:00:09")
    assert bridge_address(State([Link("cni0", Bridge(), address=theirs)])) == theirs
    assert bridge_address(State()) is None
