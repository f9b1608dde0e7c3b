from dataclasses import replace
from ipaddress import IPv4Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.backend import Node, open_backend
from nankeen.backend.admission import Admission, Gate, admit
from nankeen.backend.routing import RouteTable
from nankeen.model.lease import Endpoint, Lease
from nankeen.model.netconf import BackendConfig
from nankeen.model.state import Route, State
from tests.unit.backend.fabric import IPV4, IPV6, endpoint, endpoint6, lease, mac, node, vtep_data

VXLAN = open_backend(BackendConfig("vxlan"))
HOST_GW = open_backend(BackendConfig("host-gw"))
Claimed = tuple[IPv4Network, int, int]
"""A subnet, the number of an underlay address, and that of a VTEP."""


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
        (lease(3, endpoint(3, address="10.5.3.7")), "its address 10.5.3.7 lies inside the pod network 10.5.0.0/16"),
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


ATTACKS = [
    replace(lease(2), node="attacker"),
    replace(lease(9, endpoint(9, subnet="10.5.2.0/24")), node="attacker"),
    replace(lease(9, endpoint(9, subnet="10.5.2.0/23")), node="attacker"),
    replace(lease(9, endpoint(9, subnet="10.5.2.8/29")), node="attacker"),
    replace(lease(9, endpoint(9, address="10.99.0.2")), node="attacker"),
    replace(lease(9, endpoint(9, data=vtep_data(mac(2)))), node="attacker"),
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_nobody_pushes_out_a_peer_by_a_name_that_comes_first(attack: Lease) -> None:
    peer = lease(2)
    gate = Gate([VXLAN], node())
    gate.admit([peer])
    assert gate.admit([attack, peer]).peers == (peer,)
    assert "node2" in gate.admission.rejected["attacker"]
    renewed = replace(peer, expires=1.0)
    assert gate.admit([attack, renewed]).peers == (renewed,)
    assert Gate([VXLAN], node(), gate.standing).admit([attack, peer]).peers == (peer,)


def test_a_peer_that_is_reached_in_another_way_from_now_on_keeps_its_subnet() -> None:
    claim = replace(lease(9, endpoint(9, subnet="10.5.2.0/24")), node="attacker")
    gate = Gate([VXLAN], node())
    gate.admit([lease(2)])
    gate.admit([lease(2), claim])
    moved = lease(2, endpoint(2, address="10.99.0.22", data=vtep_data(mac(22))))
    assert gate.admit([claim, moved]).peers == (moved,)


def test_a_peer_that_changes_nothing_goes_before_one_that_changes_at_the_same_time() -> None:
    standing = [replace(lease(3), node="attacker"), lease(2)]
    turned = replace(lease(3, endpoint(3, address="10.99.0.2")), node="attacker")
    assert Gate([VXLAN], node(), standing).admit([turned, lease(2)]).peers == (lease(2),)


def test_who_gives_up_his_subnet_for_that_of_another_goes_behind_all() -> None:
    gate = Gate([VXLAN], node())
    gate.admit([replace(lease(3), node="attacker")])
    turned = replace(lease(2), node="attacker")
    assert gate.admit([turned, replace(lease(2), node="a-newcomer")]).peers[0].node == "a-newcomer"


def test_a_peer_that_was_out_of_reach_for_a_while_goes_before_newcomers() -> None:
    here = node()
    reached = replace(here, routes=RouteTable([Route(ip_network("10.99.0.0/24"), "eth0")]))
    peer, claim = lease(2, backend="host-gw"), replace(lease(2, backend="host-gw"), node="attacker")
    gate = Gate([HOST_GW], reached)
    gate.admit([peer])
    cut_off = Gate([HOST_GW], here, gate.standing)
    assert cut_off.admit([peer]).peers == ()
    assert cut_off.admit([claim, peer]).peers == ()
    assert Gate([HOST_GW], reached, cut_off.standing).admit([claim, peer]).peers == (peer,)


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


# few of each, so that leases collide, and come back
claims = st.tuples(
    st.sampled_from([ip_network(f"10.5.{net}") for net in ("2.0/24", "2.128/25", "3.0/24", "2.0/23", "1.0/26")]),
    st.integers(1, 4),
    st.integers(1, 4),
)


@given(st.lists(st.dictionaries(st.integers(2, 6), claims), min_size=2, max_size=6))
def test_law_who_stands_stays_and_nobody_is_refused_without_cause(moments: list[dict[int, Claimed]]) -> None:
    gate, made = Gate([VXLAN], node()), dict[tuple[int, Claimed], Lease]()
    for moment in moments:
        leases = [made.setdefault((number, claimed), claiming(number, claimed)) for number, claimed in moment.items()]
        stood = gate.admission.peers
        peers, rejected, _ = gate.admit(leases)
        assert {id(lease) for lease in leases if lease in stood} <= set(map(id, peers))
        assert {peer.node for peer in peers} | set(rejected) == {lease.node for lease in leases}
        VXLAN.state(node(), peers)  # raises where two objects collide
        for refused in (one for one in leases if one.node in rejected):
            assert Gate([VXLAN], node(), peers).admit([*peers, refused]).peers == peers
        assert gate.admit(leases) == (peers, rejected, gate.admission.ways)
        anew = Gate([VXLAN], node(), gate.standing).admit(leases)
        assert (anew.peers, set(anew.rejected)) == (peers, set(rejected))


def claiming(number: int, claimed: Claimed) -> Lease:
    subnet, host, vtep = claimed
    return Lease(f"node{number}", "vxlan", (Endpoint(subnet, endpoint(host, data=vtep_data(mac(vtep))).reach),))
