"""The demonstration: a lab is built, its network proven, a packet walked with, and the lab removed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from nankeen.inspect.inside import inside
from nankeen.inspect.survey import survey
from nankeen.inspect.verdict import Report
from nankeen.inspect.verify import verify
from nankeen.inspect.walk.account import Report as Way
from nankeen.inspect.walk.conduct import conduct
from nankeen.inspect.walk.request import Request
from nankeen.lab import Lab, labs
from nankeen.lab.labfile import default_network, from_flags
from nankeen.lab.launch import up
from nankeen.lab.teardown import down
from nankeen.model.address import Family

NODES, PODS = 3, 6
SOURCE, DESTINATION = "pod1", "pod2"

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What was shown."""

    report: Report
    way: Way
    """That of a packet from `SOURCE` to `DESTINATION`."""
    seconds: float
    """From beginning to end."""

    @property
    def holds(self) -> bool:
        """Whether the network was proven, and so was the way of the packet."""
        return self.report.holds and self.way.holds


def demonstrate(progress: Callable[[str], None] = lambda _: None) -> Demonstration:
    """Builds, looks and removes. This process must have one thread. Raises `LabError`."""
    started = time.monotonic()
    with _ended_by_signals(), _lab(progress) as lab:
        progress("every pod and node talks to every pod")
        report, way = inside(lab, lambda: look(lab))
        progress("taking the lab down")
    return Demonstration(report, way, time.monotonic() - started)


def look(lab: Lab) -> tuple[Report, Way]:
    """Proves the model and walks with a packet. This process must be in the lab (`inside`)."""
    report = asyncio.run(verify(survey(lab)))
    return report, conduct(lab, Request(SOURCE, DESTINATION))


@contextmanager
def _lab(progress: Callable[[str], None]) -> Iterator[Lab]:
    """A lab for the time of the block. It is taken down also when that fails or is interrupted."""
    taken = {lab.name for lab in labs()}
    name = "demo" if "demo" not in taken else f"demo-{os.getpid()}"
    topology = from_flags(name, NODES, PODS, default_network([Family.IPV4], "vxlan"), "sqlite")
    progress(f"building lab {name}: {NODES} nodes, {PODS} pods, VXLAN")
    lab = up(topology, progress)
    try:
        yield lab
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half a lab
        down(lab)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP end the program as Ctrl-C does: by an exception, so that all is cleaned up."""
    before = {kind: signal.getsignal(kind) for kind in _SIGNALS}
    for kind in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(kind, _end)
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _end(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
