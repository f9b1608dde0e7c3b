"""What rounds have found of each pair."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.inspect.history import History
from nankeen.inspect.matrix import Cell, Grouping, in_order, quantile
from nankeen.inspect.outcome import Answered, Observation, Outcome, Refused, Silent
from nankeen.inspect.party import Cluster
from nankeen.inspect.plan import Aim, Pair, Probe, Protocol, pairs, reach_probes
from nankeen.inspect.verdict import report
from nankeen.model.address import Family
from tests.unit.inspect.parties import cluster, node, pod

WHOLE = cluster(pod(1, on=1), pod(2, on=2), pod(3, on=2), node(1), node(2))
SILENCE = Silent(1.0)


def good(probe: Probe) -> Outcome:
    trip = 0.001 if probe.protocol is Protocol.ICMP else None
    return Answered(0.002, probe.pair.destination.name, probe.pair.source.address(probe.pair.family), trip)


class Observed:
    """A history, and what it is told of: all is well, but for what a test says of pairs (`pod1 → pod2`)."""

    def __init__(self) -> None:
        self.history = History()

    def round(self, whole: Cluster = WHOLE, /, **bad: tuple[str, Outcome]) -> None:
        """`bad` are protocols with a pair, and what became of its probe. Path MTUs are what `mtu` says."""
        seen = [Observation(probe, self._outcome(probe, bad)) for probe in reach_probes(pairs(whole))]
        seen += [self._full(pair, bad.get("mtu")) for pair in pairs(whole)]
        found = report(whole, seen, 0.1)
        self.history.note(whole, seen, found, holds=found.holds)

    @staticmethod
    def _outcome(probe: Probe, bad: dict[str, tuple[str, Outcome]]) -> Outcome:
        pair, outcome = bad.get(probe.protocol.value, ("", SILENCE))
        return outcome if pair == str(probe.pair) else good(probe)

    @staticmethod
    def _full(pair: Pair, bad: tuple[str, Outcome] | None) -> Observation:
        probe = Probe(pair, Aim.FULL_MTU, Protocol.ICMP, pair.mtu)
        if bad is None or bad[0] != str(pair):
            return Observation(probe, good(probe))
        return Observation(probe, bad[1], path_mtu=1400)

    def cell(self, source: str = "pod1", destination: str = "pod2", by: Grouping = Grouping.PODS) -> Cell:
        return self.history.matrix(by).cells[Family.IPV4, source, destination]


def test_a_pair_that_is_well_is_reached_and_has_a_latency_and_a_path_mtu() -> None:
    seen = Observed()
    seen.round()
    cell = seen.cell()
    assert (cell.holds, cell.median, cell.p99, cell.sent, cell.lost, cell.path_mtu) == (True, 0.001, 0.001, 3, 0, 1450)
    assert seen.history.troubles() == []


def test_a_pair_that_fails_is_changed_once_and_when_it_is_healed_again() -> None:
    seen = Observed()
    marks = []
    for is_cut in (False, True, True, False, False):
        seen.round(**({"UDP": ("pod1 → pod2", SILENCE)} if is_cut else {}))
        marks.append((seen.cell().holds, seen.cell().changed))
    assert marks == [(True, False), (False, True), (False, False), (True, True), (True, False)]
    assert seen.history.totals.changes == 2
    assert seen.history.totals.failed == 2


def test_what_fails_is_told_with_protocol_reason_and_the_round_it_began_in() -> None:
    seen = Observed()
    seen.round()
    for _ in range(2):
        seen.round(TCP=("pod1 → pod2", SILENCE))
    [trouble] = seen.history.troubles()
    assert (trouble.subject, trouble.protocols, trouble.since) == ("pod1 → pod2", (Protocol.TCP,), 2)
    assert trouble.reason == "expected an answer; no answer in 1.0 s"
    assert trouble.way == "node1 → node2"


def test_an_answer_with_a_foreign_source_is_a_failure_but_no_loss() -> None:
    seen = Observed()
    masqueraded = Answered(0.001, "pod2", ip_address("192.168.0.1"))
    for _ in range(2):
        seen.round(ICMP=("pod1 → pod2", masqueraded))
    cell = seen.cell()
    assert (cell.failing, cell.lost, cell.changed) == ((Protocol.ICMP,), 0, False)
    assert seen.history.totals.lost == 0


def test_a_smaller_path_mtu_is_a_change_and_a_failure_that_names_it() -> None:
    seen = Observed()
    seen.round()
    seen.round(mtu=("pod1 → pod2", SILENCE))
    cell = seen.cell()
    assert (cell.path_mtu, cell.is_short, cell.changed, cell.holds) == (1400, True, True, False)
    [trouble] = seen.history.troubles()
    assert "expected packets of 1450 bytes to pass with DF set" in trouble.reason
    assert "packets of up to 1400 bytes pass" in trouble.reason


def test_loss_is_told_of_the_last_rounds_and_forgotten_in_the_end() -> None:
    seen = Observed()
    seen.round(UDP=("pod1 → pod2", SILENCE))
    assert (seen.cell().sent, seen.cell().lost) == (3, 1)
    for _ in range(19):
        seen.round()
    assert (seen.cell().sent, seen.cell().lost) == (60, 1)
    seen.round()
    assert (seen.cell().sent, seen.cell().lost) == (60, 0)
    assert seen.history.totals.lost == 1


def test_a_pod_that_came_is_marked_and_one_that_went_is_forgotten() -> None:
    seen = Observed()
    seen.round()
    more = cluster(*WHOLE.parties, pod(4, on=1))
    seen.round(more)
    assert seen.cell("pod1", "pod4").changed
    assert not seen.cell("pod1", "pod2").changed
    seen.round()
    assert "pod4" not in seen.history.matrix(Grouping.PODS).names
    assert all("pod4" not in key for key in seen.history.matrix(Grouping.PODS).cells)


def test_between_nodes_pods_and_nodes_count_together() -> None:
    seen = Observed()
    seen.round(UDP=("pod1 → pod2", Refused("no")))
    cell = seen.cell("node1", "node2", by=Grouping.NODES)
    # pod1 to pod2, pod3 and node2, and node1 to pod2 and pod3
    assert (cell.pairs, cell.reached, cell.failing, cell.lost) == (5, 4, (Protocol.UDP,), 1)
    assert seen.history.matrix(Grouping.NODES).names == ("node1", "node2")


def test_rows_are_pods_then_nodes_in_the_order_of_their_numbers() -> None:
    seen = Observed()
    seen.round(cluster(node(2), pod(10), pod(9), node(1)))
    assert seen.history.matrix(Grouping.PODS).names == ("pod9", "pod10", "node1", "node2")


def test_what_a_node_and_its_pods_sent_is_counted_in_buckets() -> None:
    seen = Observed()
    seen.round()
    count = seen.history.totals.by_source["node1", Family.IPV4]
    assert (count.sent, count.lost) == (3 * (2 + 2 + 3), 0)
    assert sum(count.buckets) == 7
    assert count.seconds == pytest.approx(0.007)


@given(st.lists(st.floats(0, 1), min_size=1), st.sampled_from([0.5, 0.99]))
def test_a_quantile_is_the_smallest_value_that_the_share_does_not_exceed(values: list[float], share: float) -> None:
    found = quantile(sorted(values), share)
    assert found in values
    assert sum(1 for value in values if value <= found) >= share * len(values)
    assert sum(1 for value in values if value < found) < share * len(values) or found == min(values)


def test_nothing_has_no_quantile() -> None:
    assert quantile([], 0.5) is None


def test_names_are_ordered_as_people_count() -> None:
    assert in_order(["pod10", "pod2", "a", "pod", "2pod", "pod2-1"]) == ["2pod", "a", "pod", "pod2", "pod2-1", "pod10"]
