"""Proving the pod network model: plan the probes, send them, judge what was seen."""

from __future__ import annotations

import time

from nankeen.inspect.outcome import Answered
from nankeen.inspect.party import Cluster
from nankeen.inspect.plan import Protocol, pairs, reach_probes, size_probes
from nankeen.inspect.prober import Prober
from nankeen.inspect.verdict import Report, report


async def verify(cluster: Cluster, sample: int | None = None) -> Report:
    """Probes all pairs of the cluster, or about `sample` for each party, and reports. Raises `KernelError`.

    How large packets may be is asked only where small ones pass: what cannot be reached has been found already.
    """
    started = time.monotonic()
    with Prober() as prober:
        prober.attend(cluster.parties)
        observations = await prober.run(reach_probes(pairs(cluster, sample)))
        reached = [
            seen.probe.pair
            for seen in observations
            if seen.probe.protocol is Protocol.ICMP and isinstance(seen.outcome, Answered)
        ]
        observations += await prober.run(size_probes(reached))
    return report(cluster, observations, time.monotonic() - started)
