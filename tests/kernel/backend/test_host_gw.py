"""Packets that nodes route to each other's pods, on real links."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.kernel.backend.conftest import Cluster


@pytest.fixture
def cluster(make_cluster: Callable[..., Cluster]) -> Cluster:
    found = make_cluster("host-gw")
    found.converge()
    return found


def test_pods_on_one_link_reach_each_other_without_a_tunnel(cluster: Cluster) -> None:
    assert cluster.node1.routes(2) == [
        "10.5.2.0/24 via 10.99.0.2 dev eth0 proto 110",
        "fc00:5:0:2::/64 via fd99::2 dev eth0 proto 110 metric 1024",
    ]
    cluster.node1.reaches(2)
    cluster.node2.reaches(1)
    assert cluster.converge() == [[], [], []]


def test_a_node_behind_a_router_is_refused_with_the_way_to_it(cluster: Cluster) -> None:
    reason = "10.98.0.3 is not on-link: the route to it leads via 10.99.0.254"
    assert cluster.node1.admission(cluster.leases).rejected == {"node3": reason}
    assert cluster.node1.routes(3) == []
    assert list(cluster.node3.admission(cluster.leases).rejected) == ["node1", "node2"]


def test_a_node_that_comes_on_link_is_admitted(cluster: Cluster) -> None:
    for member, peer in ((cluster.node1, 3), (cluster.node3, 1)):
        member.net.run("ip route add 10.98.0.0/15 dev eth0 metric 1")
        member.net.run("ip -6 route add fd98::/15 dev eth0 metric 1")
        member.converge(cluster.leases)
        assert len(member.routes(peer)) == 2


def test_the_routes_of_a_former_peer_are_removed_and_nobody_elses(cluster: Cluster) -> None:
    net = cluster.node1.net
    net.run("ip route add 10.5.88.0/24 via 10.99.0.2")
    net.run("ip route add 10.5.89.0/24 via 10.99.0.2 proto static")
    net.run("ip -6 route add fc00:5:0:88::/64 via fd99::2")
    assert sorted(cluster.node1.converge([]), reverse=True) == [
        "- fc00:5:0:2::/64 via fd99::2 dev eth0 proto 110 metric 1024",
        "- 10.5.2.0/24 via 10.99.0.2 dev eth0 proto 110",
    ]
    assert net.run("ip route show root 10.5.0.0/16").split("\n")[:2] == [
        "10.5.88.0/24 via 10.99.0.2 dev eth0 ",
        "10.5.89.0/24 via 10.99.0.2 dev eth0 proto static ",
    ]
    assert "fc00:5:0:88::/64 via fd99::2" in net.run("ip -6 route")


def test_what_flannel_left_is_taken_over_in_place(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster("host-gw")
    cluster.node1.net.run("ip route add 10.5.2.0/24 via 10.99.0.2 dev eth0")
    cluster.node1.net.run("ip -6 route add fc00:5:0:2::/64 via fd99::2 dev eth0")
    assert [line[0] for line in cluster.node1.converge(cluster.leases)] == ["~", "~"]
    assert cluster.node1.routes(2) == [
        "10.5.2.0/24 via 10.99.0.2 dev eth0 proto 110",
        "fc00:5:0:2::/64 via fd99::2 dev eth0 proto 110 metric 1024",
    ]
    assert cluster.node1.converge(cluster.leases) == []


def test_a_route_that_was_lost_comes_back(cluster: Cluster) -> None:
    cluster.node1.net.run("ip route delete 10.5.2.0/24")
    assert cluster.node1.converge(cluster.leases) == ["+ 10.5.2.0/24 via 10.99.0.2 dev eth0 proto 110"]
    cluster.node1.reaches(2)
