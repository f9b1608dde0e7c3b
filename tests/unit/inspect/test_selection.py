"""Which pairs are asked, and what a sample covers."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nankeen.inspect.coverage import coverage
from nankeen.inspect.party import Cluster
from nankeen.inspect.plan import Pair, pairs
from nankeen.inspect.selection import Selection
from nankeen.model.errors import InputError
from tests.unit.inspect.parties import cluster, node, pod

SIZES = st.tuples(st.integers(1, 5), st.integers(1, 3))
"""Of a cluster: nodes, and pods on each."""


def regular(nodes: int, pods: int) -> Cluster:
    hosted = [pod(1 + number, on=1 + number % nodes) for number in range(nodes * pods)]
    return cluster(*hosted, *(node(1 + number) for number in range(nodes)))


def between_pods(found: list[Pair]) -> list[Pair]:
    return [pair for pair in found if pair.relation == "pod → pod"]


def names(found: list[Pair]) -> set[str]:
    return {str(pair) for pair in found}


@given(pods=st.integers(2, 12), sample=st.integers(1, 15), seed=st.integers(0, 99))
def test_a_sample_asks_and_tests_every_pod_equally_often(pods: int, sample: int, seed: int) -> None:
    found = between_pods(pairs(regular(1, pods), Selection(sample=sample, seed=seed)))
    expected = min(sample, pods - 1)
    assert set(Counter(pair.source.name for pair in found).values()) == {expected}
    assert set(Counter(pair.destination.name for pair in found).values()) == {expected}
    assert len(names(found)) == len(found)


@given(size=SIZES, sample=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_sample_of_pods_asks_other_nodes_before_any_node_twice(size: tuple[int, int], sample: int, seed: int) -> None:
    whole = regular(*size)
    found = between_pods(pairs(whole, Selection(sample=sample, seed=seed)))
    for asking in whole.pods:
        homes = Counter(pair.destination.node for pair in found if pair.source == asking)
        assert max(homes.values(), default=0) <= 1 + sample // size[0]


@given(size=SIZES, seed=st.integers(0, 99))
def test_a_sample_of_one_covers_every_node_as_source_and_as_destination(size: tuple[int, int], seed: int) -> None:
    found = pairs(regular(*size), Selection(sample=1, seed=seed))
    nodes = {f"node{1 + number}" for number in range(size[0])}
    assert {pair.source.node for pair in found} == nodes
    assert {pair.destination.node for pair in found} == nodes


@settings(max_examples=50)
@given(size=SIZES, sample=st.integers(1, 4), seed=st.integers(0, 99))
def test_draws_one_after_the_other_come_to_all_pairs(size: tuple[int, int], sample: int, seed: int) -> None:
    whole = regular(*size)
    selection = Selection(sample=sample, seed=seed)
    drawn = [names(pairs(whole, selection, turn)) for turn in range(size[0] * size[1])]
    assert set().union(*drawn) == names(pairs(whole))


def test_the_same_seed_draws_the_same_and_another_seed_another_sample() -> None:
    whole = regular(4, 4)
    draws = [names(pairs(whole, Selection(sample=2, seed=seed))) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_named_sources_alone_ask_and_named_destinations_alone_are_asked() -> None:
    selection = Selection(frozenset({"pod1", "node1"}), frozenset({"pod2"}))
    assert names(pairs(regular(2, 2), selection)) == {"pod1 → pod2", "node1 → pod2"}


def test_a_sample_of_named_parties_is_drawn_among_them() -> None:
    found = names(pairs(regular(3, 2), Selection(frozenset({"pod1"}), sample=1)))
    assert len(found) == 2  # a pod and a node
    assert all(name.startswith("pod1 → ") for name in found)


def test_who_is_not_named_on_either_side_is_not_concerned() -> None:
    selection = Selection(frozenset({"pod1"}), frozenset({"pod2"}))
    whole = regular(2, 2)
    assert [party.name for party in whole.parties if selection.concerns(party)] == ["pod1", "pod2"]


def test_an_unknown_name_is_answered_with_those_that_come_near() -> None:
    with pytest.raises(InputError, match=r"pdo1: there is no such node or pod; did you mean pod1"):
        Selection(frozenset({"pdo1"})).check(regular(2, 2))


def test_a_hostile_name_is_made_fit_to_be_shown() -> None:
    with pytest.raises(InputError) as error:
        Selection(destinations=frozenset({"\x1b[2Jpod1"})).check(regular(2, 2))
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize("source, destination", [("node1", "node2"), ("pod1", "pod1"), ("node1", "node1")])
def test_parties_that_have_nothing_to_ask_each_other_are_a_wrong_request(source: str, destination: str) -> None:
    selection = Selection(frozenset({source}), frozenset({destination}))
    with pytest.raises(InputError, match=f"{source} and {destination} have nothing to ask each other"):
        selection.check(regular(2, 2))


def test_one_pair_that_meets_is_enough_for_a_request() -> None:
    Selection(frozenset({"node1", "pod1"}), frozenset({"node2"})).check(regular(2, 2))


def test_what_a_sample_covers_is_told() -> None:
    whole = regular(3, 2)
    chosen = pairs(whole, Selection(sample=1, seed=7))
    told = coverage(whole, chosen, pairs(whole), 7)
    assert (told.pairs, told.all_pairs) == (6 + 3 + 6, 30 + 18 + 18)
    assert (told.asking, told.asked, told.nodes, told.all_ways) == (3, 3, 3, 6)
    assert str(told).startswith("a sample: 15 of 66 pairs, ")
    assert str(told).endswith("3 of 3 nodes ask, 3 are asked; --seed 7 draws it again")
