"""What sightings prove of a prediction: a function of values, so that each case is told by hand."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.forwarding import Answered, Delivered, Direction, Dropped, Packet, echo_request
from nankeen.forwarding.packet import Ethernet, Header, Icmp, IcmpKind, Ip, Tcp, Udp, VxlanHeader, WireguardHeader
from nankeen.inspect.walk.difference import differences
from nankeen.inspect.walk.ending import Outcome
from nankeen.inspect.walk.journey import Journey, Question, predict
from nankeen.inspect.walk.proof import Proof, Verdict, judged
from nankeen.inspect.walk.sighting import Role, Sighting
from nankeen.inspect.walk.tag import Tag
from nankeen.model.address import Family, HardwareAddress
from nankeen.model.packet import Arp, ArpOperation, IPv4, Protocol, dissect, encode
from nankeen.model.packet import Ethernet as Frame
from nankeen.model.packet import Icmp as Message
from nankeen.model.packet import Tcp as Segment
from tests.unit.forwarding.cluster import cluster, node, without
from tests.unit.forwarding.lines import host
from tests.unit.inspect.walk.onwire import faultless, octets, seen

TAG = Tag(0x4_1234, b"nankeen nankeen ", 56)
HERE, THERE = IPv4Address("10.244.1.5"), IPv4Address("10.244.2.5")
ONE, OTHER = HardwareAddress(b"\2\0\0\0\0\1"), HardwareAddress(b"\2\0\0\0\0\2")
REPLY = [IPv4(THERE, HERE, Protocol.ICMP), Message.echo(Family.IPV4, 1, 1, reply=True)]


def journey(header: Header | None = None, *, family: int = 4, **hosts: str) -> Journey:
    source, destination = (HERE, THERE) if family == 4 else (ip_address("fd44:0:0:1::5"), ip_address("fd44:0:0:2::5"))
    packet = echo_request(source, destination)
    if header is not None:
        packet = Packet((packet.headers[0], header), 56)
    world = cluster(family, **{name: host(name, text) for name, text in hosts.items()})
    return predict(world, Question("pod1", "pod2", packet))


def said(role: Role, at: str, headers: Sequence[object], *, device: str = "eth0", time: int = 500) -> Sighting:
    """Something that leaves a host."""
    data = encode([Frame(ONE, OTHER, 0x0806 if role is Role.QUESTION else 0x0800), *headers], TAG.content)  # type: ignore[list-item]
    return Sighting(role, at, device, Direction.LEAVES, time * 1000, dissect(data))


def error(at: str, code: tuple[int, int], *, source: str = "10.244.1.1") -> Sighting:
    message = [IPv4(IPv4Address(source), HERE, Protocol.ICMP), Message(Family.IPV4, *code)]
    quoted = octets(journey().question.packet, TAG)
    found = said(Role.ERROR, at, message)
    return replace(found, packet=replace(found.packet, payload=quoted))


def verdicts(proof: Proof) -> list[Verdict]:
    return [each.verdict for each in proof.proven]


@pytest.mark.parametrize("family", [4, 6])
def test_what_is_seen_everywhere_as_predicted_and_is_answered_holds(family: int) -> None:
    predicted = journey(family=family)
    proof = judged(predicted, [*faultless(predicted, TAG), said(Role.ANSWER, "pod2", REPLY)])
    assert set(verdicts(proof)) == {Verdict.SEEN}
    assert len(proof.proven) == len(predicted.points) == 10
    assert [each.time for each in proof.proven] == list(range(0, 100, 10))
    assert (proof.holds, proof.first, proof.decisions, proof.instead) == (True, None, (), "")
    assert (proof.ending.outcome, proof.ending.text[:14]) == (Outcome.CONFIRMED, "pod2 answers: ")


def test_an_echo_request_that_arrives_and_is_not_answered_was_not_delivered() -> None:
    predicted = journey()
    proof = judged(predicted, faultless(predicted, TAG))
    assert (proof.holds, proof.first) == (False, None)
    assert proof.instead == "pod2 takes it in by eth0 and answers nothing"
    assert [hop.host for hop in proof.decisions] == ["pod2"]


def test_a_datagram_that_arrives_may_go_unanswered() -> None:
    predicted = journey(Udp(40000, 80))
    proof = judged(predicted, faultless(predicted, TAG))
    assert (proof.holds, proof.ending.outcome) == (True, Outcome.OPEN)


@pytest.mark.parametrize("code, holds", [((3, 3), True), ((3, 13), False)], ids=["port unreachable", "prohibited"])
def test_only_a_closed_port_is_proof_of_arrival(code: tuple[int, int], holds: bool) -> None:  # noqa: FBT001
    predicted = journey(Udp(40000, 80))
    proof = judged(predicted, [*faultless(predicted, TAG), error("pod2", code)])
    assert (proof.holds, proof.ending.outcome is Outcome.CONFIRMED) == (holds, holds)


def test_who_answers_in_the_receivers_place_is_found() -> None:
    predicted = journey(Tcp(40000, 80))
    reset = said(Role.ANSWER, "node2", [IPv4(THERE, HERE, Protocol.TCP), Segment(80, 40000, flags=0x14)])
    proof = judged(predicted, [*faultless(predicted, TAG), reset])
    assert (proof.holds, proof.instead[:15]) == (False, "node2 answers: ")


def test_the_first_point_without_the_packet_is_named_with_the_decisions_before_it() -> None:
    predicted = journey()
    proof = judged(predicted, faultless(predicted, TAG)[:3])
    assert proof.first is not None
    assert (proof.first.point.host, proof.first.point.device) == ("node1", "flannel.1")
    assert verdicts(proof) == [Verdict.SEEN] * 3 + [Verdict.NOT_SEEN] * 7
    assert [hop.line.split()[0] for hop in proof.decisions] == ["10.244.2.0/24", "10.244.2.0"]
    assert proof.instead == "nothing more is seen of it after it enters node1 by cni0"


@given(st.sets(st.integers(0, 9)), st.permutations(range(10)))
def test_the_first_difference_is_the_first_point_that_was_missed(missed: set[int], order: list[int]) -> None:
    """In whatever order sightings come."""
    predicted = journey()
    sightings = faultless(predicted, TAG)
    proof = judged(predicted, [sightings[place] for place in order if place not in missed])
    expected = [Verdict.NOT_SEEN if place in missed else Verdict.SEEN for place in range(10)]
    assert verdicts(proof) == expected
    assert proof.first == (proof.proven[min(missed)] if missed else None)
    assert not proof.holds
    assert proof.instead


def test_nothing_at_all_is_told() -> None:
    proof = judged(journey(), [])
    assert (proof.holds, proof.instead, proof.ending.text) == (False, "nothing is seen of it", "it did not arrive")


def test_another_way_out_is_told_before_questions_of_neighbours() -> None:
    predicted = journey()
    detour = replace(seen(predicted.points[3], TAG, 35), device="eth1")
    asked = said(Role.QUESTION, "node1", [Arp(ArpOperation.REQUEST, ONE, HERE, OTHER, THERE)], time=33)
    alone = judged(predicted, [*faultless(predicted, TAG)[:3], asked])
    assert alone.instead == "node1 asks at eth0: ARP who has 10.244.2.5? tell 10.244.1.5"
    proof = judged(predicted, [*faultless(predicted, TAG)[:3], asked, detour])
    assert proof.instead == f"it leaves node1 by eth1: {HERE} → {THERE} ICMP echo request, id 1, seq 4660"
    assert proof.elsewhere == (detour,)


def test_a_name_of_a_device_reaches_no_terminal_unescaped() -> None:
    predicted = journey()
    detour = replace(seen(predicted.points[3], TAG, 35), device="e\x1b[2J")
    proof = judged(predicted, [*faultless(predicted, TAG)[:3], detour])
    assert proof.instead.isprintable()
    assert "\\x1b" in proof.instead


def test_copies_that_a_switch_makes_contradict_nothing() -> None:
    predicted = journey()
    copy = replace(seen(predicted.points[1], TAG, 11), device="veth3", direction=Direction.LEAVES)
    proof = judged(predicted, [*faultless(predicted, TAG), copy, said(Role.ANSWER, "pod2", REPLY)])
    assert (proof.holds, proof.elsewhere) == (True, (copy,))


def test_a_packet_that_was_to_be_dropped_is_to_end_there() -> None:
    predicted = journey(node1=without(node(1), "02:00:00:00:02:02 dev flannel.1"))
    assert isinstance(predicted.end, Dropped)
    held = judged(predicted, faultless(predicted, TAG))
    assert (held.holds, held.ending.outcome, held.ending.text) == (
        True, Outcome.CONFIRMED, "node1 does not send it on, and nobody answers"
    )  # fmt: skip
    onward = replace(faultless(predicted, TAG)[-1], device="eth0", nanoseconds=50_000)
    broken = judged(predicted, [*faultless(predicted, TAG), onward])
    assert (broken.holds, broken.instead[:25]) == (False, "it leaves node1 by eth0: ")
    answered = judged(predicted, [*faultless(predicted, TAG), said(Role.ANSWER, "pod2", REPLY)])
    assert not answered.holds


def test_an_answer_of_a_router_is_held_to_the_predicted_one() -> None:
    predicted = journey(node1=without(node(1), "10.244.2.0/24"))
    assert isinstance(predicted.end, Answered)
    way = faultless(predicted, TAG)
    outcomes = {
        "predicted": judged(predicted, [*way, error("node1", (3, 0))]),
        "another error": judged(predicted, [*way, error("node1", (3, 13))]),
        "another host": judged(predicted, [*way, error("node2", (3, 0))]),
        "silence": judged(predicted, way),
    }
    assert {name: proof.ending.outcome for name, proof in outcomes.items()} == {
        "predicted": Outcome.CONFIRMED,
        "another error": Outcome.CONTRADICTED,
        "another host": Outcome.CONTRADICTED,
        "silence": Outcome.OPEN,
    }
    assert [name for name, proof in outcomes.items() if proof.holds] == ["predicted", "silence"]


def test_what_the_sender_refuses_is_held_to_what_was_predicted() -> None:
    delivered, pod = journey(), "eth0: veth mtu 1450 address 02:00:00:00:05:15\ninet 10.244.1.5/24 dev eth0"
    assert isinstance(delivered.end, Delivered)
    refused = judged(delivered, [], errno.ENETUNREACH)
    assert (refused.holds, refused.instead) == (False, "pod1 refuses to send it: Network is unreachable")
    predicted = journey(pod1=pod)
    assert isinstance(predicted.end, Answered)
    assert judged(predicted, [], errno.ENETUNREACH).ending.outcome is Outcome.CONFIRMED
    assert judged(predicted, [], errno.EMSGSIZE).ending.outcome is Outcome.CONTRADICTED


def _changed(packet: Packet, place: int, **fields: object) -> Packet:
    header = replace(packet.headers[place], **fields)  # type: ignore[arg-type]
    return replace(packet, headers=(*packet.headers[:place], header, *packet.headers[place + 1 :]))


TUNNELLED = next(
    point.packet
    for point in journey().points
    if any(isinstance(header, VxlanHeader) for header in point.packet.headers)
)


@pytest.mark.parametrize(
    "place, fields, text",
    [
        (0, {"destination": ONE}, "outer Ethernet destination 02:00:00:00:00:01 instead of 02:00:00:00:00:02"),
        (1, {"ttl": 9}, "outer TTL 9 instead of 64"),
        (1, {"destination": HERE}, "outer destination address 10.244.1.5 instead of 192.168.0.12"),
        (2, {"destination": 4789}, "outer destination port 4789 instead of 8472"),
        (3, {"vni": 2}, "outer VNI 2 instead of 1"),
        (5, {"dont_fragment": True}, "inner DF bit set instead of not set"),
        (6, {"identifier": 9}, "inner ICMP identifier 9 instead of 1"),
    ],
)  # fmt: skip
def test_each_field_that_differs_is_named_with_both_values(place: int, fields: dict[str, object], text: str) -> None:
    [found] = differences(TUNNELLED, _changed(TUNNELLED, place, **fields))
    assert str(found) == text


def test_what_is_drawn_is_not_compared() -> None:
    assert differences(TUNNELLED, _changed(TUNNELLED, 2, source=50123)) == ()


def test_another_length_and_other_headers_are_told() -> None:
    [length] = differences(TUNNELLED, replace(TUNNELLED, payload=40))
    assert str(length) == "length 118 bytes instead of 134 bytes"
    inner = Packet((Ethernet(ONE, OTHER), Ip(HERE, THERE), Icmp(IcmpKind.ECHO_REQUEST, 1)), 56)
    [headers] = differences(TUNNELLED, inner)
    assert headers.seen == "Ethernet | IPv4 | ICMP"


def test_what_is_encrypted_is_not_looked_for() -> None:
    predicted = journey()
    hidden = _encrypted(predicted)
    proof = judged(
        hidden, [each for each in faultless(predicted, TAG) if each.device != "eth0" or "node" not in each.host]
    )
    assert verdicts(proof)[4] is Verdict.HIDDEN
    assert proof.first is None


def _encrypted(predicted: Journey) -> Journey:
    """The same way, through WireGuard as far as the outer headers are asked."""

    def change(packet: Packet) -> Packet:
        found = [WireguardHeader("key") if isinstance(header, VxlanHeader) else header for header in packet.headers]
        return replace(packet, headers=tuple(found))

    trail = predicted.walk.trail
    steps: list[tuple[Any, ...]] = []
    while trail is not None:
        steps.append(trail[1:])
        trail = trail[0]
    for where, device, what, entry, before, after in reversed(steps):
        is_passage = isinstance(what, Direction)
        trail = (trail, where, device, what, entry, before, change(after) if is_passage else after)
    return replace(predicted, walk=replace(predicted.walk, trail=trail))
