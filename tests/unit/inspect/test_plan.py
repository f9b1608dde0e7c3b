"""Which packets prove the model."""

from __future__ import annotations

from collections import Counter
from itertools import permutations, product

from hypothesis import given
from hypothesis import strategies as st

from nankeen.inspect.plan import Aim, Pair, Protocol, is_local_refusal, pairs, reach_probes, size_probes
from nankeen.model.address import Family
from tests.unit.inspect.parties import cluster, node, pod


def names(found: list[Pair]) -> list[tuple[str, str]]:
    return [(pair.source.name, pair.destination.name) for pair in found]


@given(pods=st.integers(0, 12), nodes=st.integers(0, 5))
def test_every_pair_of_the_model_is_planned_exactly_once(pods: int, nodes: int) -> None:
    all_pods, all_nodes = [pod(i + 1) for i in range(pods)], [node(i + 1) for i in range(nodes)]
    pod_names, node_names = [party.name for party in all_pods], [party.name for party in all_nodes]
    wanted = [*permutations(pod_names, 2), *product(node_names, pod_names), *product(pod_names, node_names)]
    assert Counter(names(pairs(cluster(*all_pods, *all_nodes)))) == Counter(wanted)


def test_both_families_are_planned_by_the_same_code() -> None:
    found = pairs(cluster(pod(1, "10.244.1.1 fd00::1"), pod(2, "10.244.1.2 fd00::2")))
    assert [(pair.family, str(pair.address)) for pair in found] == [
        (Family.IPV4, "10.244.1.2"),
        (Family.IPV4, "10.244.1.1"),
        (Family.IPV6, "fd00::2"),
        (Family.IPV6, "fd00::1"),
    ]


def test_who_has_no_address_is_neither_asked_nor_asks() -> None:
    assert pairs(cluster(pod(1), pod(2, "", assigned="10.244.1.2"))) == []


def test_two_pods_with_one_address_do_not_ask_each_other() -> None:
    assert pairs(cluster(pod(1, "10.244.1.7"), pod(2, "10.244.1.7"))) == []


def test_a_pair_is_tried_in_every_protocol() -> None:
    [pair, _] = pairs(cluster(pod(1), pod(2)))
    assert [probe.protocol for probe in reach_probes([pair])] == list(Protocol)


def test_sizes_are_the_smaller_mtu_of_both_ends_and_one_byte_more() -> None:
    found = pairs(cluster(pod(1, mtu=1450), pod(2, mtu=1400)))
    sizes = [(probe.aim, probe.size) for probe in size_probes(found)]
    assert sizes == [(Aim.FULL_MTU, 1400)] * 2 + [(Aim.TOO_LARGE, 1401)] * 2


def test_the_senders_own_kernel_refuses_what_its_device_cannot_send_and_a_router_the_rest() -> None:
    large_to_small, small_to_large = pairs(cluster(pod(1, mtu=1450), pod(2, mtu=1400)))
    assert is_local_refusal(large_to_small) is False
    assert is_local_refusal(small_to_large) is True


def test_a_nodes_packet_may_be_refused_by_either() -> None:
    [from_node, _] = pairs(cluster(pod(1), node(1)))
    assert is_local_refusal(from_node) is None
