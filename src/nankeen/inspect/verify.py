"""Proving the pod network model: plan the probes, send them, judge what was seen."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from nankeen.inspect.coverage import coverage
from nankeen.inspect.outcome import Answered, Observation
from nankeen.inspect.party import Cluster
from nankeen.inspect.pathmtu import measure
from nankeen.inspect.plan import Aim, Pair, Protocol, pairs, reach_probes, size_probes
from nankeen.inspect.prober import Prober
from nankeen.inspect.selection import EVERYTHING, Selection
from nankeen.inspect.verdict import Report, report


async def verify(cluster: Cluster, selection: Selection = EVERYTHING) -> Report:
    """Probes the pairs of the cluster that are selected, all by default, and reports.

    How large packets may be is asked only where small ones pass: what cannot be reached has been found already. Raises
    `InputError` where the selection is of nobody, and `KernelError`.
    """
    started = time.monotonic()
    selection.check(cluster)
    chosen = pairs(cluster, selection)
    with Prober() as prober:
        for error in prober.attend(party for party in cluster.parties if selection.concerns(party)):
            raise error
        observations = await prober.run(reach_probes(chosen))
        observations += await measured(prober, await prober.run(size_probes(reached(observations))))
    found = report(cluster, observations, time.monotonic() - started, selection.concerns)
    if selection.sample is None:
        return found
    possible = pairs(cluster, replace(selection, sample=None))
    return replace(found, coverage=coverage(cluster, chosen, possible, selection.seed))


def reached(observations: Iterable[Observation]) -> list[Pair]:
    """The pairs between which small packets pass."""
    return [
        seen.probe.pair
        for seen in observations
        if seen.probe.protocol is Protocol.ICMP and isinstance(seen.outcome, Answered)
    ]


async def measured(prober: Prober, observations: Sequence[Observation]) -> list[Observation]:
    """The same, with the path MTU where full packets did not pass."""
    short = [seen for seen in observations if seen.probe.aim is Aim.FULL_MTU and not isinstance(seen.outcome, Answered)]
    found = await measure(prober, [(seen.probe.pair, seen.outcome) for seen in short])
    mtus = {id(seen): mtu for seen, mtu in zip(short, found, strict=True)}
    return [replace(seen, path_mtu=mtus[id(seen)]) if id(seen) in mtus else seen for seen in observations]
