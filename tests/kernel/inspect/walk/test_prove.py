"""Predictions put to the test by a real packet: sound networks, and such as were damaged after the prediction."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import ip_address

import pytest

from nankeen.forwarding import Delivered, Direction, Dropped, Packet
from nankeen.forwarding.packet import Header, Icmp, IcmpKind, Ip, Sctp, Tcp, Udp
from nankeen.inspect.walk.ending import Outcome
from nankeen.inspect.walk.journey import Journey, Question, back, predict
from nankeen.inspect.walk.proof import Proof, Verdict
from nankeen.inspect.walk.prove import prove
from nankeen.inspect.walk.sighting import Role
from nankeen.kernel.namespace import entered
from nankeen.model.address import Family, IPAddress
from nankeen.model.errors import InputError
from tests.kernel.forwarding.damages import Damage, damages
from tests.kernel.forwarding.scene import PODS, Scene, Sent, inside, scene, underlay, vtep

PATIENT = 5.0
"""Seconds that only a failure takes: what is expected comes at once."""
PING = Icmp(IcmpKind.ECHO_REQUEST, 7)
HEADERS: list[Header] = [PING, Udp(41001, 7777), Tcp(41001, 7777), Sctp(41001, 7777)]
POD1, POD2, POD3 = (PODS[pod] for pod in ("pod1", "pod2", "pod3"))
FAMILIES = pytest.mark.parametrize("family", list(Family), ids=str)

SOME_DAMAGES = [damage for damage in damages() if damage.only in ("", "vxlan")][::17]


@dataclass
class Stage:
    """A scene, and predictions about it."""

    scene: Scene

    def predict(
        self, to: str, header: Header = PING, *, payload: int = 56, source: str = "pod1", ttl: int = 64
    ) -> Journey:
        destination = ip_address(to)
        packet = Packet((Ip(self.address(source, destination.version), destination, ttl), header), payload)
        return predict(self.scene.survey(), Question(source, to, packet))

    def address(self, host: str, version: int) -> IPAddress:
        family = Family.IPV4 if version == 4 else Family.IPV6
        text = inside(*PODS[host], family) if host in PODS else underlay(int(host[-1]), family)
        return ip_address(text)

    def prove(
        self, journey: Journey, *, patience: float = PATIENT, answers: bool = False, answer: Journey | None = None
    ) -> Proof:
        return prove(journey, self.scene.nets, answers=answers, answer=answer, patience=patience)

    @contextmanager
    def damaged(self, host: str, do: str, undo: str) -> Iterator[None]:
        self.scene.run(host, do)
        try:
            yield
        finally:
            self.scene.run(host, undo)
            self.scene.forget()


@pytest.fixture(scope="module")
def stages() -> Iterator[Callable[[str], Stage]]:
    """Each backend's, built when it is first asked for."""
    with ExitStack() as stack:
        yield cache(lambda backend: _warmed_up(stack.enter_context(scene(backend))))


@pytest.fixture(params=["vxlan", "host-gw"])
def any_stage(request: pytest.FixtureRequest, stages: Callable[[str], Stage]) -> Stage:
    return stages(request.param)


@pytest.fixture
def stage(stages: Callable[[str], Stage]) -> Stage:
    """Of VXLAN."""
    return stages("vxlan")


def _warmed_up(made: Scene) -> Stage:
    """A new IPv6 address takes a second before its host asks neighbours with it: packets wait for that, and arrive."""
    packets = [
        Sent(pod, inside(*other, family)) for family in Family for pod, other in (("pod1", POD2), ("pod2", POD1))
    ]
    assert len(made.send(packets, range(len(packets)))) == len(packets)
    return Stage(made)


def verdicts(proof: Proof) -> set[Verdict]:
    return {each.verdict for each in proof.proven}


def first(proof: Proof) -> tuple[str, str, str]:
    """The first point that is not as it was predicted."""
    assert proof.first is not None
    point = proof.first.point
    return point.direction.value, point.host, point.device


@FAMILIES
@pytest.mark.parametrize("header", HEADERS, ids=["icmp", "udp", "tcp", "sctp"])
def test_each_predicted_device_sees_the_packet_as_predicted(any_stage: Stage, header: Header, family: Family) -> None:
    for to in (inside(*POD2, family), inside(*POD3, family), underlay(2, family), inside(1, 1, family)):
        journey = any_stage.predict(to, header)
        proof = any_stage.prove(journey)
        assert proof.holds, proof.instead
        assert verdicts(proof) == {Verdict.SEEN}
        assert [each.point for each in proof.proven] == list(journey.points)
        assert (proof.elsewhere, proof.ending.outcome, proof.instead, proof.decisions) == (
            (),
            Outcome.CONFIRMED,
            "",
            (),
        )


@FAMILIES
def test_a_node_reaches_a_pod_elsewhere(any_stage: Stage, family: Family) -> None:
    proof = any_stage.prove(any_stage.predict(inside(*POD2, family), source="node1"))
    assert proof.holds, proof.instead
    assert proof.proven[-1].point.host == "pod2"


@FAMILIES
def test_times_do_not_run_backwards(stage: Stage, family: Family) -> None:
    proof = stage.prove(stage.predict(inside(*POD2, family)))
    times = [each.time for each in proof.proven if each.time is not None]
    assert len(times) == len(proof.proven)
    assert times == sorted(times)
    assert times[0] >= 0


@FAMILIES
@pytest.mark.parametrize("payload", [0, 3, 1000, 3000])
def test_a_packet_of_any_size_is_known_again_in_fragments_too(any_stage: Stage, payload: int, family: Family) -> None:
    journey = any_stage.predict(inside(*POD3, family), Udp(41002, 7777), payload=payload)
    proof = any_stage.prove(journey)
    assert proof.holds, proof.instead
    assert journey.points[0].packet.ip.fragment == 0 or payload == 3000


def test_what_a_router_cuts_is_as_large_as_predicted(stage: Stage) -> None:
    with stage.damaged("node2", "link set cni0 mtu 1300", "link set cni0 mtu 1500"):
        journey = stage.predict(inside(*POD2, Family.IPV4), Udp(41003, 7777), payload=1350)
        proof = stage.prove(journey)
    assert proof.holds, proof.instead
    assert proof.proven[-1].seen is not None
    assert proof.proven[-1].seen.ip.fragment == 1300


@FAMILIES
def test_the_answer_has_a_proof_of_its_own(stage: Stage, family: Family) -> None:
    for header in (PING, Udp(41004, 7777), Tcp(41004, 7777)):
        there = stage.predict(inside(*POD2, family), header)
        here = back(stage.scene.survey(), there)
        assert here is not None
        proof = stage.prove(here, answers=True)
        assert proof.holds, proof.instead
        assert (proof.proven[0].point.host, proof.proven[-1].point.host) == ("pod2", "pod1")


def test_a_router_that_answers_does_so_as_predicted(stage: Stage) -> None:
    proof = stage.prove(stage.predict(inside(*POD2, Family.IPV4), ttl=2))
    assert (proof.holds, proof.ending.outcome) == (True, Outcome.CONFIRMED)
    assert "ICMP time exceeded" in proof.ending.text
    assert verdicts(proof) == {Verdict.SEEN}


def test_a_packet_that_is_dropped_is_seen_up_to_there_and_no_further(stage: Stage) -> None:
    with stage.damaged(
        "node2",
        f"route add blackhole {inside(*POD2, Family.IPV4)}",
        f"route del blackhole {inside(*POD2, Family.IPV4)}",
    ):
        journey = stage.predict(inside(*POD2, Family.IPV4))
        proof = stage.prove(journey)
    assert isinstance(journey.end, Dropped)
    assert (proof.holds, proof.ending.outcome, proof.elsewhere) == (True, Outcome.CONFIRMED, ())
    assert first_and_last(proof) == ("pod1", "node2")


def first_and_last(proof: Proof) -> tuple[str, str]:
    return proof.proven[0].point.host, proof.proven[-1].point.host


def test_a_packet_that_goes_on_where_it_was_to_be_dropped_is_found(stage: Stage) -> None:
    there = inside(*POD2, Family.IPV4)
    with stage.damaged("node1", f"route add blackhole {there}", "sysctl -qw net.ipv4.ip_forward=1"):
        journey = stage.predict(there)
        stage.scene.run("node1", f"route del blackhole {there}")
        proof = stage.prove(journey, patience=0.5)
    assert isinstance(journey.end, Dropped)
    assert (proof.holds, proof.first) == (False, None)
    assert "10.244.2.5" in proof.instead
    assert {each.host for each in proof.elsewhere} >= {"node1"}


@FAMILIES
def test_rules_by_source_apply_to_the_probe(stage: Stage, family: Family) -> None:
    six, source = "-6 " if family is Family.IPV6 else "", underlay(1, family)
    rule = f"{six}rule {{}} from {source} to {inside(*POD2, family)} prohibit"
    with stage.damaged("node1", rule.format("add"), rule.format("del")):
        proof = stage.prove(stage.predict(inside(*POD2, family), source="node1"))
    assert (proof.holds, proof.ending.outcome) == (True, Outcome.CONFIRMED)
    assert proof.ending.text.startswith("node1 refuses to send it: ")


def test_a_source_that_the_sender_has_not_is_refused(stage: Stage) -> None:
    journey = stage.predict(inside(*POD2, Family.IPV4))
    alien = replace(journey.question.packet.ip, source=ip_address("10.244.1.99"))
    packet = journey.question.packet.with_ip(alien)
    proof = stage.prove(predict(stage.scene.survey(), replace(journey.question, packet=packet)))
    assert isinstance(proof.journey.end, Dropped)
    assert (proof.holds, proof.ending.outcome) == (True, Outcome.CONFIRMED)


def test_a_segment_of_a_connection_is_reset_and_that_is_an_answer(stage: Stage) -> None:
    proof = stage.prove(stage.predict(inside(*POD2, Family.IPV4), Tcp(41008, 7777, syn=False), payload=0))
    assert (proof.holds, proof.ending.outcome) == (True, Outcome.CONFIRMED)
    assert "[RST]" in proof.ending.text


def test_a_sender_whose_kernel_refuses_is_proof_of_no_route(stage: Stage) -> None:
    with stage.damaged("pod1", "route del default", f"route add default via {inside(1, 1, Family.IPV4)}"):
        proof = stage.prove(stage.predict(inside(*POD2, Family.IPV4)))
    assert (proof.holds, proof.ending.outcome) == (True, Outcome.CONFIRMED)
    assert "Network is unreachable" in proof.ending.text


@FAMILIES
def test_another_route_since_is_found_where_it_leads_to(stage: Stage, family: Family) -> None:
    there, six = inside(*POD2, family), "-6 " if family is Family.IPV6 else ""
    journey = stage.predict(there)
    with stage.damaged(
        "node1", f"{six}route add {there} via {underlay(9, family)} dev eth0", f"{six}route del {there}"
    ):
        proof = stage.prove(journey, patience=0.5)
    device = "flannel.1" if family is Family.IPV4 else "flannel-v6.1"
    assert first(proof) == ("leaves", "node1", device)
    assert proof.instead.startswith(f"it leaves node1 by eth0: {inside(*POD1, family)} → {there} ICMP")
    assert any(f"dev {device}" in hop.line for hop in proof.decisions)
    assert {each.verdict for each in proof.proven[:3]} == {Verdict.SEEN}


@FAMILIES
def test_another_neighbour_since_differs_by_its_hardware_address(stage: Stage, family: Family) -> None:
    there, wrong = inside(2, 0, family), "02:00:00:00:00:77"
    device = "flannel.1" if family is Family.IPV4 else "flannel-v6.1"
    journey = stage.predict(inside(*POD2, family))
    replace = f"neigh replace {there} dev {device} nud permanent lladdr"
    with stage.damaged("node1", f"{replace} {wrong}", f"{replace} {vtep(2, family)}"):
        proof = stage.prove(journey, patience=0.5)
    assert first(proof) == ("leaves", "node1", device)
    assert proof.instead == f"Ethernet destination {wrong} instead of {vtep(2, family)}"


def test_another_address_of_the_tunnel_since_differs_in_the_outer_header(stage: Stage) -> None:
    entry = f"dev flannel.1 dst {underlay(2, Family.IPV4)} self permanent"
    journey = stage.predict(inside(*POD2, Family.IPV4))
    address = vtep(2, Family.IPV4)
    stage.scene.run("node1", f"bridge fdb del {address} {entry}")
    undo = f"bridge fdb replace {address} {entry}"
    with stage.damaged("node1", f"bridge fdb add {address} dev flannel.1 dst {underlay(9, Family.IPV4)}", undo):
        proof = stage.prove(journey, patience=0.5)
    assert first(proof) == ("leaves", "node1", "eth0")
    assert (
        f"outer destination address {underlay(9, Family.IPV4)} instead of {underlay(2, Family.IPV4)}" in proof.instead
    )


def test_masquerading_since_differs_by_the_address(any_stage: Stage) -> None:
    rule = "table ip t { chain c { type nat hook postrouting priority 100; ip daddr 192.168.50.0/24 masquerade ; } ; }"
    journey = any_stage.predict(underlay(2, Family.IPV4))
    with any_stage.damaged("node1", f"nft -f - <<< {rule}", "nft delete table ip t"):
        proof = any_stage.prove(journey, patience=0.5)
    assert first(proof) == ("leaves", "node1", "eth0")
    assert "source address 192.168.50.1 instead of 10.244.1.5" in proof.instead


def test_a_time_to_live_that_somebody_sets_since_differs(stage: Stage) -> None:
    rule = "table ip t { chain c { type filter hook forward priority 0; ip daddr 10.244.2.5 ip ttl set 9 ; } ; }"
    journey = stage.predict(inside(*POD2, Family.IPV4))
    with stage.damaged("node1", f"nft -f - <<< {rule}", "nft delete table ip t"):
        proof = stage.prove(journey, patience=0.5)
    assert (first(proof), proof.instead) == (("leaves", "node1", "flannel.1"), "TTL 9 instead of 63")


def test_a_filter_since_lets_nothing_more_be_seen(stage: Stage) -> None:
    rule = "table ip t { chain c { type filter hook forward priority 0; ip daddr 10.244.2.5 drop ; } ; }"
    journey = stage.predict(inside(*POD2, Family.IPV4))
    with stage.damaged("node2", f"nft -f - <<< {rule}", "nft delete table ip t"):
        proof = stage.prove(journey, patience=0.5)
    assert first(proof) == ("leaves", "node2", "cni0")
    assert proof.instead == "nothing more is seen of it after it enters node2 by flannel.1"


def test_why_nothing_more_is_seen_may_be_counted(stage: Stage) -> None:
    journey = stage.predict(inside(*POD2, Family.IPV4))
    strict = "sysctl -qw net.ipv4.conf.flannel/1.rp_filter="
    back_route = f"route add {inside(*POD1, Family.IPV4)} dev cni0"
    with (
        stage.damaged("node2", f"{strict}1", f"{strict}0"),
        stage.damaged("node2", back_route, back_route.replace("add", "del")),
    ):
        proof = stage.prove(journey, patience=0.5)
    assert first(proof) == ("leaves", "node2", "cni0")
    assert proof.instead == (
        "nothing more is seen of it after it enters node2 by flannel.1;"
        " node2 counts meanwhile: TcpExtIPReversePathFilter 1"
    )


def test_a_filter_in_the_receiver_is_found_by_its_silence(any_stage: Stage) -> None:
    rule = "table ip t { chain c { type filter hook input priority 0; drop ; } ; }"
    journey = any_stage.predict(inside(*POD2, Family.IPV4))
    with any_stage.damaged("pod2", f"nft -f - <<< {rule}", "nft delete table ip t"):
        proof = any_stage.prove(journey, patience=0.5)
    assert (proof.holds, proof.first, verdicts(proof)) == (False, None, {Verdict.SEEN})
    assert proof.instead == "pod2 takes it in by eth0 and answers nothing"


def test_a_receiver_that_cannot_answer_is_not_expected_to(stage: Stage) -> None:
    there = underlay(2, Family.IPV4)
    with stage.damaged(
        "node2",
        f"route add blackhole {inside(*POD1, Family.IPV4)}",
        f"route del blackhole {inside(*POD1, Family.IPV4)}",
    ):
        journey = stage.predict(there)
        answer = back(stage.scene.survey(), journey)
        proof = stage.prove(journey, answer=answer)
        missed = stage.prove(journey, patience=0.5)
    assert answer is not None
    assert isinstance(answer.end, Dropped)
    assert (proof.holds, proof.ending.outcome) == (True, Outcome.OPEN)
    assert not missed.holds


@FAMILIES
def test_a_router_that_refuses_since_is_heard(stage: Stage, family: Family) -> None:
    there, six = inside(*POD2, family), "-6 " if family is Family.IPV6 else ""
    journey = stage.predict(there)
    with stage.damaged("node1", f"{six}route add prohibit {there}", f"{six}route del prohibit {there}"):
        proof = stage.prove(journey, patience=0.5)
    assert first(proof)[:2] == ("leaves", "node1")
    assert proof.instead.startswith("node1 answers: ")
    assert "prohibited" in proof.instead


def test_a_question_that_nobody_answers_is_evidence(stage: Stage) -> None:
    there = inside(*POD2, Family.IPV4)
    journey = stage.predict(there)
    with stage.damaged("node1", f"route add {there} via {underlay(77, Family.IPV4)} dev eth0", f"route del {there}"):
        proof = stage.prove(journey, patience=0.5)
    assert proof.instead == "node1 asks at eth0: ARP who has 192.168.50.77? tell 192.168.50.1"
    with stage.damaged("node1", f"route add {there} via {underlay(77, Family.IPV4)} dev eth0", f"route del {there}"):
        predicted = stage.prove(stage.predict(there))
    assert predicted.holds
    assert [str(each) for each in predicted.heard if each.role is Role.QUESTION and each.host == "node1"] == [
        proof.instead
    ]


@pytest.mark.parametrize("damage", SOME_DAMAGES, ids=str)
def test_what_is_predicted_of_a_damaged_network_is_proven(stage: Stage, damage: Damage) -> None:
    """There are no false alarms."""
    stage.scene.run(damage.host, damage.do)
    try:
        proofs = [
            stage.prove(stage.predict(inside(*POD2, family), header, payload=payload), patience=1.0)
            for family in Family
            for header, payload in ((Icmp(IcmpKind.ECHO_REQUEST, 8), 56), (Udp(41020, 7777), 1380))
        ]
    finally:
        stage.scene.run(damage.host, *damage.undo)
        stage.scene.forget()
    assert [f"{proof.journey.end}: {proof.instead}" for proof in proofs if not proof.holds] == []


def test_a_flood_of_others_does_not_confuse_it(any_stage: Stage) -> None:
    to = inside(*POD2, Family.IPV4)
    with flood(any_stage.scene, "pod3", to):
        for header in (PING, Tcp(41005, 5555)):
            proof = any_stage.prove(any_stage.predict(to, header))
            assert proof.holds, proof.instead
            assert proof.elsewhere == ()


@contextmanager
def flood(made: Scene, host: str, to: str) -> Iterator[None]:
    """As many datagrams as one thread can send."""
    over = threading.Event()

    def send() -> None:
        with entered(made.nets[host]), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
            while not over.is_set():
                mouth.sendto(bytes(500), (to, 9999))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_several_walks_at_once_know_their_own_packets(stage: Stage) -> None:
    journeys = [stage.predict(inside(*POD2, family), Udp(41010 + port, 7777)) for family in Family for port in range(4)]
    with ThreadPoolExecutor(len(journeys)) as pool:
        proofs = list(pool.map(stage.prove, journeys))
    assert [proof.instead for proof in proofs if not proof.holds] == []
    assert all(proof.elsewhere == () for proof in proofs)


def test_a_listening_application_is_not_disturbed(stage: Stage) -> None:
    with entered(stage.scene.nets["pod2"]), socket.create_server(("", 7788)) as server:
        server.setblocking(False)
        proof = stage.prove(stage.predict(inside(*POD2, Family.IPV4), Tcp(41006, 7788)))
        with pytest.raises(BlockingIOError):
            server.accept()
    assert proof.holds
    assert "[SYN ACK]" in proof.ending.text


def test_a_port_that_is_in_use_is_not_taken(stage: Stage) -> None:
    journey = stage.predict(inside(*POD2, Family.IPV4), Udp(41007, 7777))
    with entered(stage.scene.nets["pod1"]), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("", 41007))
        with pytest.raises(InputError, match="port 41007 is in use"):
            stage.prove(journey)


def test_a_packet_to_oneself_goes_by_the_loopback_device(stage: Stage) -> None:
    journey = stage.predict(inside(*POD1, Family.IPV4))
    proof = stage.prove(journey)
    assert isinstance(journey.end, Delivered)
    assert proof.holds, proof.instead
    assert [each.point.direction for each in proof.proven] == [Direction.LEAVES, Direction.ENTERS]
