"""What comes back: answers, errors and who sends them, and what a host knows because it was asked."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from nankeen.forwarding import Answered, Delivered, Dropped, Packet, datagram, echo_request, error_of, walk, walk_back
from nankeen.forwarding.packet import Icmp, IcmpKind, Ip, Tcp
from nankeen.forwarding.ruleset import Act, Action, Base, Chain, Hook, Match, Members, Rule, Ruleset
from nankeen.model.errors import InputError
from tests.unit.forwarding.cluster import cluster, node, pod
from tests.unit.forwarding.lines import host

POD1, POD2, FAR6 = ip_address("10.244.1.5"), ip_address("10.244.2.5"), ip_address("fd44:0:0:2::5")


def rejecting(action: Action) -> Ruleset:
    rule = Rule((Match("meta l4proto", Members(frozenset({6, 17}))),), (action,), "reject")
    base = Base("inet t", "c", Hook.INPUT, 0, "filter", drops=False)
    return Ruleset((base,), {("inet t", "c"): Chain((rule,))})


def test_an_error_comes_from_the_address_that_the_host_would_send_from() -> None:
    walked = walk(cluster(), echo_request(POD1, POD2, ttl=1))
    back = walk_back(cluster(), walked)
    assert isinstance(back.end, Delivered)
    assert (back.end.host, str(back.last.ip.source)) == ("pod1", "10.244.1.1")
    assert isinstance(back.last.headers[1], Icmp)
    assert back.last.headers[1].kind is IcmpKind.TIME_EXCEEDED


def test_an_error_about_a_packet_for_the_host_itself_comes_from_the_address_it_was_sent_to() -> None:
    world = cluster(pod2=host("pod2", pod(2, 5), rejecting(Action(Act.REJECT))))
    walked = walk(world, datagram(POD1, POD2, 53))
    assert isinstance(walked.end, Answered)
    assert walked.end.source == POD2
    back = walk_back(world, walked)
    assert (back.last.ip.source, back.last.ip.destination) == (POD2, POD1)
    assert isinstance(back.end, Delivered)


def test_a_reset_is_a_segment_of_the_connection_the_other_way_round() -> None:
    world = cluster(pod2=host("pod2", pod(2, 5), rejecting(Action(Act.REJECT, reset=True))))
    walked = walk(world, Packet((Ip(POD1, POD2), Tcp(40000, 80))))
    back = walk_back(world, walked)
    assert back.packet.headers == (Ip(POD2, POD1), Tcp(80, 40000, syn=False))
    assert isinstance(back.end, Delivered)


def test_a_sender_hears_nothing_of_a_tunnels_packet_that_was_rejected() -> None:
    world = cluster(node2=host("node2", node(2), rejecting(Action(Act.REJECT))))
    assert isinstance(walk(world, echo_request(POD1, POD2)).end, Dropped)


def test_what_is_dropped_has_no_error() -> None:
    world = cluster(node1=host("node1", node(1).replace("ip_forward = 1", "ip_forward = 0")))
    walked = walk(world, echo_request(POD1, POD2))
    with pytest.raises(InputError, match="answered with an error"):
        error_of(walked)


def test_who_was_asked_knows_who_asked() -> None:
    """The pod answers by the address in the question, though it could not ask for it itself."""
    deaf = "net.ipv4.conf.all.arp_ignore = 1\n"
    world = cluster(pod3=host("pod3", pod(1, 7) + deaf))
    there = walk(world, echo_request(POD1, ip_address("10.244.1.7")))
    assert ("pod3", "eth0", POD1) in there.heard
    assert isinstance(walk_back(world, there).end, Delivered)


@pytest.mark.parametrize("to, hosts", [("10.244.1.255", "cni0"), ("255.255.255.255", "cni0")])
def test_what_is_for_all_on_a_link_is_heard_there_and_not_beyond(to: str, hosts: str) -> None:
    walked = walk(cluster(), echo_request(POD1, ip_address(to), ttl=1))
    assert isinstance(walked.end, Delivered)
    assert (walked.end.host, walked.end.device) in (("node1", hosts), ("pod3", "eth0"))
    assert walked.last.ip.ttl == 1


def test_no_error_is_sent_about_what_is_for_all() -> None:
    big = Packet((Ip(POD1, ip_address("10.244.1.255"), dont_fragment=True), Icmp(IcmpKind.ECHO_REQUEST, 1)), 3000)
    assert not isinstance(walk(cluster(), big).end, Answered)


def test_a_rule_that_says_unreachable_means_the_network_where_a_route_means_the_host() -> None:
    by_rule = cluster(node1=host("node1", node(1) + "99: from 10.244.1.0/24 unreachable\n0: from all lookup local\n"))
    by_route = cluster(node1=host("node1", node(1) + "unreachable 10.244.2.5/32\n"))
    ends = [walk(world, echo_request(POD1, POD2)).end for world in (by_rule, by_route)]
    assert [end.error for end in ends if isinstance(end, Answered)] == [IcmpKind.NO_ROUTE, IcmpKind.HOST_UNREACHABLE]


def test_an_error_of_icmpv6_comes_from_the_device_that_the_packet_came_in_by() -> None:
    """Though it goes back by another: node2 has a route of its own to pod1."""
    apart = node(2, 6) + "fd44:0:0:1::5/128 via fd01::1 dev eth0\n"
    world = cluster(6, node2=host("node2", apart))
    walked = walk(world, echo_request(ip_address("fd44:0:0:1::5"), FAR6, ttl=2))
    back = walk_back(world, walked)
    assert (walked.end.host, str(back.last.ip.source)) == ("node2", "fd44:0:0:2::")
    assert isinstance(back.end, Delivered)


RULES = "99: not from fd44:0:0:2::/128 unreachable\n0: from all lookup local ipv6\n32766: from all lookup main ipv6\n"


def test_an_error_that_is_rationed_is_not_sent_where_no_route_is_found_without_a_source() -> None:
    world = cluster(6, node2=host("node2", node(2, 6) + RULES))
    walked = walk(world, echo_request(ip_address("fd44:0:0:1::5"), FAR6))
    assert isinstance(walked.end, Answered)
    assert isinstance(walk_back(world, walked).end, Dropped)


def test_a_packet_without_a_source_that_finds_no_route_is_looked_at_again_with_one() -> None:
    world = cluster(6, node2=host("node2", node(2, 6) + RULES))
    packet = Packet((Ip(ip_address("::"), FAR6), Icmp(IcmpKind.ECHO_REQUEST, 1)))
    walked = walk(world, packet, "node2")
    assert isinstance(walked.end, Delivered)
    assert str(walked.last.ip.source) == "fd44:0:0:2::"


def test_of_a_hosts_addresses_no_more_counts_than_the_length_of_their_network() -> None:
    """RFC 6724 §5 rule 8: of two in one network the first is as good as the nearer one."""
    two = pod(2, 5, 6).replace("inet6 fd44:0:0:2::5/64", "inet6 fd44:0:0:2::b/64 dev eth0\ninet6 fd44:0:0:2::5/64")
    world = cluster(6, pod2=host("pod2", two))
    to = ip_address("fd44:0:0:2::4")
    walked = walk(world, Packet((Ip(ip_address("::"), to), Icmp(IcmpKind.ECHO_REQUEST, 1))), "pod2")
    assert str(walked.last.ip.source) == "fd44:0:0:2::b"
