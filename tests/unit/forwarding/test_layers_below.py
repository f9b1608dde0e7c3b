"""Bridges, neighbours, tunnels and wires: what becomes of a packet below IP's routes."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from nankeen.forwarding import Cause, Delivered, Dropped, Host, Port, Unknown, Wire, World, echo_request, walk
from nankeen.forwarding.derived import completed
from nankeen.forwarding.hop import Consulted
from nankeen.forwarding.packet import WireguardHeader
from nankeen.model.address import HardwareAddress
from nankeen.model.errors import InputError
from nankeen.model.observed import BridgeEntry, BridgePort, DynamicNeighbour, LinkFacts, NeighbourState
from nankeen.model.state import Link, Object, State, Tun
from nankeen.model.tunnel import TunnelPeer, TunnelSocket
from nankeen.model.wireguard import PublicKey, SocketAddress, WireguardDevice, WireguardPeer
from nankeen.model.xfrm import Direction, EspTunnel, XfrmPolicy
from tests.unit.forwarding.cluster import WIRES, cluster, node, pod
from tests.unit.forwarding.lines import host, state

NEAR = echo_request(ip_address("10.244.1.5"), ip_address("10.244.1.7"))
FAR = echo_request(ip_address("10.244.1.5"), ip_address("10.244.2.5"))
POD3 = HardwareAddress.parse("02:00:00:00:05:17")
SOMEBODY = HardwareAddress.parse("02:00:00:00:00:77")


def knowing(name: str, text: str, *items: Object) -> Host:
    """A host with these lines and these objects."""
    return Host(name, completed(State([*state(text), *items])))


def test_two_pods_of_a_node_meet_on_its_bridge_and_no_route_of_the_node_is_asked() -> None:
    found = walk(cluster(), NEAR)
    assert found.end == Delivered("pod3", "eth0", ip_address("10.244.1.7"))
    assert {hop.consulted for hop in found.hops if hop.host == "node1"} == {Consulted.FDB}


def test_a_bridge_that_knows_nobody_floods_and_the_right_station_takes_the_frame() -> None:
    neighbour = DynamicNeighbour("eth0", ip_address("10.244.1.7"), POD3, NeighbourState.STALE)
    found = walk(cluster(pod1=knowing("pod1", pod(1, 5), neighbour)), NEAR)
    assert found.delivered
    assert any("veth3: state forwarding" in hop.line for hop in found.hops)


@pytest.mark.parametrize(
    "port",
    [
        BridgePort("veth3", forwarding=False),
        BridgePort("veth3", broadcast_flood=False),
        BridgePort("veth1", forwarding=False),
    ],
    ids=str,
)
def test_a_port_that_does_not_forward_keeps_pods_apart(port: BridgePort) -> None:
    assert not walk(cluster(node1=knowing("node1", node(1), port)), NEAR).delivered


def test_isolated_ports_hear_the_node_and_not_each_other() -> None:
    ports = BridgePort("veth1", isolated=True), BridgePort("veth3", isolated=True)
    world = cluster(node1=knowing("node1", node(1), *ports))
    assert not walk(world, NEAR).delivered
    assert walk(world, FAR).delivered
    assert walk(world, echo_request(ip_address("10.244.1.5"), ip_address("10.244.1.1"))).delivered


def test_a_frame_leaves_by_the_port_that_it_came_in_by_only_with_hairpin() -> None:
    wrong = BridgeEntry("veth1", POD3, "cni0", static=True)
    neighbour = DynamicNeighbour("eth0", ip_address("10.244.1.7"), POD3, NeighbourState.REACHABLE)
    one = knowing("pod1", pod(1, 5), neighbour)
    without = walk(cluster(pod1=one, node1=knowing("node1", node(1), wrong)), NEAR).end
    assert isinstance(without, Dropped)
    assert (without.host, without.cause) == ("node1", Cause.BLOCKED_PORT)
    hairpin = BridgePort("veth1", hairpin=True)
    with_it = walk(cluster(pod1=one, node1=knowing("node1", node(1), wrong, hairpin)), NEAR).end
    assert isinstance(with_it, Dropped)
    assert (with_it.host, with_it.cause) == ("pod1", Cause.OTHER_STATION)


def test_what_vlans_decide_is_not_guessed() -> None:
    facts = LinkFacts("cni0", vlan_filtering=True)
    assert isinstance(walk(cluster(node1=knowing("node1", node(1), facts)), NEAR).end, Unknown)


def test_two_bridges_with_two_cables_go_round_in_a_loop_and_the_walk_ends() -> None:
    switch = "br0: bridge address 02:00:00:00:09:0{0}\n" + "\n".join(
        f"p{place}: veth master br0 address 02:00:00:00:1{{0}}:0{place}" for place in range(3)
    )
    ends = [host("left", switch.format(1)), host("right", switch.format(2)), host("pod1", pod(1, 5))]
    wires = [
        Wire((Port("left", "p0"), Port("right", "p0"))),
        Wire((Port("left", "p1"), Port("right", "p1"))),
        Wire((Port("left", "p2"), Port("pod1", "eth0"))),
    ]
    found = walk(World.of(ends, wires), NEAR)
    assert not found.delivered


@pytest.mark.parametrize("known", [NeighbourState.REACHABLE, NeighbourState.STALE, NeighbourState.PROBE])
def test_a_neighbour_that_is_known_is_not_asked_for_even_if_it_is_wrong(known: NeighbourState) -> None:
    entry = DynamicNeighbour("cni0", ip_address("10.244.2.5"), SOMEBODY, known)
    end = walk(cluster(node2=knowing("node2", node(2), entry)), FAR).end
    assert not isinstance(end, Delivered)


@pytest.mark.parametrize("known", [NeighbourState.FAILED, NeighbourState.INCOMPLETE])
def test_one_that_is_not_is_asked_for_again(known: NeighbourState) -> None:
    entry = DynamicNeighbour("cni0", ip_address("10.244.2.5"), None, known)
    assert walk(cluster(node2=knowing("node2", node(2), entry)), FAR).delivered


def test_two_stations_with_one_address_are_not_guessed() -> None:
    thief = host("pod3", pod(1, 7) + "inet 10.244.1.1/24 dev eth0")
    end = walk(cluster(pod3=thief), FAR).end
    assert isinstance(end, Unknown)
    assert "answer for 10.244.1.1" in end.detail


def test_a_device_that_is_wired_to_nobody_known_is_told_as_unknown() -> None:
    world = World.of(cluster().hosts.values(), WIRES[:3])
    end = walk(world, FAR).end
    assert isinstance(end, Unknown)
    assert end.detail == "nobody knows what eth0 is wired to"


def test_a_world_has_each_name_and_each_port_once() -> None:
    hosts = list(cluster().hosts.values())
    with pytest.raises(InputError, match="two hosts have this name"):
        World.of([*hosts, host("pod1", pod(1, 9))])
    with pytest.raises(InputError, match="two wires end here"):
        World.of(hosts, [WIRES[0], Wire((WIRES[0].ports[0], Port("pod2", "eth0")))])
    with pytest.raises(InputError, match="a host that is not there"):
        World.of(hosts, [Wire((Port("pod9", "eth0"), Port("pod2", "eth0")))])


def test_vxlan_of_another_network_or_port_is_not_taken() -> None:
    for wrong in (node(2).replace("id 1 ", "id 7 "), node(2).replace("flannel.1: vxlan", "flannel.1: vxlan down")):
        end = walk(cluster(node2=host("node2", wrong)), FAR).end
        assert isinstance(end, Dropped)
        assert (end.host, end.cause) == ("node2", Cause.NO_TUNNEL)


def test_a_default_destination_counts_where_an_address_has_none() -> None:
    anybody = BridgeEntry("flannel.1", HardwareAddress(bytes(6)), destination=ip_address("192.168.0.12"), static=True)
    text = "\n".join(line for line in node(1).split("\n") if "self permanent" not in line)
    assert walk(cluster(node1=knowing("node1", text, anybody)), FAR).delivered


def test_ipip_takes_twenty_bytes_and_the_route_says_where_to() -> None:
    def lines(number: int) -> str:
        other = 3 - number
        kept = [line for line in node(number).split("\n") if "flannel" not in line]
        tunnel = f"flannel.ipip: ipip local 192.168.0.1{number} mtu 1480"
        route = f"10.244.{other}.0/24 via 192.168.0.1{other} dev flannel.ipip onlink"
        return "\n".join([*kept, tunnel, f"inet 10.244.{number}.0/32 dev flannel.ipip", route])

    world = cluster(node1=host("node1", lines(1)), node2=host("node2", lines(2)))
    found = walk(world, FAR)
    assert found.delivered
    assert max(hop.after.size for hop in found.hops if len(hop.after.headers) == 3) == FAR.size + 20


def wireguard(number: int, *allowed: str) -> Host:
    other = 3 - number
    kept = [line for line in node(number).split("\n") if "flannel" not in line]
    text = "\n".join([*kept, "flannel-wg: wireguard mtu 1420", f"10.244.{other}.0/24 dev flannel-wg"])
    keys = {side: PublicKey(bytes([side]) * 32) for side in (1, 2)}
    peer = WireguardPeer(
        "flannel-wg", keys[other], SocketAddress(ip_address(f"192.168.0.1{other}"), 51820),
        frozenset(map(ip_network, allowed)),
    )  # fmt: skip
    return knowing(f"node{number}", text, WireguardDevice("flannel-wg", 51820, keys[number]), peer)


def test_wireguard_carries_what_both_sides_allow() -> None:
    world = cluster(node1=wireguard(1, "10.244.2.0/24"), node2=wireguard(2, "10.244.1.0/24"))
    found = walk(world, FAR)
    assert found.delivered
    header = next(hop.after.headers[2] for hop in found.hops if len(hop.after.headers) > 3)
    assert header == WireguardHeader(b64encode(bytes([1]) * 32).decode(), padding=12)


@pytest.mark.parametrize(
    "one,two,where", [("10.99.0.0/16", "10.244.1.0/24", "node1"), ("10.244.2.0/24", "10.99.0.0/16", "node2")]
)
def test_what_a_side_does_not_allow_ends_there(one: str, two: str, where: str) -> None:
    end = walk(cluster(node1=wireguard(1, one), node2=wireguard(2, two)), FAR).end
    assert isinstance(end, Dropped)
    assert (end.host, end.cause) == (where, Cause.NO_PEER)


def datagrams(number: int) -> Host:
    other = 3 - number
    kept = [line for line in node(number).split("\n") if "flannel" not in line]
    text = "\n".join([*kept, "10.244.0.0/16 dev flannel0"])
    return knowing(
        f"node{number}",
        text,
        Link("flannel0", Tun(), 1472),
        TunnelSocket("flannel0", ip_address(f"192.168.0.1{number}"), 8285, ip_network(f"10.244.{number}.0/24")),
        TunnelPeer("flannel0", ip_network(f"10.244.{other}.0/24"), ip_address(f"192.168.0.1{other}"), 8285, "peer"),
    )


def test_the_udp_backend_carries_packets_as_payload() -> None:
    found = walk(cluster(node1=datagrams(1), node2=datagrams(2)), FAR)
    assert found.delivered
    assert max(hop.after.size for hop in found.hops) == FAR.size + 28


def test_what_ipsec_protects_is_not_guessed() -> None:
    ends = EspTunnel(ip_address("192.168.0.11"), ip_address("192.168.0.12"))
    policy = XfrmPolicy(Direction.OUT, ip_network("10.244.1.0/24"), ip_network("10.244.2.0/24"), ends)
    assert isinstance(walk(cluster(node1=knowing("node1", node(1), policy)), FAR).end, Unknown)
    assert walk(
        cluster(node1=knowing("node1", node(1), replace(policy, source=ip_network("10.9.0.0/16")))), FAR
    ).delivered
