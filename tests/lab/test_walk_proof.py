"""The proof of predicted ways on real labs: each backend and both families, sound and damaged after the prediction."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from nankeen.forwarding import Delivered, Direction, Packet
from nankeen.forwarding.packet import Header, Icmp, IcmpKind, Ip, Tcp, Udp
from nankeen.inspect.walk.journey import Journey, Question, back, predict
from nankeen.inspect.walk.proof import Proof, Verdict
from nankeen.inspect.walk.prove import prove, tunnel_ports
from nankeen.inspect.walk.surroundings import Surroundings, observed
from nankeen.kernel.namespace import entered
from nankeen.lab import find_lab
from nankeen.model.address import Family, IPAddress
from tests.lab.person import Person
from tests.lab.standing import Standing, pair, standing

PATIENT = 5.0
"""Seconds that only a failure takes."""
PING = Icmp(IcmpKind.ECHO_REQUEST, 7)
NETWORK = {
    "EnableIPv4": True,
    "EnableIPv6": True,
    "Network": "10.244.0.0/16",
    "IPv6Network": "fd00:10:244::/48",
}
BACKENDS: dict[str, dict[str, Any]] = {
    "vxlan": {"Type": "vxlan"},
    "direct": {"Type": "vxlan", "DirectRouting": True},
    "host-gw": {"Type": "host-gw"},
    "udp": {"Type": "udp"},
}
MEMBERS = {**pair(), "pod3": {"kind": "pod", "node": "node1"}}
WAYS = [("pod1", "pod2"), ("pod1", "pod3"), ("pod1", "node2"), ("node1", "pod2"), ("pod2", "node2"), ("node1", "node2")]


@pytest.fixture(scope="module", params=list(BACKENDS))
def lab(request: pytest.FixtureRequest) -> Iterator[Standing]:
    with standing({**NETWORK, "Backend": BACKENDS[request.param]}, MEMBERS) as made:
        yield made


@pytest.fixture(scope="module")
def vxlan() -> Iterator[Standing]:
    with standing({**NETWORK, "Backend": BACKENDS["vxlan"]}, MEMBERS) as made:
        yield made


def ask(around: Surroundings, source: str, destination: str, family: Family, header: Header = PING) -> Journey:
    ends = Ip(_address(around, source, family), _address(around, destination, family))
    return predict(around.world, Question(source, destination, Packet((ends, header), 56)))


def _address(around: Surroundings, name: str, family: Family) -> IPAddress:
    return next(address for address in around.addresses[name] if address.version == family.value)


def put_to_the_test(
    around: Surroundings, journey: Journey, *, answers: bool = False, patience: float = PATIENT
) -> Proof:
    """As the command does it."""
    states = [host.state for host in around.world.hosts.values() if host.state is not None]
    return prove(journey, around.namespaces, tunnel_ports(states), answers=answers, patience=patience)


def hosts(proof: Proof) -> Sequence[str]:
    return list(dict.fromkeys(each.point.host for each in proof.proven))


@pytest.mark.parametrize("family", list(Family), ids=str)
@pytest.mark.parametrize("header", [PING, Udp(41000, 7777), Tcp(41000, 7777)], ids=["icmp", "udp", "tcp"])
def test_packets_go_the_predicted_ways_there_and_back(lab: Standing, header: Header, family: Family) -> None:
    with observed(find_lab(lab.lab.name)) as around:
        for source, destination in WAYS:
            there = ask(around, source, destination, family, header)
            assert isinstance(there.end, Delivered), f"{source} → {destination}: {there.end}"
            here = back(around.world, there)
            assert here is not None
            for journey, answers in ((there, False), (here, True)):
                proof = put_to_the_test(around, journey, answers=answers)
                assert proof.holds, f"{journey.source} → {journey.destination}: {proof.instead}"
                assert {each.verdict for each in proof.proven} == {Verdict.SEEN}


def test_the_probe_is_seen_in_the_tunnel_and_at_the_switch(vxlan: Standing) -> None:
    with observed(find_lab(vxlan.lab.name)) as around:
        proof = put_to_the_test(around, ask(around, "pod1", "pod2", Family.IPV4))
    assert hosts(proof) == ["pod1", "node1", "sw1", "node2", "pod2"]
    outer = [each for each in proof.proven if each.point.host == "sw1"]
    assert all("VXLAN 1" in str(each.seen) for each in outer)


def test_a_user_without_privileges_proves_the_ways_of_a_lab_of_his_own() -> None:
    name = f"proof-{os.getpid()}"
    try:
        as_user("lab", "up", "--name", name, "--nodes", "2", "--pods", "2")
        told = json.loads(as_user("walk", "--name", name, "pod1", "pod2", "--proto", "tcp", "--reverse", "--json"))
    finally:
        as_user("lab", "down", "--name", name)
    assert told["holds"] is True
    verdicts = [point["verdict"] for way in ("there", "back") for point in told[way]["proof"]["points"]]
    assert verdicts == ["seen as predicted"] * 24


def as_user(*words: str) -> str:
    """What a command prints for somebody who is not root; it must succeed."""
    status, out, err = Person.named("user").run(*words)
    assert status == 0, out + err
    return out


def test_what_somebody_breaks_after_the_prediction_is_named(vxlan: Standing) -> None:
    """On the switch, where no agent repairs it."""
    with observed(find_lab(vxlan.lab.name)) as around:
        journey = ask(around, "pod1", "pod2", Family.IPV4)
        ports = [point.device for point in journey.points if point.host == "sw1"]
        assert put_to_the_test(around, journey).holds  # and the nodes know each other's hardware addresses
        isolate(vxlan, ports, "on")
        try:
            proof = put_to_the_test(around, journey, patience=0.5)
        finally:
            isolate(vxlan, ports, "off")
    assert proof.first is not None
    point = proof.first.point
    assert (point.direction, point.host, point.device) == (Direction.LEAVES, "sw1", ports[1])
    assert proof.instead == f"nothing more is seen of it after it enters sw1 by {ports[0]}"
    assert any(hop.host == "sw1" for hop in proof.decisions)


def isolate(lab: Standing, ports: Sequence[str], how: str) -> None:
    """Has the switch carry nothing between its ports, or again."""
    [switch] = lab.lab.switches
    for port in ports:
        words = ["bridge", "-n", switch.namespaces.network.name, "link", "set", "dev", port, "isolated", how]
        subprocess.run(words, check=True)


def test_traffic_at_full_speed_does_not_confuse_it(vxlan: Standing) -> None:
    with observed(find_lab(vxlan.lab.name)) as around, flood(around, "pod3", "pod2"):
        for header in (PING, Tcp(41001, 7777)):
            proof = put_to_the_test(around, ask(around, "pod1", "pod2", Family.IPV4, header))
            assert (proof.holds, proof.elsewhere) == (True, ()), proof.instead


@contextmanager
def flood(around: Surroundings, source: str, destination: str) -> Iterator[None]:
    """A stream of TCP, as fast as it goes."""
    with entered(around.namespaces[destination]):
        server = socket.create_server(("", 9999))
    with entered(around.namespaces[source]):
        mouth = socket.socket()
    with server, mouth:
        mouth.connect((str(_address(around, destination, Family.IPV4)), 9999))
        ear, _ = server.accept()
        threads = [threading.Thread(target=work, args=[end]) for work, end in ((_pour, mouth), (_drain, ear))]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ear.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            ear.close()


def _pour(mouth: socket.socket) -> None:
    with suppress(ConnectionError):
        while True:
            mouth.sendall(bytes(1 << 16))


def _drain(ear: socket.socket) -> None:
    with suppress(ConnectionError):
        while ear.recv(1 << 16):
            pass
