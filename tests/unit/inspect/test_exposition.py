"""What a verification found, as Prometheus reads it."""

from __future__ import annotations

from http import HTTPStatus

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from nankeen.inspect.exposition import Publisher, once
from nankeen.inspect.history import BUCKETS
from nankeen.inspect.outcome import Silent
from nankeen.inspect.verdict import report
from nankeen.inspect.watch import Round
from tests.unit.inspect.parties import cluster
from tests.unit.inspect.test_history import WHOLE, Observed

WAY = {"source_node": "node1", "destination_node": "node2", "family": "IPv4"}


def read(text: bytes) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


def value(families: dict[str, Metric], name: str, labels: dict[str, str] | None = None) -> float:
    family = next(each for each in families.values() if any(sample.name == name for sample in each.samples))
    [found] = [sample.value for sample in family.samples if (sample.name, sample.labels) == (name, labels or {})]
    return found


def told(publisher: Publisher, seen: Observed) -> None:
    found = report(WHOLE, [], 0.5)
    publisher.tell(Round(1, 1_700_000_000.0, found, (), is_missed=False), seen.history)


def test_one_verification_has_its_verdict_its_time_and_its_proofs() -> None:
    families = read(once(report(WHOLE, [], 0.5)))
    assert value(families, "nankeen_verify_holds") == 1
    assert value(families, "nankeen_verify_duration_seconds") == 0.5
    labels = {"rule": "address", "relation": "pod", "family": "IPv4", "protocol": "", "result": "proven"}
    assert value(families, "nankeen_verify_proofs", labels) == 3


def test_nothing_tested_does_not_hold() -> None:
    assert value(read(once(report(cluster(), [], 0.5))), "nankeen_verify_holds") == 0


def test_every_family_has_a_type_and_is_explained() -> None:
    seen, publisher = Observed(), Publisher()
    seen.round()
    told(publisher, seen)
    families = [family for name, family in read(publisher.page().body).items() if name.startswith("nankeen_")]
    assert len(families) > 10
    assert all(family.documentation.endswith(".") or "1 or 0" in family.documentation for family in families)
    assert all(family.type != "unknown" for family in families)


def test_ways_between_nodes_have_their_pairs_path_mtu_and_median() -> None:
    seen, publisher = Observed(), Publisher()
    seen.round(UDP=("pod1 → pod2", Silent(1.0)))
    told(publisher, seen)
    families = read(publisher.page().body)
    assert value(families, "nankeen_verify_pairs", WAY) == 5
    assert value(families, "nankeen_verify_pairs_reached", WAY) == 4
    assert value(families, "nankeen_verify_path_mtu_bytes", WAY) == 1450
    assert value(families, "nankeen_verify_round_trip_median_seconds", WAY) == 0.001


def test_round_trips_are_a_histogram_whose_last_bucket_is_their_count() -> None:
    seen, publisher = Observed(), Publisher()
    seen.round()
    told(publisher, seen)
    families = read(publisher.page().body)
    source = {"source_node": "node1", "family": "IPv4"}
    family = families["nankeen_verify_round_trip_seconds"]
    buckets = [
        sample.value
        for sample in family.samples
        if sample.name.endswith("_bucket") and source.items() <= sample.labels.items()
    ]
    assert buckets == sorted(buckets)
    assert len(buckets) == len(BUCKETS) + 1
    assert buckets[-1] == value(families, "nankeen_verify_round_trip_seconds_count", source) == 7
    assert value(families, "nankeen_verify_probes_total", source) == 21
    assert value(families, "nankeen_verify_probes_lost_total", source) == 0


def test_what_is_written_is_what_is_answered_and_is_rendered_once_a_round() -> None:
    written: list[bytes] = []
    seen, publisher = Observed(), Publisher(written.append)
    seen.round()
    told(publisher, seen)
    assert written == [publisher.page().body]
    assert publisher.page().body is publisher.page().body


def test_before_the_first_round_there_is_nothing_to_answer() -> None:
    assert Publisher().page().status is HTTPStatus.SERVICE_UNAVAILABLE
