"""The udp backend's data path in predictions: a process that is a hop of its own, and answers for itself."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from nankeen.forwarding import Answered, Delivered, Dropped, Host, Packet, World, echo_request, walk
from nankeen.forwarding.derived import completed
from nankeen.forwarding.packet import Icmp, IcmpKind, Ip
from nankeen.model.state import Link, Object, State, Tun
from nankeen.model.tunnel import TunnelPeer, TunnelSocket
from tests.unit.forwarding.cluster import cluster, node, without
from tests.unit.forwarding.lines import state

POD1, POD2 = ip_address("10.244.1.5"), ip_address("10.244.2.5")


def through_udp(number: int, *more: TunnelPeer, mtu: int = 1500) -> Host:
    """A node of the cluster, with a TUN device in VXLAN's place."""
    other = 3 - number
    text = node(number).replace("mtu 1500", f"mtu {mtu}")
    for line in ("flannel.1:", f"10.244.{other}.0/24", f"10.244.{other}.0 dev", "02:00:00:00:02:0", "inet 10.244"):
        text = without(text, line)
    text += f"inet 10.244.{number}.1/24 dev cni0\ninet 10.244.{number}.0/32 dev flannel0\n10.244.0.0/16 dev flannel0\n"
    local, peer = ip_address(f"192.168.0.1{number}"), ip_address(f"192.168.0.1{other}")
    objects: list[Object] = [
        Link("flannel0", Tun(), 1472),
        TunnelSocket("flannel0", local, 8285, ip_network(f"10.244.{number}.0/24")),
        TunnelPeer("flannel0", ip_network(f"10.244.{other}.0/24"), peer, 8285, f"node{other}"),
        *more,
    ]
    return Host(f"node{number}", completed(State([*state(text), *objects])))


def fabric(**others: Host) -> World:
    return cluster(4, **{"node1": through_udp(1), "node2": through_udp(2), **others})


def ping(payload: int = 56, to: str = "10.244.2.5", *, ttl: int = 64, whole: bool = False) -> Packet:
    return Packet((Ip(POD1, ip_address(to), ttl, whole), Icmp(IcmpKind.ECHO_REQUEST, 1)), payload)


def test_each_host_and_the_process_take_one_from_the_time_to_live() -> None:
    walked = walk(fabric(), ping())
    assert isinstance(walked.end, Delivered)
    assert walked.last.ip.ttl == 61


@pytest.mark.parametrize("ttl, by, source", [(1, "node1", None), (2, "node1", "10.244.1.0"), (3, "node2", None)])
def test_the_process_says_where_the_time_to_live_ends_from_the_nodes_inner_address(
    ttl: int, by: str, source: str | None
) -> None:
    walked = walk(fabric(), ping(ttl=ttl))
    assert isinstance(walked.end, Answered)
    assert (walked.end.host, walked.end.error) == (by, IcmpKind.TIME_EXCEEDED)
    assert (walked.end.by_process, walked.end.source) == (source is not None, source and ip_address(source))


def test_a_packet_to_a_subnet_that_no_peer_has_is_answered() -> None:
    walked = walk(fabric(), ping(to="10.244.9.9"))
    assert isinstance(walked.end, Answered)
    assert (walked.end.error, str(walked.end.source)) == (IcmpKind.NO_ROUTE, "10.244.1.0")


def test_what_does_not_fit_the_underlay_is_cut() -> None:
    assert isinstance(walk(fabric(node1=through_udp(1, mtu=1400)), ping(1400)).end, Delivered)


def test_what_does_not_fit_and_may_not_be_cut_is_answered_with_the_size_that_fits() -> None:
    walked = walk(fabric(node1=through_udp(1, mtu=1400)), ping(1400, whole=True))
    assert isinstance(walked.end, Answered)
    assert (walked.end.error, walked.end.mtu) == (IcmpKind.TOO_BIG, 1372)


def test_a_datagram_of_a_stranger_is_not_let_in() -> None:
    walked = walk(fabric(node2=without_peers(2)), ping())
    assert isinstance(walked.end, Dropped)
    assert walked.end.detail == "flannel0 does not let it in: 192.168.0.11 is no peer"


def test_a_packet_whose_source_is_another_nodes_is_not_let_in() -> None:
    thief = TunnelPeer("flannel0", ip_network("10.244.1.4/30"), ip_address("192.168.0.77"), 8285, "node7")
    walked = walk(fabric(node2=through_udp(2, thief)), ping())
    assert isinstance(walked.end, Dropped)
    assert "its source 10.244.1.5 is of another node" in walked.end.detail


def without_peers(number: int) -> Host:
    found = through_udp(number)
    return replace(found, state=State(item for item in found.state or () if not isinstance(item, TunnelPeer)))


def test_a_process_whose_device_is_down_delivers_nothing() -> None:
    found = through_udp(2)
    down = (replace(item, up=False) if item == Link("flannel0", Tun(), 1472) else item for item in found.state or ())
    assert isinstance(walk(fabric(node2=replace(found, state=State(down))), echo_request(POD1, POD2)).end, Dropped)
