"""A journey told: the six steps of VXLAN, shorter ways, and packets that do not arrive."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from nankeen.forwarding import Host, Port, Wire, World
from nankeen.forwarding.derived import completed
from nankeen.inspect.walk.headers import names, rows
from nankeen.inspect.walk.journey import Journey, back, predict
from nankeen.inspect.walk.request import Request, question
from nankeen.inspect.walk.story import Story, tell
from nankeen.inspect.walk.surroundings import Surroundings
from nankeen.model.state import Link, Object, State, Tun
from nankeen.model.tunnel import TunnelPeer, TunnelSocket
from tests.unit.forwarding.cluster import WIRES, cluster, node, pod, without
from tests.unit.forwarding.lines import host, state
from tests.unit.inspect.walk.paper import around, surroundings

SWITCH = """
br0: bridge address 02:00:00:00:09:01
port1: veth master br0 address 02:00:00:00:09:02
port2: veth master br0 address 02:00:00:00:09:03
"""


def predicted(source: str, destination: str, there: Surroundings, **more: object) -> Journey:
    asked = question(Request(source, destination, **more), there)  # type: ignore[arg-type]
    return predict(there.world, asked)


def told(source: str, destination: str, there: Surroundings | None = None, **more: object) -> Story:
    there = there or surroundings()
    return tell(predicted(source, destination, there, **more), there)


def lines(story: Story) -> list[tuple[str, str, str, str]]:
    """Of each step its title, where it is, the command and the line that it is about."""
    return [(step.title, step.host, step.decision.command, step.decision.line) for step in story.steps]


def test_a_packet_through_vxlan_takes_the_six_steps_with_the_lines_that_decide() -> None:
    assert lines(told("pod1", "pod2")) == [
        ("Container route", "pod1", "ip route", "default via 10.244.1.1 dev eth0"),
        ("Host route", "node1", "ip route", "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink"),
        (
            "VXLAN encapsulation",
            "node1",
            "ip neigh show dev flannel.1",
            "10.244.2.0 dev flannel.1 lladdr 02:00:00:00:02:02 PERMANENT",
        ),
        (
            "Second encapsulation",
            "node1",
            "ip -d link show flannel.1",
            "flannel.1: vxlan id 1 local 192.168.0.11 dstport 8472 nolearning mtu 1450 address 02:00:00:00:02:01 up",
        ),
        (
            "UDP to the peer",
            "node1",
            "bridge fdb show dev flannel.1",
            "02:00:00:00:02:02 dev flannel.1 dst 192.168.0.12 self permanent",
        ),
        ("Decapsulation and delivery", "node2", "ip route", "10.244.2.0/24 dev cni0 proto kernel src 10.244.2.1"),
    ]


def test_each_step_says_what_its_line_means() -> None:
    assert [step.tells for step in told("pod1", "pod2").steps] == [
        "The packet leaves by eth0 to the next hop 10.244.1.1: cni0 of node1",
        "All of 10.244.2.0/24 is behind flannel.1, next hop 10.244.2.0",
        "The VTEP that holds 10.244.2.0 has the address 02:00:00:00:02:02; the inner frame goes to that",
        (
            "The frame is wrapped once more, with VNI 1, into UDP and IP that the underlay carries: 50 bytes more, "
            "so that a packet of 1450 bytes becomes one of 1500"
        ),
        "That VTEP is at 192.168.0.12, node2: UDP port 8472, out by eth0",
        "flannel.1 unwraps the packet, unchanged, and cni0 hands it to eth0 of pod2",
    ]


def test_the_headers_are_those_of_rfc_7348_from_the_outside_in() -> None:
    wrapped = told("pod1", "pod2").steps[3]
    assert names(wrapped.before) == ("Ethernet", "IPv4", "ICMP")
    assert [(row.name, row.size) for row in rows(wrapped.after)] == [
        ("IPv4", 20),
        ("UDP", 8),
        ("VXLAN", 8),
        ("Ethernet", 14),
        ("IPv4", 20),
        ("ICMP", 8),
    ]
    assert [row.says for row in rows(wrapped.after)[:3]] == [
        "192.168.0.11 → 192.168.0.12 ttl 64",
        "destination port 8472",
        "VNI 1",
    ]


def test_every_device_that_the_packet_passes_belongs_to_one_step() -> None:
    story = told("pod1", "pod2")
    passed = [place for step in story.steps for place in step.points]
    assert passed == list(range(len(story.points)))
    before, after = [step.before for step in story.steps], [step.after for step in story.steps]
    assert before[1:] == after[:-1]
    assert (before[0], after[-1]) == (story.packet, predicted("pod1", "pod2", surroundings()).walk.last)


def test_ipv6_is_told_in_the_same_steps() -> None:
    story = told("pod1", "pod2", surroundings(6))
    assert [step.title for step in story.steps] == [step.title for step in told("pod1", "pod2").steps]
    assert story.steps[1].decision.command == "ip -6 route"
    assert "70 bytes more, so that a packet of 1430 bytes becomes one of 1500" in story.steps[3].tells


def test_a_packet_to_a_pod_of_the_same_node_is_bridged_and_never_routed() -> None:
    story = told("pod1", "pod3")
    assert [(step.title, step.host) for step in story.steps] == [("Container route", "pod1"), ("Bridge", "node1")]
    assert story.steps[1].tells.endswith("out by veth3, and no router sees it: it comes in by eth0 of pod3")


def test_a_node_begins_with_its_own_route() -> None:
    assert [step.title for step in told("node1", "pod2").steps] == [
        "Host route",
        "VXLAN encapsulation",
        "Second encapsulation",
        "UDP to the peer",
        "Decapsulation and delivery",
    ]
    assert [step.title for step in told("node1", "pod1").steps] == ["Host route", "Delivery"]


def test_a_packet_to_another_node_goes_as_it_is() -> None:
    story = told("pod1", "node2")
    assert [step.title for step in story.steps] == ["Container route", "Host route", "To the peer", "Delivery"]
    assert (
        story.steps[2].tells
        == "The packet goes to 192.168.0.12, node2, by eth0, as it is: nothing is wrapped around it"
    )
    assert story.steps[3].tells == "192.168.0.12 is an address of node2 itself, which takes the packet in"


def test_a_packet_to_oneself_stays_where_it_is() -> None:
    assert [step.tells for step in told("pod1", "pod1").steps] == [
        "10.244.1.5 is the pod's own address: the packet never leaves it"
    ]


def test_the_way_back_is_told_in_the_same_words() -> None:
    there = surroundings()
    answer = back(there.world, predicted("pod1", "pod2", there))
    assert answer is not None
    assert [step.title for step in tell(answer, there).steps] == [step.title for step in told("pod1", "pod2").steps]


def routed(number: int) -> Host:
    """A node of host-gw."""
    text = without(node(number), f"10.244.{3 - number}.0/24 via")
    return host(f"node{number}", text + f"10.244.{3 - number}.0/24 via 192.168.0.1{3 - number} dev eth0\n")


def test_a_packet_through_a_plain_gateway_is_not_encapsulated() -> None:
    story = told("pod1", "pod2", surroundings(node1=routed(1), node2=routed(2)))
    assert [(step.title, step.host) for step in story.steps] == [
        ("Container route", "pod1"),
        ("Host route", "node1"),
        ("To the peer", "node1"),
        ("Delivery", "node2"),
    ]
    assert story.steps[1].tells == "All of 10.244.2.0/24 is behind eth0, next hop 192.168.0.12: eth0 of node2"
    assert story.steps[3].tells == "cni0 hands it to eth0 of pod2"


def test_the_switches_of_the_underlay_belong_to_the_way_to_the_peer() -> None:
    wires = [wire for wire in WIRES if Port("node1", "eth0") not in wire.ports]
    wires += [Wire((Port(f"node{n}", "eth0"), Port("switch1", f"port{n}"))) for n in (1, 2)]
    hosts = [*cluster().hosts.values(), host("switch1", SWITCH)]
    story = told("pod1", "pod2", around(World.of(hosts, wires)))
    assert [step.title for step in story.steps] == [step.title for step in told("pod1", "pod2").steps]
    assert "switch1" in {decision.host for decision in story.steps[4].decisions}


def through_udp(number: int, *, peers: bool = True) -> Host:
    """A node of the udp backend."""
    other = 3 - number
    text = without(node(number), f"10.244.{other}.0/24 via") + "10.244.0.0/16 dev flannel0\n"
    local, far = ip_address(f"192.168.0.1{number}"), ip_address(f"192.168.0.1{other}")
    objects: list[Object] = [
        Link("flannel0", Tun(), 1472, up=True),
        TunnelSocket("flannel0", local, 8285, ip_network(f"10.244.{number}.0/24")),
    ]
    peer = TunnelPeer("flannel0", ip_network(f"10.244.{other}.0/24"), far, 8285, f"node{other}")
    return Host(f"node{number}", completed(state(text) | State([*objects, *([peer] if peers else [])])))


def test_a_packet_through_udp_is_read_by_a_process_and_becomes_the_payload_of_a_datagram() -> None:
    story = told("pod1", "pod2", surroundings(node1=through_udp(1), node2=through_udp(2)))
    _, route, datagram, delivery = story.steps
    assert route.tells == "All of 10.244.0.0/16 is behind flannel0: nankeen.tunnel has that open, and reads the packet"
    assert datagram.decision.command == "nankeen.tunnel: its peers"
    assert datagram.decision.line == "udp flannel0 10.244.2.0/24 to 192.168.0.12:8285 node node2"
    assert datagram.tells == (
        "nankeen.tunnel sends the packet to node2 as the payload of a datagram: 28 bytes more, "
        "so that a packet of 1472 bytes becomes one of 1500"
    )
    assert names(datagram.after) == ("Ethernet", "IPv4", "UDP", "IPv4", "ICMP")
    assert (
        delivery.tells
        == "nankeen.tunnel there writes the payload to flannel0 as it is, and cni0 hands it to eth0 of pod2"
    )


def test_a_packet_through_udp_ends_where_no_peer_has_its_destination() -> None:
    story = told("pod1", "pod2", surroundings(node1=through_udp(1, peers=False), node2=through_udp(2)))
    last = story.steps[-1]
    assert (last.title, last.decision.command, last.decision.line) == (
        "UDP to the peer",
        "nankeen.tunnel: its peers",
        "",
    )
    assert last.tells == "Answered by node1: ICMP network unreachable: no peer of flannel0 has 10.244.2.5"


@pytest.mark.parametrize("gone, title, command, tells", [
    ("10.244.2.0/24 via", "Host route", "ip route", "no route to 10.244.2.5"),
    ("10.244.2.0 dev", "VXLAN encapsulation", "ip neigh show dev flannel.1", "nobody at flannel.1 answers for 10.244"),
    (
        "02:00:00:00:02:02 dev",
        "UDP to the peer",
        "bridge fdb show dev flannel.1",
        "no forwarding entry of flannel.1 for 02:00:00:00:02:02",
    ),
])  # fmt: skip
def test_the_story_ends_where_a_table_has_no_line(gone: str, title: str, command: str, tells: str) -> None:
    story = told("pod1", "pod2", surroundings(node1=host("node1", without(node(1), gone))))
    last = story.steps[-1]
    assert (last.title, last.host, last.decision.command, last.decision.line) == (title, "node1", command, "")
    assert tells in last.tells
    assert last.fails
    assert not story.arrives
    assert "node1 lacks a" in story.remedy
    assert "`nankeen lab status`" in story.remedy


@pytest.mark.parametrize("lines_, title, line, remedy", [
    ("net.ipv4.ip_forward = 0", "Host route", "net.ipv4.conf.cni0.forwarding = 0", "forwarding to 1 on node1"),
    ("blackhole 10.244.2.5/32", "Host route", "blackhole 10.244.2.5 proto kernel", "remove the route on node1"),
])  # fmt: skip
def test_a_line_that_forbids_the_packet_is_shown(lines_: str, title: str, line: str, remedy: str) -> None:
    text = without(node(1), "net.ipv4.ip_forward") if "ip_forward" in lines_ else node(1)
    story = told("pod1", "pod2", surroundings(node1=host("node1", text + lines_)))
    last = story.steps[-1]
    assert (last.title, last.decision.line, last.fails) == (title, line, False)
    assert line in story.end
    assert remedy in story.remedy


def test_a_packet_that_is_too_big_is_told_with_the_link_that_does_not_take_it() -> None:
    story = told("pod1", "pod2", size=1451)
    assert story.end == "answered by pod1: ICMP fragmentation needed, mtu 1450: 1451 bytes, and eth0 takes 1450"
    assert story.steps[-1].decision.command == "ip -d link show eth0"
    assert "mtu 1450" in story.steps[-1].decision.line
    assert story.remedy.startswith("send smaller packets")


def test_a_pod_without_a_route_is_to_be_attached_anew() -> None:
    story = told("pod1", "pod2", surroundings(pod1=host("pod1", without(pod(1, 5), "default"))))
    assert [step.title for step in story.steps] == ["Container route"]
    assert story.remedy == "the pod's own table lacks it: attach the pod anew, CNI gives it its routes"


def test_nobody_is_to_be_repaired_for_an_address_that_nobody_has() -> None:
    assert "nobody here has that address" in told("pod1", "10.244.9.9").remedy


def test_what_cannot_be_told_is_called_unknown_and_has_no_remedy() -> None:
    story = told("pod1", "pod2", surroundings(node2=Host("node2", None)))
    assert story.end == "unknown beyond node1: nothing was observed of node2"
    assert (story.arrives, story.remedy) == (False, "")


def test_a_bridge_without_a_port_for_the_pod_is_no_matter_of_the_agent() -> None:
    text = without(without(node(2), "veth1:"), "veth3:") + "10.244.2.5 dev cni0 lladdr 02:00:00:00:05:25 PERMANENT\n"
    story = told("pod1", "pod2", surroundings(node2=host("node2", text)))
    last = story.steps[-1]
    assert (last.title, last.decision.command) == ("Decapsulation and delivery", "bridge fdb show br cni0")
    assert story.remedy == (
        "no port of cni0 leads there: see whether the pod still runs and its port is up, with `bridge link`"
    )
