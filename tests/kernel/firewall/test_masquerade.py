"""Flannel's rules, told by packets: what source address the other side sees."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_network

import pytest

from nankeen.kernel.namespace import entered
from nankeen.model.address import Family
from tests.kernel.firewall.world import BOTH, ECHO, World, firewall, inside, underlay


@pytest.fixture
def masqueraded(world: World) -> World:
    world.filter().converge(firewall(ip_masq=True))
    return world


@BOTH
def test_a_pod_is_seen_outside_as_its_node(masqueraded: World, family: Family) -> None:
    assert masqueraded.source_seen("pod1", underlay(9, family), "lan") == underlay(1, family)


@BOTH
def test_a_pod_is_seen_by_another_node_as_its_node(masqueraded: World, family: Family) -> None:
    assert masqueraded.source_seen("pod1", underlay(2, family), "node2") == underlay(1, family)


@BOTH
def test_pods_of_two_nodes_see_each_other_as_they_are(masqueraded: World, family: Family) -> None:
    assert masqueraded.source_seen("pod1", inside(2, 5, family), "pod2") == inside(1, 5, family)
    assert masqueraded.source_seen("pod2", inside(1, 5, family), "pod1") == inside(2, 5, family)


@BOTH
def test_who_comes_from_outside_to_a_pod_of_this_node_is_seen_as_he_is(masqueraded: World, family: Family) -> None:
    assert masqueraded.source_seen("lan", inside(1, 5, family), "pod1") == underlay(9, family)


@BOTH
def test_who_comes_from_outside_to_a_pod_of_another_node_is_masqueraded_so_that_answers_come_back(
    masqueraded: World, family: Family
) -> None:
    assert masqueraded.source_seen("lan", inside(2, 5, family), "pod2") == inside(1, 0, family)


@BOTH
@pytest.mark.parametrize("mark", [0x4000, 0xC001])
def test_what_kube_proxy_has_marked_is_left_to_kube_proxy_whatever_other_bits_say(
    masqueraded: World, family: Family, mark: int
) -> None:
    node = masqueraded.nets["node1"]
    node.run("nft add table inet proxy")
    node.run("nft add chain inet proxy first { type filter hook prerouting priority mangle ; }")
    node.run(f"nft add rule inet proxy first iifname cni0 meta mark set {mark}")
    assert masqueraded.source_seen("pod1", underlay(9, family), "lan") == inside(1, 5, family)


@BOTH
def test_another_mark_changes_nothing(masqueraded: World, family: Family) -> None:
    node = masqueraded.nets["node1"]
    node.run("nft add table inet proxy")
    node.run("nft add chain inet proxy first { type filter hook prerouting priority mangle ; }")
    node.run("nft add rule inet proxy first iifname cni0 meta mark set 0x8000")
    assert masqueraded.source_seen("pod1", underlay(9, family), "lan") == underlay(1, family)


@BOTH
def test_multicast_keeps_its_source(masqueraded: World, family: Family) -> None:
    assert _multicast_source_seen(masqueraded, family) == inside(1, 1, family)


@BOTH
def test_a_network_that_is_excepted_sees_pods_as_they_are_and_is_seen_so(world: World, family: Family) -> None:
    lan = (ip_network("192.168.50.0/24"), ip_network("fd50::/64"))
    world.filter().converge(firewall(ip_masq=True, unmasqueraded=lan))
    assert world.source_seen("pod1", underlay(9, family), "lan") == inside(1, 5, family)
    assert world.source_seen("lan", inside(2, 5, family), "pod2") == underlay(9, family)


@BOTH
def test_nothing_is_masqueraded_unasked(world: World, family: Family) -> None:
    world.filter().converge(firewall(ip_masq=False))
    assert world.source_seen("pod1", underlay(9, family), "lan") == inside(1, 5, family)


def _multicast_source_seen(world: World, family: Family) -> str:
    """Of a datagram that node1 sends to a group on the LAN, with an address of its pod subnet as the source."""
    lan, node = world.nets["lan"], world.nets["node1"]
    group = "239.1.2.3" if family is Family.IPV4 else "ff05::123"
    with world.listen("lan", family) as receiver, world.udp("node1", family, inside(1, 1, family)) as sender:
        with entered(lan.namespace):
            incoming = socket.if_nametoindex("br0")
        with entered(node.namespace):
            outgoing = socket.if_nametoindex("eth0")
        if family is Family.IPV4:
            joined = socket.inet_aton(group) + struct.pack("=4xi", incoming)
            receiver.socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=4x4xi", outgoing))
        else:
            joined = socket.inet_pton(socket.AF_INET6, group) + struct.pack("=i", incoming)
            receiver.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, joined)
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, outgoing)
        sender.sendto(b"to all", (group, ECHO))
        return receiver.next()[0]
