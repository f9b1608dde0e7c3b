"""The way of a packet through a cluster written as the lines of `ip`, told as a story."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest

from nankeen.forwarding import (
    Answered,
    Cause,
    Delivered,
    Dropped,
    Host,
    Unknown,
    World,
    datagram,
    echo_request,
    reply_to,
    walk,
)
from nankeen.forwarding.packet import IcmpKind, Ip, Packet, Udp
from nankeen.model.errors import InputError
from nankeen.model.state import State
from tests.unit.forwarding.cluster import cluster, node, pod, without
from tests.unit.forwarding.lines import host
from tests.unit.forwarding.told import told

FAR = {4: ("10.244.1.5", "10.244.2.5"), 6: ("fd44:0:0:1::5", "fd44:0:0:2::5")}


VTEP = "flannel.1: vxlan id 1 local 192.168.0.1{0} dstport 8472 nolearning mtu 1450 address 02:00:00:00:02:0{0} up"


def ping(family: int = 4, payload: int = 56, *, ttl: int = 64) -> Packet:
    source, destination = map(ip_address, FAR[family])
    return echo_request(source, destination, payload, ttl=ttl)


def large(size: int, *, dont_fragment: bool, family: int = 4) -> Packet:
    source, destination = map(ip_address, FAR[family])
    header = Ip(source, destination, dont_fragment=dont_fragment)
    return Packet((header, Udp(1, 2)), size - header.size - Udp.size)


def test_a_ping_over_vxlan_is_told_table_by_table() -> None:
    lines = told(walk(cluster(), ping()))
    assert [line for line in lines if "packet:" not in line] == [
        "pod1   ip route                   default via 10.244.1.1 dev eth0",
        "pod1   ip neigh                   10.244.1.1 dev eth0 lladdr 02:00:00:00:01:01 REACHABLE",
        "node1  bridge fdb                 02:00:00:00:01:01 dev cni0 master cni0 permanent",
        "node1  ip route                   10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
        "node1  ip neigh                   10.244.2.0 dev flannel.1 lladdr 02:00:00:00:02:02 PERMANENT",
        "node1  bridge fdb                 02:00:00:00:02:02 dev flannel.1 dst 192.168.0.12 self permanent",
        f"node1  ip -d link                 {VTEP.format(1)}",
        "node1  ip route                   192.168.0.0/24 dev eth0 proto kernel src 192.168.0.11",
        "node1  ip neigh                   192.168.0.12 dev eth0 lladdr 02:00:00:00:00:02 REACHABLE",
        "node2  ip route show table local  local 192.168.0.12 dev eth0 table local proto kernel src 192.168.0.12",
        f"node2  ip -d link                 {VTEP.format(2)}",
        "node2  ip route                   10.244.2.0/24 dev cni0 proto kernel src 10.244.2.1",
        "node2  ip neigh                   10.244.2.5 dev cni0 lladdr 02:00:00:00:05:25 REACHABLE",
        "node2  bridge fdb                 02:00:00:00:05:25 dev veth1 master cni0",
        "pod2   ip route show table local  local 10.244.2.5 dev eth0 table local proto kernel src 10.244.2.5",
        "delivered to 10.244.2.5 on pod2",
    ]
    wrapped = [line.strip() for line in lines if "packet:" in line]
    assert wrapped[0].split(" | ") == [
        "packet: IPv4 192.168.0.11 → 192.168.0.12 ttl 64",
        "UDP 0 → 8472",
        "VXLAN 1",
        "Ethernet 02:00:00:00:02:01 → 02:00:00:00:02:02",
        "IPv4 10.244.1.5 → 10.244.2.5 ttl 63",
        "ICMP echo request",
        "56 bytes",
    ]


@pytest.mark.parametrize("family", [4, 6])
def test_a_ping_and_its_answer_arrive_in_either_family(family: int) -> None:
    world = cluster(family)
    there = walk(world, ping(family))
    assert there.end == Delivered("pod2", "eth0", ip_address(FAR[family][1]))
    assert there.last.ip.ttl == 62
    back = walk(world, reply_to(there), "pod2", there.connections)
    assert back.end == Delivered("pod1", "eth0", ip_address(FAR[family][0]))


@pytest.mark.parametrize(
    "missing,cause",
    [
        ("10.244.2.0/24 via", Cause.NO_ROUTE),
        ("10.244.2.0 dev flannel.1 lladdr", Cause.NO_NEIGHBOUR),
        ("02:00:00:00:02:02 dev flannel.1", Cause.NO_FORWARDING_ENTRY),
        ("inet 192.168.0.11/24", Cause.NO_SOURCE),
        ("net.ipv4.ip_forward", Cause.NOT_FORWARDING),
        ("veth1:", Cause.NO_LINK),
    ],
)
def test_a_packet_ends_where_its_line_is_missing(missing: str, cause: Cause) -> None:
    end = walk(cluster(node1=host("node1", without(node(1), missing))), ping()).end
    assert isinstance(end, Answered | Dropped)
    assert (end.host, end.cause) == ("node1" if missing != "veth1:" else "pod1", cause) or cause is Cause.NO_LINK


@pytest.mark.parametrize(
    "line,error",
    [
        ("unreachable 10.244.2.5/32", IcmpKind.HOST_UNREACHABLE),
        ("prohibit 10.244.2.5/32", IcmpKind.PROHIBITED),
        ("0: from all lookup local\n50: from 10.244.1.5 prohibit", IcmpKind.PROHIBITED),
    ],
)
def test_a_route_or_rule_that_refuses_is_answered_by_its_host(line: str, error: IcmpKind) -> None:
    end = walk(cluster(node1=host("node1", node(1) + line)), ping()).end
    assert isinstance(end, Answered)
    assert (end.host, end.error) == ("node1", error)


def test_a_blackhole_says_nothing() -> None:
    end = walk(cluster(node1=host("node1", node(1) + "blackhole 10.244.2.0/25")), ping()).end
    assert end == Dropped("node1", "cni0", Cause.BLACKHOLE, "blackhole 10.244.2.0/25 proto kernel")


def test_throw_sends_the_search_to_the_next_rule() -> None:
    rules = (
        "0: from all lookup local\n10: from all lookup 77\n32766: from all lookup main\nthrow 10.244.2.0/25 table 77"
    )
    assert walk(cluster(node1=host("node1", node(1) + rules)), ping()).delivered


def test_several_next_hops_are_not_guessed() -> None:
    line = "10.244.2.5/32 nexthop via 192.168.0.12 dev eth0 nexthop via 192.168.0.13 dev eth0"
    end = walk(cluster(node1=host("node1", node(1) + line)), ping()).end
    assert isinstance(end, Unknown)
    assert "several next hops" in end.detail


def test_a_rule_with_a_condition_that_is_not_modelled_is_not_guessed() -> None:
    rules = "0: from all lookup local\n10: from all uidrange 0-99 lookup 77\n32766: from all lookup main"
    end = walk(cluster(node1=host("node1", node(1) + rules)), ping()).end
    assert isinstance(end, Unknown)
    assert "uidrange" in end.detail


def test_an_ipv4_route_leads_by_an_ipv6_next_hop() -> None:
    sound = without(node(1), "10.244.2.0/24") + "inet6 fd01::1/64 dev eth0\n10.244.2.0/24 via inet6 fd01::2 dev eth0"
    found = walk(
        cluster(node1=host("node1", sound), node2=host("node2", node(2) + "inet6 fd01::2/64 dev eth0")), ping()
    )
    assert found.delivered
    assert any("10.244.2.0/24 via inet6 fd01::2 dev eth0" in hop.line for hop in found.hops)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("ttl", [1, 2])
def test_a_packet_that_is_too_old_is_answered_by_the_router_where_it_ends(family: int, ttl: int) -> None:
    end = walk(cluster(family), ping(family, ttl=ttl)).end
    assert isinstance(end, Answered)
    assert (end.host, end.error) == (f"node{ttl}", IcmpKind.TIME_EXCEEDED)


def test_a_loop_of_routes_ends_by_the_time_to_live() -> None:
    astray = node(1) + "10.99.0.0/16 via 192.168.0.12 dev eth0"
    back = node(2) + "10.99.0.0/16 via 192.168.0.11 dev eth0"
    world = cluster(node1=host("node1", astray), node2=host("node2", back))
    found = walk(world, echo_request(ip_address("10.244.1.5"), ip_address("10.99.1.1")))
    assert isinstance(found.end, Answered)
    assert found.end.error is IcmpKind.TIME_EXCEEDED
    assert sum("10.99.0.0/16" in hop.line for hop in found.hops) == 63


def test_a_tunnel_whose_far_end_is_behind_itself_is_a_loop() -> None:
    end = walk(cluster(node1=host("node1", node(1) + "192.168.0.12/32 dev flannel.1")), ping()).end
    assert isinstance(end, Dropped)
    assert end.cause is Cause.LOOP


@pytest.mark.parametrize("family,mtu", [(4, 1400), (6, 1400)])
def test_a_packet_that_may_not_be_fragmented_is_answered_with_the_mtu(family: int, mtu: int) -> None:
    sound = f"mtu {1450 if family == 4 else 1430} address 02:00:00:00:02:01"
    lines = node(1, family).replace(sound, f"mtu {mtu} address 02:00:00:00:02:01")
    end = walk(cluster(family, node1=host("node1", lines)), large(1420, dont_fragment=True, family=family)).end
    assert isinstance(end, Answered)
    assert (end.host, end.error, end.mtu) == ("node1", IcmpKind.TOO_BIG, mtu)


def test_one_that_may_is_fragmented_on_its_way_and_arrives() -> None:
    lines = node(1).replace("local 192.168.0.11 mtu 1450", "local 192.168.0.11 mtu 1400")
    found = walk(cluster(node1=host("node1", lines)), large(1420, dont_fragment=False))
    assert found.delivered
    assert found.last.ip.fragment == 1396  # 1400 without what is no multiple of 8 behind the header


def test_what_an_underlay_does_not_carry_is_lost_without_a_word() -> None:
    lines = node(2).replace("eth0: physical mtu 1500", "eth0: physical mtu 1400")
    end = walk(cluster(node2=host("node2", lines)), large(1450, dont_fragment=True)).end
    assert isinstance(end, Dropped)
    assert (end.host, end.cause) == ("node2", Cause.TOO_BIG)


def test_reverse_path_filtering_asks_for_the_way_back() -> None:
    lines = node(2) + "net.ipv4.conf.all.rp_filter = 1\n10.244.1.0/25 via 192.168.0.99 dev eth0"
    end = walk(cluster(node2=host("node2", lines)), ping()).end
    assert isinstance(end, Dropped)
    assert (end.host, end.cause) == ("node2", Cause.REVERSE_PATH)
    assert walk(cluster(node2=host("node2", lines.replace("rp_filter = 1", "rp_filter = 2"))), ping()).delivered


def test_a_packet_with_an_address_of_the_host_itself_is_a_martian() -> None:
    end = walk(cluster(node2=host("node2", node(2) + "inet 10.244.1.5/32 dev cni0")), ping(), "pod1").end
    assert isinstance(end, Dropped)
    assert (end.host, end.cause) == ("node2", Cause.MARTIAN_SOURCE)


def test_a_host_that_was_not_observed_is_told_as_unknown() -> None:
    found = walk(cluster(pod2=Host("pod2", None)), ping())
    assert isinstance(found.end, Unknown)
    assert found.end.host in ("pod2", "node2")


def test_a_setting_that_was_not_read_is_told_as_unknown() -> None:
    sound = cluster()
    torn = State(item for item in sound.hosts["node1"].state or () if "forwarding" not in str(item))
    end = walk(sound.with_host(Host("node1", torn)), ping()).end
    assert isinstance(end, Unknown)
    assert "was not read" in end.detail


def test_a_packet_without_a_source_gets_one_from_its_host() -> None:
    found = walk(cluster(), datagram(IPv4Address(0), ip_address("10.244.2.5"), 53), "node1")
    assert found.delivered
    assert str(found.last.ip.source) == "10.244.1.0"


def test_who_sends_must_be_clear() -> None:
    with pytest.raises(InputError, match="not one host has"):
        walk(cluster(), echo_request(ip_address("10.9.9.9"), ip_address("10.244.2.5")))
    with pytest.raises(InputError, match="there is no such host"):
        walk(cluster(), ping(), "pod9")
    with pytest.raises(InputError, match="only a packet that was delivered"):
        reply_to(walk(World.of([host("pod1", pod(1, 5))]), ping(), "pod1"))
