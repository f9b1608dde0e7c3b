"""What an agent counts, in Prometheus' text format. This module is imported when somebody asks for it first: its
library costs memory.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector as Collecting

from nankeen import __version__
from nankeen.agent.status import Status
from nankeen.model.printable import LONGEST_NAME, printable
from nankeen.tunnel.control import Report

Collector = Callable[[], Iterable[Metric]]
"""Tells some metric families, as they are now: `means.collectors.append(…)` adds one."""

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def exposition(collectors: Sequence[Collector]) -> bytes:
    """What all of them tell, and what is known of the process."""
    return generate_latest(_All(collectors))


def of_status(status: Status) -> Iterator[Metric]:
    """What an agent's status says."""
    yield _gauge("ready", "Whether pods can be started on the node.", float(status.ready))
    yield _gauge("peers", "Nodes that the node sends to.", status.peers)
    yield _gauge("leases_rejected", "Leases that are no peers.", len(status.rejected))
    yield _gauge("changes_refused", "Changes that failed at the last attempt.", len(status.refused))
    repaired = "Objects that somebody else had removed or altered, and that were put right."
    yield CounterMetricFamily("nankeen_repaired", repaired, value=status.repaired)
    if status.expires is not None:
        what = "When the node's lease expires unless it is renewed, in seconds since 1970."
        yield _gauge("lease_expiry_timestamp_seconds", what, status.expires)
    revision = "The registry's revision that the kernel was last made equal to."
    yield _gauge("registry_revision", revision, status.revision)
    build = {"version": __version__, "python": platform.python_version()}
    yield InfoMetricFamily("nankeen_build", "What runs here.", value=build)


def of_data_path(report: Report) -> Iterator[Metric]:
    """What the udp backend's data path has done. Its counters begin anew when it does."""
    for name, direction in (("sent", "to"), ("received", "from")):
        for unit, what in (("packets", "Packets"), ("bytes", "Octets of packets")):
            text = f"{what} of pods, {name} {direction} another node by the data path of the udp backend."
            family = CounterMetricFamily(f"nankeen_tunnel_{name}_{unit}", text, labels=["peer"])
            for node, counters in report.peers.items():
                family.add_metric([printable(node, LONGEST_NAME)], getattr(counters, f"{name}_{unit}"))
            yield family
    drops = CounterMetricFamily("nankeen_tunnel_drops", "Packets that the data path has dropped.", labels=["reason"])
    for reason, count in report.drops.items():
        drops.add_metric([reason], count)
    yield drops
    path = {"path": report.path, "version": report.version}
    yield InfoMetricFamily("nankeen_tunnel", "The data path of the udp backend, with the offloads in use.", value=path)


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"nankeen_{name}", what, value=value)


class _All(Collecting):
    def __init__(self, collectors: Sequence[Collector]) -> None:
        self._collectors = collectors

    def collect(self) -> Iterator[Metric]:
        for collector in self._collectors:
            yield from collector()
        yield from ProcessCollector(registry=None).collect()
