"""One TCP stream through a lab of two nodes: from pod to pod, against from node to node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from bench.cluster import Lab, lab
from bench.process import run, running
from bench.row import Measure

_SECONDS = 3
"""How long each stream runs. Longer changes the medians by less than one round differs from the next."""


@contextmanager
def streams(backend: str) -> Iterator[Measure]:
    """Measures pod to pod across nodes by that backend, and node to node, in Gb/s."""
    with lab(nodes=2, pods=2, backend=backend) as cluster:
        yield lambda _: (_throughput(cluster, "pod1", "pod2"), _throughput(cluster, "node1", "node2"))


def _throughput(cluster: Lab, source: str, target: str) -> float:
    """What the receiver of one TCP stream counted, in Gb/s."""
    server = cluster.inside(target, "iperf3", "--server", "--one-off", "--forceflush")
    with running(server, ready="Server listening"):
        address = cluster.address(target)
        client = ("iperf3", "--client", address, "--time", str(_SECONDS), "--json")
        report = json.loads(run(cluster.inside(source, *client)))
    return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9
