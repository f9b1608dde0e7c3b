"""What a registry's leases come to, and finding one by what a person types."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network

import pytest

from nankeen.inspect.leases import find, take_stock
from nankeen.model.errors import InputError
from nankeen.model.lease import Endpoint, Lease, Reach
from nankeen.model.netconf import NetworkConfig
from nankeen.registry import Snapshot

CONFIG = NetworkConfig.parse('{"Network":"10.5.0.0/16","SubnetMax":"10.5.10.0"}')


def lease(node: str, *subnets: str) -> Lease:
    endpoints = [Endpoint(ip_network(subnet), Reach(ip_address("192.0.2.1"))) for subnet in subnets]
    return Lease(node, "vxlan", tuple(endpoints))


def snapshot(*leases: Lease, reserved: dict[str, str] | None = None) -> Snapshot:
    kept = {node: (ip_network(subnet),) for node, subnet in (reserved or {}).items()}
    return Snapshot(CONFIG, {each.node: each for each in leases}, 1, reservations=kept)


def remarks(*leases: Lease) -> dict[str, tuple[str, ...]]:
    return {holding.lease.node: holding.remarks for holding in take_stock(snapshot(*leases)).holdings}


def test_leases_stand_in_the_order_of_their_subnets() -> None:
    stock = take_stock(snapshot(lease("a", "10.5.10.0/24"), lease("b", "10.5.9.0/24"), lease("c", "10.5.1.0/24")))
    assert [holding.lease.node for holding in stock.holdings] == ["c", "b", "a"]


def test_a_lease_like_any_other_is_nothing_remarkable() -> None:
    assert remarks(lease("node1", "10.5.1.0/24"), lease("node2", "10.5.2.0/24")) == {"node1": (), "node2": ()}


def test_a_lease_of_the_whole_pod_network_is_told_with_what_it_takes_from_others() -> None:
    found = remarks(lease("greedy", "10.5.0.0/16"), lease("node1", "10.5.1.0/24"))
    (remark,) = found["greedy"]
    assert remark.startswith("no node can lease 10.5.0.0/16: its length is 16")
    assert remark.endswith("it takes 10 of the pool's 10 subnets")
    assert found["node1"] == ("10.5.1.0/24 overlaps 10.5.0.0/16 of greedy",)


def test_two_nodes_on_one_subnet_are_told_at_the_later_name() -> None:
    found = remarks(lease("node2", "10.5.1.0/24"), lease("node1", "10.5.1.0/24"))
    assert found == {"node1": (), "node2": ("10.5.1.0/24 overlaps 10.5.1.0/24 of node1",)}


def test_all_that_lie_in_a_wider_subnet_are_told() -> None:
    found = remarks(*(lease(f"node{number}", f"10.5.{number}.0/24") for number in (1, 2, 3)), lease("w", "10.5.2.0/23"))
    assert [node for node, told in found.items() if any("overlaps 10.5.2.0/23 of w" in one for one in told)] == [
        "node2",
        "node3",
    ]


def test_a_family_that_is_not_in_use_is_told() -> None:
    assert remarks(lease("node1", "10.5.1.0/24", "fc00:5:0:1::/64")) == {
        "node1": ("no node can lease fc00:5:0:1::/64: IPv6 is not enabled",)
    }


def test_what_is_reserved_is_held_and_told_where_it_is_not_leased() -> None:
    stock = take_stock(
        snapshot(lease("node1", "10.5.1.0/24"), reserved={"node1": "10.5.1.0/24", "node9": "10.5.9.0/24"})
    )
    assert [(use.held, use.free) for use in stock.pools] == [(2, 8)]
    assert stock.unused == {"node9": (ip_network("10.5.9.0/24"),)}
    assert stock.notes == ()


def test_a_pool_that_is_used_up_is_told() -> None:
    stock = take_stock(snapshot(lease("greedy", "10.5.0.0/16")))
    assert stock.notes == ("the pool 10.5.0.0/16 is used up: no node can join",)


def test_a_lease_is_found_by_its_node_and_by_its_subnet() -> None:
    found = snapshot(lease("node1", "10.5.1.0/24"), lease("node2", "10.5.2.0/24"))
    assert find(found, "node2") is find(found, "10.5.2.0/24") is found.leases["node2"]


@pytest.mark.parametrize(
    "word, said",
    [
        ("nod2", "no node 'nod2' has a lease; did you mean node2?"),
        ("gateway", "no node 'gateway' has a lease; see `nankeen leases`"),
        ("10.5.2.128/25", "no lease has the subnet 10.5.2.128/25; node2 has 10.5.2.0/24"),
        ("10.5.3.0/24", "no lease has the subnet 10.5.3.0/24; see `nankeen leases`"),
        ("10.5.7.0/24", "10.5.7.0/24 is leased by one and other; name the node"),
        ("10.5.7.0/33", "'10.5.7.0/33' is not"),
    ],
)
def test_what_is_not_found_is_told_with_what_comes_near(word: str, said: str) -> None:
    leases = [("node2", "10.5.2.0/24"), ("one", "10.5.7.0/24"), ("other", "10.5.7.0/24")]
    with pytest.raises(InputError, match=re.escape(said)):
        find(snapshot(*(lease(*each) for each in leases)), word)
