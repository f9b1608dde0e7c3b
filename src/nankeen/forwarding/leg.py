"""Legs: the way of frames from a host to the next one, over bridges and wires. It is the same for every packet to the
same neighbour, so it is walked stage by stage once, and told from memory afterwards.

Remembered is only what depends on nothing but the tables: no flood, no filter on a bridge, no packet that might be too
big, and nothing that bridges learned from the same packet earlier on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nankeen.forwarding import ethernet, resolve
from nankeen.forwarding.hop import Consulted, Direction
from nankeen.forwarding.job import Job, Outcome, Run, Stage
from nankeen.forwarding.packet import Ethernet, Packet
from nankeen.forwarding.tables import Unpredictable
from nankeen.forwarding.world import Host
from nankeen.model.address import HardwareAddress, IPAddress

_STEPS = 50
"""More than any sound Ethernet takes from host to host."""
_WORK: dict[Stage, Callable[[Run, Job], Outcome]] = {
    Stage.TRANSMIT: ethernet.transmit,
    Stage.FRAME: ethernet.frame,
    Stage.ARRIVE: ethernet.arrive,
}
_ANY_SIZE = 1 << 20
_REMEMBERED = 100_000
"""Legs of one world: a scan of a whole network asks for one each."""


@dataclass(frozen=True, slots=True)
class Leg:
    """From where a packet is to be sent to a neighbour, to where it is taken in."""

    header: Ethernet
    hops: tuple[tuple[str, str, Consulted | Direction, object, bool], ...]
    """Decisions as in a `Trail`, and whether the packet is a frame there."""
    host: Host
    device: str
    """Whose it is, and what it came in by."""
    limit: int
    """Bytes of the largest packet that certainly passes, without its Ethernet header."""
    stations: tuple[tuple[str, str, HardwareAddress], ...]
    """What bridges were asked for: by host, bridge and address."""
    learned: Mapping[tuple[str, str, HardwareAddress], str]
    vteps: Mapping[tuple[str, str, HardwareAddress], IPAddress]
    heard: Mapping[tuple[str, str, IPAddress], HardwareAddress]
    """What bridges, VXLAN devices and hosts learned on it."""


def transmit(run: Run, job: Job) -> Outcome:
    """An IP packet at the device that it leaves by: at once at its leg's end, where that is known. Raises
    `Unpredictable`.
    """
    if run.passages or job.is_broadcast or job.device in job.tables.tunnels:
        return ethernet.transmit(run, job)
    leg = _leg(run, job)
    return ethernet.transmit(run, job) if leg is None else _go(run, job, leg)


def _leg(run: Run, job: Job) -> Leg | None:
    """The leg that the packet goes; None where it must be walked."""
    header, host, legs = job.packet.ip, job.host, run.world.legs
    # A host asks for its neighbour by its own address, where the packet has that.
    source = header.source if not job.iif or host.tables.holds(header.source) else None
    key = (host.name, job.device, job.nexthop or header.destination, source)
    leg = legs.get(key)
    if leg is None:
        if len(legs) >= _REMEMBERED:
            legs.clear()
        leg = legs[key] = _walked(run, job) or False
    if leg is False or job.packet.exceeds(leg.limit):
        return None
    return leg if run.learned.keys().isdisjoint(leg.stations) else None


def _go(run: Run, job: Job, leg: Leg) -> Outcome:
    packet, trail = job.packet, job.trail
    frame = packet.within(leg.header)
    for host, device, what, entry, is_frame in leg.hops:
        seen = frame if is_frame else packet
        trail = (trail, host, device, what, entry, seen, seen)
    job.become(leg.host, leg.device, trail)
    if leg.learned:
        run.learned.update(leg.learned)
        run.vteps.update(leg.vteps)
    if leg.heard:
        run.heard.update(leg.heard)
    return resolve.take_in(run, job, leg.header.source)


def _walked(run: Run, job: Job) -> Leg | None:
    """The leg as an empty packet goes it, with nothing learned before."""
    asked = Run(run.world, run.resolve, depth=run.depth)
    probe = job.copy(Stage.TRANSMIT, job.host, job.device)
    probe.packet, probe.trail, probe.nexthop = Packet(job.packet.headers[:1]), None, job.nexthop
    header, limit, bridges = None, _ANY_SIZE, []
    for _ in range(_STEPS):
        work = _WORK.get(probe.stage)
        link = probe.tables.links.get(probe.device)
        if work is None or link is None:
            break
        if probe.stage is Stage.FRAME:
            header = probe.packet.headers[0]
        if (bridge := link.master or link.name) in probe.tables.bridges:
            bridges.append((probe.host.name, bridge))
        limit = min(limit, link.mtu or limit)
        found = _tried(work, asked, probe)
        if not isinstance(found, Job):
            return None
        probe = found
    if probe.stage is not Stage.RECEIVE or not isinstance(header, Ethernet) or asked.is_filtered:
        return None
    stations = tuple((host, bridge, header.destination) for host, bridge in dict.fromkeys(bridges))
    return Leg(header, _hops(probe), probe.host, probe.device, limit, stations, asked.learned, asked.vteps, asked.heard)


def _tried(work: Callable[[Run, Job], Outcome], run: Run, job: Job) -> Outcome | None:
    try:
        return work(run, job)
    except Unpredictable:  # whoever walks there is told why
        return None


def _hops(job: Job) -> tuple[tuple[str, str, Consulted | Direction, object, bool], ...]:
    found, trail = [], job.trail
    while trail is not None:
        trail, host, device, what, entry, packet, _ = trail
        found.append((host, device, what, entry, isinstance(packet.headers[0], Ethernet)))
    return tuple(reversed(found))
