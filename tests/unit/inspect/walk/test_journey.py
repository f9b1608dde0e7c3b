"""The predicted way of a packet, as a value."""

from __future__ import annotations

from ipaddress import ip_address

from nankeen.forwarding import Answered, Delivered, Direction, Passage, echo_request
from nankeen.forwarding.packet import Icmp, IcmpKind
from nankeen.inspect.walk.journey import Question, back, predict
from tests.unit.forwarding.cluster import cluster, node, without
from tests.unit.forwarding.lines import host

QUESTION = Question("pod1", "pod2", echo_request(ip_address("10.244.1.5"), ip_address("10.244.2.5")))


def test_a_journey_names_each_device_with_the_packet_as_it_is_there() -> None:
    found = predict(cluster(), QUESTION)
    assert (found.source, found.destination, found.hosts) == ("pod1", "pod2", ("pod1", "node1", "node2", "pod2"))
    [outer] = [point for point in found.points if point.host == "node1" and point.device == "eth0"]
    assert outer.direction is Direction.LEAVES
    assert str(outer.packet).startswith("Ethernet 02:00:00:00:00:01 → 02:00:00:00:00:02 | IPv4 192.168.0.11 → ")
    assert all(isinstance(point, Passage) for point in found.points)


def test_the_way_back_is_that_of_the_answer() -> None:
    found = back(cluster(), predict(cluster(), QUESTION))
    assert found is not None
    assert (found.source, found.destination) == ("pod2", "pod1")
    assert found.question.packet.headers[1] == Icmp(IcmpKind.ECHO_REPLY, 1)
    assert isinstance(found.end, Delivered)
    assert found.hosts == ("pod2", "node2", "node1", "pod1")


def test_nobody_answers_what_is_lost() -> None:
    world = cluster(node1=host("node1", without(node(1), "10.244.2.0 dev flannel.1")))
    found = predict(world, QUESTION)
    assert isinstance(found.end, Answered)
    assert back(world, found) is None
