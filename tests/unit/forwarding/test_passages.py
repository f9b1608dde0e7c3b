"""The devices that a packet passes: what packet sockets on them would see."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from nankeen.forwarding import Passage, Walk, echo_request, walk
from nankeen.forwarding.hop import Hop
from tests.unit.forwarding.cluster import cluster, node, without
from tests.unit.forwarding.lines import host


def passed(walked: Walk) -> list[str]:
    """Each passage in short: which way, where, and the kinds of headers."""
    return [
        f"{each.direction.value} {each.host}:{each.device} {'/'.join(type(h).__name__ for h in each.packet.headers)}"
        for each in walked.course
        if isinstance(each, Passage)
    ]


def way(source: str, destination: str, **hosts: object) -> Walk:
    packet = echo_request(ip_address(source), ip_address(destination))
    return walk(cluster(**hosts), packet, passages=True)  # type: ignore[arg-type]


def test_a_packet_through_vxlan_is_seen_at_every_device_between_two_pods() -> None:
    assert passed(way("10.244.1.5", "10.244.2.5")) == [
        "leaves pod1:eth0 Ethernet/Ip/Icmp",
        "enters node1:veth1 Ethernet/Ip/Icmp",
        "enters node1:cni0 Ethernet/Ip/Icmp",
        "leaves node1:flannel.1 Ethernet/Ip/Icmp",
        "leaves node1:eth0 Ethernet/Ip/Udp/VxlanHeader/Ethernet/Ip/Icmp",
        "enters node2:eth0 Ethernet/Ip/Udp/VxlanHeader/Ethernet/Ip/Icmp",
        "enters node2:flannel.1 Ethernet/Ip/Icmp",
        "leaves node2:cni0 Ethernet/Ip/Icmp",
        "leaves node2:veth1 Ethernet/Ip/Icmp",
        "enters pod2:eth0 Ethernet/Ip/Icmp",
    ]


def test_a_packet_between_pods_of_one_node_crosses_the_bridge_and_never_enters_it() -> None:
    assert passed(way("10.244.1.5", "10.244.1.7")) == [
        "leaves pod1:eth0 Ethernet/Ip/Icmp",
        "enters node1:veth1 Ethernet/Ip/Icmp",
        "leaves node1:veth3 Ethernet/Ip/Icmp",
        "enters pod3:eth0 Ethernet/Ip/Icmp",
    ]


def test_a_packet_to_oneself_passes_the_loopback_device_both_ways() -> None:
    walked = way("10.244.1.5", "10.244.1.5")
    assert passed(walked) == ["leaves pod1:lo Ethernet/Ip/Icmp", "enters pod1:lo Ethernet/Ip/Icmp"]
    assert walked.delivered


def test_a_dropped_packet_is_seen_up_to_where_it_is_dropped() -> None:
    broken = host("node1", without(node(1), "02:00:00:00:02:02 dev flannel.1"))
    assert passed(way("10.244.1.5", "10.244.2.5", node1=broken))[-1] == "leaves node1:flannel.1 Ethernet/Ip/Icmp"


@pytest.mark.parametrize("family, source, destination", [
    (4, "10.244.1.5", "10.244.2.5"), (6, "fd44:0:0:1::5", "fd44:0:0:2::5"),
])  # fmt: skip
def test_passages_change_nothing_of_the_walk(family: int, source: str, destination: str) -> None:
    packet = echo_request(ip_address(source), ip_address(destination))
    plain, told = walk(cluster(family), packet), walk(cluster(family), packet, passages=True)
    assert (told.end, told.hops) == (plain.end, plain.hops)
    assert plain.course == plain.hops
    assert [each for each in told.course if isinstance(each, Hop)] == list(plain.hops)
