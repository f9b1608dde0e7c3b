from dataclasses import replace
from ipaddress import IPv4Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.backend import Node, open_backend
from nankeen.backend.admission import Admission, Gate, admit
from nankeen.model.lease import Endpoint, Lease
from nankeen.model.netconf import BackendConfig
from nankeen.model.state import State
from tests.unit.backend.fabric import IPV4, IPV6, endpoint, endpoint6, lease, mac, node, vtep_data

VXLAN = open_backend(BackendConfig("vxlan"))


def admission(*leases: Lease, here: Node | None = None) -> Admission:
    return admit([VXLAN], here or node(), leases)


def test_good_peers_are_admitted_in_the_order_of_their_names() -> None:
    peers = [lease(4), lease(2), lease(3)]
    decided = admission(*peers)
    assert [peer.node for peer in decided.peers] == ["node2", "node3", "node4"]
    assert not decided.rejected


def test_the_nodes_own_lease_is_neither_a_peer_nor_rejected() -> None:
    assert admission(lease(1)) == Admission((), {}, {})


def test_the_objects_of_the_peers_and_the_nodes_own_are_the_whole_state() -> None:
    decided = admission(lease(2), lease(3))
    parts = [item for way in decided.ways.values() for item in way.objects]
    assert State([*VXLAN.state(node(), ()), *parts]) == VXLAN.state(node(), decided.peers)


@pytest.mark.parametrize(
    "wrong, reason",
    [
        (lease(3, backend="host-gw"), "its backend is 'host-gw', and this node's 'vxlan'"),
        (lease(3, backend=""), "its backend is '', and this node's 'vxlan'"),
        (lease(3, endpoint6(3)), "it has no subnet in 10.5.0.0/16"),
        (
            lease(3, endpoint(3, subnet="10.6.3.0/24")),
            "its subnet 10.6.3.0/24 lies outside the pod network 10.5.0.0/16",
        ),
        (
            lease(3, endpoint(3, subnet="10.4.0.0/15")),
            "its subnet 10.4.0.0/15 lies outside the pod network 10.5.0.0/16",
        ),
        (lease(3, endpoint(3, subnet="0.0.0.0/0")), "lies outside the pod network"),
        (lease(3, endpoint(3, address="0.0.0.0")), "0.0.0.0 is no IPv4 address that a node can be reached at"),  # noqa: S104
        (lease(3, endpoint(3, address="127.0.0.1")), "127.0.0.1 is no IPv4 address"),
        (lease(3, endpoint(3, address="224.0.0.1")), "224.0.0.1 is no IPv4 address"),
        (lease(3, endpoint(3, address="255.255.255.255")), "255.255.255.255 is no IPv4 address"),
        (lease(3, endpoint(3, address="fd99::3")), "fd99::3 is no IPv4 address"),
        (lease(3, endpoint(3, data="{}")), "is not a hardware address"),
        (lease(3, endpoint(3, subnet="10.5.1.128/25")), "its subnet 10.5.1.128/25 overlaps that of node1"),
        (lease(3, endpoint(3, subnet="10.5.2.0/24")), "its subnet 10.5.2.0/24 overlaps that of node2"),
        (lease(3, endpoint(3, subnet="10.5.2.64/26")), "its subnet 10.5.2.64/26 overlaps that of node2"),
        (lease(3, endpoint(3, subnet="10.5.2.0/23")), "its subnet 10.5.2.0/23 overlaps that of node2"),
        (lease(3, endpoint(3, address="10.99.0.1")), "its address 10.99.0.1 is this node's own; give one"),
        (lease(3, endpoint(3, address="10.99.0.2")), "its address 10.99.0.2 is node2's already"),
        (
            lease(3, endpoint(3, data=vtep_data(mac(2)))),
            "ForwardingEntry flannel.1 02:00:00:00:04:02 is node2's already",
        ),
        (lease(3, endpoint(3, data=vtep_data(mac(1)))), "its VTEP has this node's hardware address"),
    ],
)
def test_a_wrong_lease_is_refused_alone_with_the_reason(wrong: Lease, reason: str) -> None:
    decided = admission(lease(2), wrong, lease(4))
    assert [peer.node for peer in decided.peers] == ["node2", "node4"]
    assert list(decided.rejected) == ["node3"]
    assert reason in decided.rejected["node3"]


def test_a_node_behind_nat_refuses_a_peer_of_its_public_address() -> None:
    decided = admission(lease(2, endpoint(2, address="192.0.2.1")), here=node(public="192.0.2.1"))
    assert "its address 192.0.2.1 is this node's own" in decided.rejected["node2"]


def test_a_refused_lease_takes_nothing_from_those_that_follow() -> None:
    both = node(str(IPV4), str(IPV6))
    half_wrong = lease(2, endpoint(2), replace(endpoint6(2), subnet=ip_network("fd00::/64")))
    heir = replace(lease(3, endpoint(2), endpoint6(2)), node="node3")
    decided = admission(half_wrong, heir, here=both)
    assert decided.peers == (heir,)
    assert list(decided.rejected) == ["node2"]


def test_what_was_admitted_before_is_taken_over_where_the_lease_is_the_same_object() -> None:
    kept, changed = lease(2), lease(3)
    gate = Gate([VXLAN], node())
    before = gate.admit([kept, changed])
    moved = lease(3, endpoint(3, address="10.99.0.33"))
    after = gate.admit([kept, moved])
    assert after == admission(kept, moved)
    assert after.ways["node2"] is before.ways["node2"]
    assert after.ways["node3"] != before.ways["node3"]


def test_a_lease_that_was_refused_for_another_is_admitted_when_that_one_goes() -> None:
    first, second = lease(2), replace(lease(2), node="node3")
    gate = Gate([VXLAN], node())
    assert list(gate.admit([first, second]).rejected) == ["node3"]
    assert gate.admit([second]) == admission(second)
    assert gate.admit([second, first]).peers == (first,)


subnets = st.builds(
    lambda base, length: IPv4Network((0x0A050000 + base, length), strict=False),
    st.integers(0, 0xFFFF),
    st.integers(18, 30),
)


@given(st.lists(st.tuples(subnets, st.integers(2, 9), st.integers(2, 9)), max_size=8), st.randoms())
def test_law_what_is_admitted_can_stand_side_by_side_in_any_order_of_arrival(
    drawn: list[tuple[IPv4Network, int, int]], chance: st.DataObject
) -> None:
    leases = [
        Lease(f"peer{number}", "vxlan", (Endpoint(subnet, endpoint(host, data=vtep_data(mac(vtep))).reach),))
        for number, (subnet, host, vtep) in enumerate(drawn)
    ]
    decided = admission(*leases)
    assert {peer.node for peer in decided.peers} | set(decided.rejected) == {one.node for one in leases}
    VXLAN.state(node(), decided.peers)  # raises where two objects collide
    held = [*node().subnets, *(peer.endpoints[0].subnet for peer in decided.peers)]
    assert not any(one.overlaps(other) for at, one in enumerate(held) for other in held[:at])
    addresses = [peer.endpoints[0].reach.address for peer in decided.peers]
    assert len({*addresses, ip_address("10.99.0.1")}) == len(addresses) + 1
    assert admission(*sorted(leases, key=lambda _: chance.random())) == decided  # type: ignore[attr-defined]


@given(
    st.lists(st.dictionaries(st.integers(1, 7), st.tuples(subnets, st.integers(1, 5), st.integers(1, 5)), max_size=6))
)
def test_law_a_gate_says_at_any_time_what_would_be_said_of_the_same_leases_anew(
    drawn: list[dict[int, tuple[IPv4Network, int, int]]],
) -> None:
    gate = Gate([VXLAN], node())
    known: dict[tuple[int, IPv4Network, int, int], Lease] = {}
    for moment in drawn:
        leases = []
        for number, (subnet, host, vtep) in moment.items():
            made = Lease(f"node{number}", "vxlan", (Endpoint(subnet, endpoint(host, data=vtep_data(mac(vtep))).reach),))
            leases.append(known.setdefault((number, subnet, host, vtep), made))
        assert gate.admit(leases) == admission(*leases)
        assert set(gate.leases) == {one for one in leases if one.node != "node1"}
