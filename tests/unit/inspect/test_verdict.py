"""The judgement of what was seen."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from nankeen.inspect.outcome import Answered, Observation, Outcome, Refused, Silent
from nankeen.inspect.party import Cluster
from nankeen.inspect.plan import Aim, Pair, Probe, Protocol
from nankeen.inspect.verdict import Report, Rule, report
from tests.unit.inspect.parties import cluster, node, pod

POD1, POD2, NODE1 = pod(1), pod(2), node(1, "192.168.0.1 10.244.1.254")
CLUSTER = cluster(POD1, POD2, NODE1)
PAIR = Pair(POD1, POD2, ip_address("10.244.1.2"))


def judge(outcome: Outcome, aim: Aim = Aim.REACH, pair: Pair = PAIR, whole: Cluster = CLUSTER) -> Report:
    size = {Aim.REACH: None, Aim.FULL_MTU: 1450, Aim.TOO_LARGE: 1451}[aim]
    return report(whole, [Observation(Probe(pair, aim, Protocol.ICMP, size), outcome)], 1.0)


def answered(by: str | None, source: str) -> Answered:
    return Answered(0.001, by, ip_address(source))


def complaints(found: Report) -> list[str]:
    return [str(finding) for finding in found.findings]


def test_an_answer_from_the_right_pod_proves_reach_and_source() -> None:
    found = judge(answered("pod2", "10.244.1.1"))
    assert found.holds
    proven = {(tally.matter.rule, tally.proven) for tally in found.tallies}
    assert proven == {(Rule.ADDRESS, 2), (Rule.REACH, 1), (Rule.SOURCE, 1)}


def test_an_answer_from_another_pod_does_not_count() -> None:
    assert complaints(judge(answered("pod3", "10.244.1.1"))) == [
        "pod1 → pod2, IPv4 ICMP: expected an answer; 10.244.1.2 was answered by pod3"
    ]


def test_an_answer_from_nobody_of_the_cluster_does_not_count() -> None:
    assert complaints(judge(Answered(0.001, None, None))) == [
        "pod1 → pod2, IPv4 ICMP: expected an answer; 10.244.1.2 was answered by somebody outside the cluster"
    ]


def test_a_translated_source_is_named_with_its_owner() -> None:
    assert complaints(judge(answered("pod2", "192.168.0.1"))) == [
        "pod1 → pod2, IPv4 ICMP: expected the source address 10.244.1.1; pod2 saw 192.168.0.1, the address of node1"
    ]


def test_a_node_may_be_seen_under_any_of_its_own_addresses() -> None:
    pair = Pair(NODE1, POD2, ip_address("10.244.1.2"))
    assert judge(answered("pod2", "10.244.1.254"), pair=pair).holds
    assert not judge(answered("pod2", "10.244.1.253"), pair=pair).holds


def test_silence_tells_how_long_was_waited() -> None:
    assert complaints(judge(Silent(3.5))) == ["pod1 → pod2, IPv4 ICMP: expected an answer; no answer in 3.5 s"]


def test_a_router_that_refuses_is_named() -> None:
    refused = Refused("network unreachable", ip_address("10.244.1.254"))
    assert complaints(judge(refused)) == [
        "pod1 → pod2, IPv4 ICMP: expected an answer; node1 at 10.244.1.254 says: network unreachable"
    ]


def test_a_full_packet_that_is_refused_is_a_finding_with_the_mtu_named() -> None:
    refused = Refused("fragmentation needed and DF set", ip_address("192.0.2.1"), 1400)
    assert complaints(judge(refused, Aim.FULL_MTU)) == [
        (
            "pod1 → pod2, IPv4 ICMP: expected packets of 1450 bytes to pass with DF set; "
            "192.0.2.1 says: fragmentation needed and DF set, MTU 1400"
        )
    ]


def test_a_too_large_packet_must_be_refused_by_the_senders_kernel_with_its_mtu() -> None:
    assert judge(Refused("message too long (EMSGSIZE)", mtu=1450), Aim.TOO_LARGE).holds


@pytest.mark.parametrize(
    "outcome",
    [
        Refused("message too long (EMSGSIZE)", mtu=1400),
        Refused("fragmentation needed and DF set", ip_address("192.0.2.1"), 1450),
        Refused("network unreachable"),
        Silent(3.5),
        answered("pod2", "10.244.1.1"),
    ],
)
def test_a_too_large_packet_refused_otherwise_or_not_at_all_is_a_finding(outcome: Outcome) -> None:
    [complaint] = complaints(judge(outcome, Aim.TOO_LARGE))
    expected = "expected 1451 bytes with DF set to be refused by pod1's own kernel (EMSGSIZE) with MTU 1450"
    assert expected in complaint


def test_a_packet_too_large_for_the_other_end_only_must_be_refused_by_a_router() -> None:
    large, small = pod(1, mtu=1500), pod(2, mtu=1450)
    pair, whole = Pair(large, small, ip_address("10.244.1.2")), cluster(large, small)
    router = Refused("fragmentation needed and DF set", ip_address("10.244.1.254"), 1450)
    assert judge(router, Aim.TOO_LARGE, pair, whole).holds
    assert not judge(Refused("message too long (EMSGSIZE)", mtu=1450), Aim.TOO_LARGE, pair, whole).holds


@pytest.mark.parametrize(
    "parties, complaint",
    [
        (
            (pod(1), pod(2, "", assigned="10.244.1.2")),
            "pod2, IPv4: … its devices hold none, though it was given 10.244.1.2",
        ),
        ((pod(1), pod(2, "")), "pod2, IPv4: … it has none"),
        ((pod(1, "10.244.1.1 10.244.1.9"),), "pod1, IPv4: … it has 10.244.1.1 and 10.244.1.9"),
        (
            (pod(1, "10.244.1.9", assigned="10.244.1.1"),),
            "pod1, IPv4: … it has 10.244.1.9, though it was given 10.244.1.1",
        ),
        ((pod(1), node(1, "192.168.0.1 10.244.1.1")), "pod1, IPv4: … 10.244.1.1 is also the address of node1"),
    ],
)
def test_a_pod_without_one_address_of_its_own_is_named(parties: tuple, complaint: str) -> None:  # type: ignore[type-arg]
    found = report(cluster(*parties), [], 0.0)
    assert complaints(found) == [complaint.replace("…", "expected one address of its own;")]


def test_a_cluster_without_pods_proves_nothing() -> None:
    assert not report(cluster(node(1)), [], 0.0).holds
