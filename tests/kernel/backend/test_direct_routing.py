"""VXLAN with `DirectRouting` on real links: what may go plainly does, and the rest goes through the tunnel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.kernel.backend.conftest import Cluster

PLAIN = [
    "10.5.2.0/24 via 10.99.0.2 dev eth0 proto 110",
    "fc00:5:0:2::/64 via fd99::2 dev eth0 proto 110 metric 1024",
]
TUNNEL = [
    "10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink",
    "fc00:5:0:2::/64 via fc00:5:0:2:: dev flannel-v6.1 metric 1024 onlink",
]


@pytest.fixture
def cluster(make_cluster: Callable[..., Cluster]) -> Cluster:
    found = make_cluster("vxlan", DirectRouting=True)
    found.converge()
    return found


def test_a_peer_on_the_link_is_reached_plainly_and_one_behind_a_router_by_the_tunnel(cluster: Cluster) -> None:
    assert cluster.node1.routes(2) == PLAIN
    cluster.node1.reaches(2)
    assert cluster.node2.tunnelled() == 0
    cluster.node1.reaches(3)
    assert cluster.node3.tunnelled() == 2
    cluster.node3.reaches(1)
    assert cluster.converge() == [[], [], []]


@pytest.mark.parametrize(
    "change, back, expected",
    [
        ("ip route add 10.99.0.2/32 via 10.99.0.254", "ip route delete 10.99.0.2/32", [TUNNEL[0], PLAIN[1]]),
        (
            "ip route add 10.99.0.2/32 via inet6 fd99::fe dev eth0",
            "ip route delete 10.99.0.2/32",
            [TUNNEL[0], PLAIN[1]],
        ),
        ("ip -6 route add fd99::2/128 via fd99::fe", "ip -6 route delete fd99::2/128", [PLAIN[0], TUNNEL[1]]),
    ],
)
def test_a_peer_changes_its_way_when_the_routes_to_it_change(
    cluster: Cluster, change: str, back: str, expected: list[str]
) -> None:
    node1 = cluster.node1
    node1.net.run(change)
    assert [line[0] for line in node1.converge(cluster.leases)] == ["+", "+", "~"]
    assert node1.routes(2) == expected
    node1.reaches(2)
    assert cluster.node2.tunnelled() == 1
    assert node1.converge(cluster.leases) == []
    node1.net.run(back)
    assert [line[0] for line in node1.converge(cluster.leases)] == ["~", "-", "-"]
    assert node1.routes(2) == PLAIN
    node1.reaches(2)
    assert cluster.node2.tunnelled() == 1


def test_peers_take_the_tunnel_when_the_underlays_address_loses_its_link(cluster: Cluster) -> None:
    net = cluster.node1.net
    net.run("ip address delete 10.99.0.1/24 dev eth0")
    net.run("ip address add 10.99.0.1/32 dev eth0")
    net.run("ip route add 10.99.0.254/32 dev eth0")
    net.run("ip route add default via 10.99.0.254 src 10.99.0.1")
    cluster.node1.converge(cluster.leases)
    assert cluster.node1.routes(2) == [TUNNEL[0], PLAIN[1]]
    cluster.node1.reaches(2)
    assert cluster.node2.tunnelled() == 1


def test_without_the_option_a_node_takes_its_plain_routes_back(
    cluster: Cluster, make_cluster: Callable[..., Cluster]
) -> None:
    plain = make_cluster("vxlan")
    plain.converge()
    assert plain.node1.routes(2) == TUNNEL
    plain.node1.reaches(2)
    assert cluster.node2.tunnelled() == 2
