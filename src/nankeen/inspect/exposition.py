"""What a verification found, as metrics of Prometheus. This module is imported where they are asked for: its library
costs memory.

Those between nodes stand for all pairs of their pods and of themselves: so many nodes, not so many pods, decide how
many there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from nankeen.agent import metrics
from nankeen.agent.health import Answer, say
from nankeen.inspect.history import BUCKETS, History, Totals
from nankeen.inspect.matrix import Cell, Grouping
from nankeen.inspect.verdict import Report
from nankeen.inspect.watch import Round, Summary
from nankeen.model.printable import LONGEST_NAME, printable

Write = Callable[[bytes], None]
"""Puts what is exposed where others read it."""

_ENDS = ["source_node", "destination_node", "family"]


class Publisher:
    """An audience of a watch that exposes what it hears: in a file after each round, and as a page."""

    def __init__(self, write: Write | None = None) -> None:
        self._write = write
        self._told: tuple[Round, History] | None = None
        self._text = b""

    def tell(self, found: Round, history: History) -> None:
        """Raises what `write` does."""
        self._told, self._text = (found, history), b""
        if self._write:
            self._write(self._rendered())

    def end(self, _summary: Summary) -> None:
        """What was exposed last stays as it is: it has a time."""

    def page(self) -> Answer:
        """The metrics, as Prometheus asks for them."""
        if self._told is None:
            return say(HTTPStatus.SERVICE_UNAVAILABLE, "the first round is not over yet")
        return Answer(HTTPStatus.OK, self._rendered(), metrics.CONTENT_TYPE)

    def _rendered(self) -> bytes:
        """Once a round, whoever asks."""
        if self._told is not None and not self._text:
            found, history = self._told
            self._text = metrics.exposition([lambda: of_report(found.report, found.ended), lambda: of_history(history)])
        return self._text


def once(report: Report) -> bytes:
    """What one verification found, which ended just now."""
    ended = time.time()
    return metrics.exposition([lambda: of_report(report, ended)])


def of_report(report: Report, ended: float) -> Iterator[Metric]:
    """What one verification, or the last round of several, found. `ended` is when, in seconds since 1970."""
    yield _gauge("holds", "Whether the pod network model was proven: 1 or 0.", float(report.holds))
    yield _gauge("pods", "Pods of the cluster.", report.pods)
    yield _gauge("nodes", "Nodes of the cluster.", report.nodes)
    yield _gauge("duration_seconds", "How long the verification took.", report.seconds)
    yield _gauge("timestamp_seconds", "When the verification ended, in seconds since 1970.", ended)
    labels = ["rule", "relation", "family", "protocol", "result"]
    proofs = GaugeMetricFamily("nankeen_verify_proofs", "Single demands that were proven, or failed.", labels=labels)
    for tally in report.tallies:
        matter = tally.matter
        relation = matter.relation.replace("→", "to")
        protocol = matter.protocol.value if matter.protocol else ""
        for result, count in (("proven", tally.proven), ("failed", tally.failed)):
            proofs.add_metric([matter.rule.name.lower(), relation, str(matter.family), protocol, result], count)
    yield proofs


def of_history(history: History) -> Iterator[Metric]:
    """What the rounds of a watch have found so far."""
    totals = history.totals
    yield CounterMetricFamily("nankeen_verify_rounds", "Rounds of the watch.", value=totals.rounds)
    yield CounterMetricFamily("nankeen_verify_rounds_failed", "Rounds in which something failed.", value=totals.failed)
    yield from _between_nodes(history)
    yield from _per_node(totals)


def _between_nodes(history: History) -> Iterator[Metric]:
    pairs = _family("pairs", "Pairs between two nodes that were asked.")
    reached = _family("pairs_reached", "Those of them that reached each other in every way at the last round.")
    mtus = _family("path_mtu_bytes", "The smallest path MTU of those pairs.")
    medians = _family("round_trip_median_seconds", "The median round trip of an ICMP echo in the last rounds.")
    for (family, source, destination), cell in history.matrix(Grouping.NODES).cells.items():
        ends = [printable(source, LONGEST_NAME), printable(destination, LONGEST_NAME), str(family)]
        _add(cell, ends, pairs, reached, mtus, medians)
    yield from (pairs, reached, mtus, medians)


def _add(
    cell: Cell,
    ends: list[str],
    pairs: GaugeMetricFamily,
    reached: GaugeMetricFamily,
    mtus: GaugeMetricFamily,
    medians: GaugeMetricFamily,
) -> None:
    pairs.add_metric(ends, cell.pairs)
    reached.add_metric(ends, cell.reached)
    if cell.path_mtu is not None:
        mtus.add_metric(ends, cell.path_mtu)
    if cell.median is not None:
        medians.add_metric(ends, cell.median)


def _per_node(totals: Totals) -> Iterator[Metric]:
    labels = ["source_node", "family"]
    sent = CounterMetricFamily("nankeen_verify_probes", "Probes sent by a node and its pods.", labels=labels)
    lost = CounterMetricFamily("nankeen_verify_probes_lost", "Those without an answer.", labels=labels)
    what = "Round trips of ICMP echoes, by the kernel's clock."
    trips = HistogramMetricFamily("nankeen_verify_round_trip_seconds", what, labels=labels)
    for (node, family), count in totals.by_source.items():
        ends = [printable(node, LONGEST_NAME), str(family)]
        sent.add_metric(ends, count.sent)
        lost.add_metric(ends, count.lost)
        trips.add_metric(ends, list(_cumulative(count.buckets)), count.seconds)
    yield from (sent, lost, trips)


def _cumulative(counts: Iterable[int]) -> Iterator[tuple[str, float]]:
    total = 0
    for bound, count in zip([*map(str, BUCKETS), "+Inf"], counts, strict=True):
        total += count
        yield bound, total


def _family(name: str, what: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"nankeen_verify_{name}", what, labels=_ENDS)


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"nankeen_verify_{name}", what, value=value)
