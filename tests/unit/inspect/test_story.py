"""The way of one packet, told from tables."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from nankeen.inspect.story import Host, Journey, route_to, tell
from nankeen.model.address import HardwareAddress
from nankeen.model.state import (
    PROTOCOL_KERNEL,
    Address,
    Bridge,
    ForwardingEntry,
    Link,
    Neighbour,
    Object,
    Route,
    State,
    Tun,
    Veth,
    Vxlan,
)
from nankeen.model.tunnel import TunnelPeer, TunnelSocket

MAC1, MAC2 = HardwareAddress.parse("a2:04:91:95:6c:80"), HardwareAddress.parse("9e:73:d4:e3:b1:69")
VTEP = Vxlan(vni=1, underlay="eth0", local=ip_address("192.168.0.11"))


def route(destination: str, device: str, gateway: str | None = None, **more: object) -> Route:
    return Route(ip_network(destination), device, ip_address(gateway) if gateway else None, **more)  # type: ignore[arg-type]


POD1: tuple[Object, ...] = (
    Link("eth0", Veth(), 1450),
    Address("eth0", ip_interface("10.244.1.2/24")),
    route("10.244.1.0/24", "eth0", protocol=PROTOCOL_KERNEL),
    route("0.0.0.0/0", "eth0", "10.244.1.1"),
)
POD2: tuple[Object, ...] = (Link("eth0", Veth(), 1450), Address("eth0", ip_interface("10.244.2.2/24")))
NODE1: tuple[Object, ...] = (
    Link("cni0", Bridge(), 1450),
    Link("flannel.1", VTEP, 1450, MAC1),
    Address("cni0", ip_interface("10.244.1.1/24")),
    route("10.244.1.0/24", "cni0", protocol=PROTOCOL_KERNEL),
    route("10.244.2.0/24", "flannel.1", "10.244.2.0", onlink=True),
    route("192.168.0.0/24", "eth0", protocol=PROTOCOL_KERNEL),
    Neighbour("flannel.1", ip_address("10.244.2.0"), MAC2),
    ForwardingEntry("flannel.1", MAC2, ip_address("192.168.0.12")),
)
NODE2: tuple[Object, ...] = (
    Link("flannel.1", replace(VTEP, local=ip_address("192.168.0.12")), 1450, MAC2),
    route("10.244.2.0/24", "cni0", protocol=PROTOCOL_KERNEL),
)


def journey(without: type[Object] | None = None) -> Journey:
    kept = [item for item in NODE1 if without is None or not isinstance(item, without)]
    return Journey(
        pod=Host("pod1", State(POD1)),
        node=Host("node1", State(kept)),
        peer_node=Host("node2", State(NODE2)),
        peer_pod=Host("pod2", State(POD2)),
        source=ip_address("10.244.1.2"),
        destination=ip_address("10.244.2.2"),
    )


def test_a_packet_through_vxlan_takes_the_six_steps_with_the_lines_that_decide() -> None:
    assert [(step.title, step.host, step.command, step.line) for step in tell(journey())] == [
        ("Container route", "pod1", "ip route", "default via 10.244.1.1 dev eth0"),
        ("Host route", "node1", "ip route", "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink"),
        (
            "VXLAN encapsulation",
            "node1",
            "ip neigh show dev flannel.1",
            "10.244.2.0 dev flannel.1 lladdr 9e:73:d4:e3:b1:69 PERMANENT",
        ),
        (
            "Second encapsulation",
            "node1",
            "ip -d link show flannel.1",
            (
                "flannel.1: vxlan id 1 local 192.168.0.11 dev eth0 dstport 8472 nolearning mtu 1450 "
                "address a2:04:91:95:6c:80 up"
            ),
        ),
        (
            "UDP to the peer",
            "node1",
            "bridge fdb show dev flannel.1",
            "9e:73:d4:e3:b1:69 dev flannel.1 dst 192.168.0.12 self permanent",
        ),
        ("Decapsulation and delivery", "node2", "ip route", "10.244.2.0/24 dev cni0 proto kernel"),
    ]


def test_the_headers_are_those_of_rfc_7348_from_the_outside_in() -> None:
    [wrapped] = [step for step in tell(journey()) if step.title == "Second encapsulation"]
    assert [(header.name, header.size) for header in wrapped.headers] == [
        ("IPv4", 20),
        ("UDP", 8),
        ("VXLAN", 8),
        ("Ethernet", 14),
        ("IPv4", 20),
    ]
    assert wrapped.headers[0].says == "192.168.0.11 → 192.168.0.12"
    assert wrapped.headers[4].says == "10.244.1.2 → 10.244.2.2"
    assert "50 bytes more, so that a packet of 1450 bytes becomes one of 1500" in wrapped.tells


@pytest.mark.parametrize(
    "without, title, tells",
    [
        (Route, "Host route", "node1 has no route to 10.244.2.2"),
        (Neighbour, "VXLAN encapsulation", "No neighbour entry tells the VTEP that holds 10.244.2.0"),
        (ForwardingEntry, "UDP to the peer", "No forwarding entry tells the node where the VTEP 9e:73:d4:e3:b1:69 is"),
    ],
)
def test_the_story_ends_where_a_table_has_no_line(without: type[Object], title: str, tells: str) -> None:
    last = tell(journey(without))[-1]
    assert (last.title, last.line, last.tells) == (title, "", tells)


def through_udp(*peers: Object) -> Journey:
    tun = Link("flannel0", Tun(), 1472)
    socket = TunnelSocket("flannel0", ip_address("192.168.0.11"), 8285, ip_network("10.244.1.0/24"))
    node = State([tun, socket, *peers, route("10.244.0.0/16", "flannel0")])
    return replace(journey(), node=Host("node1", node))


def test_a_packet_through_udp_is_read_by_a_process_and_becomes_the_payload_of_a_datagram() -> None:
    peer = TunnelPeer("flannel0", ip_network("10.244.2.0/24"), ip_address("192.168.0.12"), 8285, "node2")
    _, host, datagram, delivery = tell(through_udp(peer))
    assert host.line == "10.244.0.0/16 dev flannel0"
    assert host.tells == "All of 10.244.0.0/16 is behind flannel0: nankeen.tunnel has that open, and reads the packet"
    assert datagram.line == "udp flannel0 10.244.2.0/24 to 192.168.0.12:8285 node node2"
    assert "28 bytes more, so that a packet of 1472 bytes becomes one of 1500" in datagram.tells
    assert [(header.name, header.size, header.says) for header in datagram.headers] == [
        ("IPv4", 20, "192.168.0.11 → 192.168.0.12"),
        ("UDP", 8, "destination port 8285"),
        ("IPv4", 20, "10.244.1.2 → 10.244.2.2"),
    ]
    assert delivery.line == "10.244.2.0/24 dev cni0 proto kernel"
    assert delivery.tells.startswith("nankeen.tunnel there writes the payload to flannel0 as it is, and cni0 hands it")


def test_a_packet_through_udp_ends_where_no_peer_has_its_destination() -> None:
    last = tell(through_udp())[-1]
    assert (last.title, last.line) == ("UDP to the peer", "")
    assert last.tells == "nankeen.tunnel knows no peer that has 10.244.2.2"


def test_a_packet_to_a_pod_of_the_same_node_is_not_encapsulated() -> None:
    here = Host("node1", State(NODE1))
    neighbour = State([Address("eth0", ip_interface("10.244.1.3/24"))])
    steps = tell(
        replace(
            journey(), node=here, peer_node=here, peer_pod=Host("pod4", neighbour), destination=ip_address("10.244.1.3")
        )
    )
    assert [step.title for step in steps] == ["Container route", "Host route", "Delivery"]
    assert not any(step.headers for step in steps)


def test_a_packet_through_a_plain_gateway_is_not_encapsulated() -> None:
    routed = Host("node1", State([route("10.244.2.0/24", "eth0", "192.168.0.12")]))
    steps = tell(replace(journey(), node=routed))
    assert [step.title for step in steps] == ["Container route", "Host route", "Delivery"]


def test_the_longest_prefix_wins_and_then_the_lowest_metric() -> None:
    wide, narrow = route("10.0.0.0/8", "a"), route("10.244.0.0/16", "b", metric=50)
    slow = route("10.244.0.0/16", "c", metric=100)
    assert route_to(State([wide, slow, narrow]), ip_address("10.244.2.2")) == narrow
    assert route_to(State([wide]), ip_address("192.0.2.1")) is None


def test_routes_of_other_tables_and_families_are_not_asked() -> None:
    other = [route("10.244.0.0/16", "a", table=100), route("::/0", "b")]
    assert route_to(State(other), ip_address("10.244.2.2")) is None
