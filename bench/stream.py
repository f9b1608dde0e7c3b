"""What iperf3 measures through a lab of two nodes: TCP streams and UDP datagrams, pod to pod or node to node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.cluster import Lab, lab
from bench.process import run, running
from bench.row import Measure

PODS = ("pod1", "pod2")
NODES = ("node1", "node2")

_SECONDS = 3
"""How long each stream runs. Longer changes the medians by less than one round differs from the next."""
_TICKS = 100
"""Of /proc/stat in a second: USER_HZ, the same on every machine that Debian runs on (proc_stat(5))."""
_CLIENT = 'grep "^cpu " /proc/stat && iperf3 "$@" && grep "^cpu " /proc/stat'
"""Reads the processors' time where it begins and ends to flow, so that no interpreter's start is in it."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """What came in at the receiver, and what it cost the whole machine."""

    bits_per_second: float
    bytes: int
    processor: float
    """Seconds, of all processors together, that were spent with anything but waiting."""

    @property
    def seconds_per_gigabyte(self) -> float:
        return self.processor / self.bytes * 1e9


@contextmanager
def streams(backend: str) -> Iterator[Measure]:
    """Measures pod to pod across nodes by that backend, and node to node, in Gb/s."""
    with lab(nodes=2, pods=2, backend=backend) as cluster:
        yield lambda _: (throughput(cluster), throughput(cluster, NODES))


def throughput(cluster: Lab, ends: tuple[str, str] = PODS, *, parallel: int = 1) -> float:
    """What the receiver of so many TCP streams counted, in Gb/s."""
    return transfer(cluster, ends, "--parallel", str(parallel)).bits_per_second / 1e9


def transfer(cluster: Lab, ends: tuple[str, str], *options: str) -> Transfer:
    """One run of iperf3 from one member of a lab to another, with these options of the client."""
    source, target = ends
    server = cluster.inside(target, "iperf3", "--server", "--one-off", "--forceflush")
    with running(server, ready="Server listening"):
        client = ("--client", cluster.address(target), "--time", str(_SECONDS), "--json", *options)
        printed = run(cluster.inside(source, "sh", "-c", _CLIENT, "sh", *client))
    return _parse(printed)


def _parse(printed: str) -> Transfer:
    """From iperf3's report between two lines of /proc/stat."""
    before, *report, after = printed.splitlines()
    done = json.loads("\n".join(report))["end"]["sum_received"]
    return Transfer(float(done["bits_per_second"]), int(done["bytes"]), _busy(after) - _busy(before))


def _busy(line: str) -> float:
    """Seconds that the processors worked since the machine started: user, nice, system, irq and softirq of a line."""
    _, user, nice, system, _, _, irq, softirq, *_ = line.split()
    return sum(map(int, (user, nice, system, irq, softirq))) / _TICKS
