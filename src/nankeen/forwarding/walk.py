"""The way of a packet through a world, hop by hop, to its end.

A packet is a job that passes from stage to stage; bridges and switches make copies of it, each a job of its own. Every
walk ends: each router takes one from the time to live, a tunnel in itself is cut off, and a frame that comes round to
where it was, unchanged, is called a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nankeen.forwarding import ethernet, ip, leg, netfilter, resolve, tunnel
from nankeen.forwarding.hop import Answered, Cause, Connection, Delivered, Dropped, End, Trail, Unknown, Walk
from nankeen.forwarding.job import Job, Outcome, Run, Stage
from nankeen.forwarding.packet import Packet
from nankeen.forwarding.reply import error_of, reply_to
from nankeen.forwarding.tables import Unpredictable
from nankeen.forwarding.world import Host, Resolution, World
from nankeen.model.address import HardwareAddress, IPAddress
from nankeen.model.errors import InputError

_WORK: dict[Stage, Callable[[Run, Job], Outcome]] = {
    Stage.SEND: ip.send,
    Stage.OUTPUT: ip.output,
    Stage.TRANSMIT: leg.transmit,
    Stage.FRAME: ethernet.frame,
    Stage.ARRIVE: ethernet.arrive,
    Stage.RECEIVE: ip.receive,
    Stage.LOOP_BACK: ip.loop_back,
    Stage.DELIVER: tunnel.deliver,
}
_STAGES = (ip.send, *(_WORK[stage] for stage in Stage))
"""By the stage's number, which counts from 1."""
_STEPS = 10_000
"""Steps of one walk, of all copies together."""
_SURELY_NO_LOOP = 100
"""Steps after which it is looked for loops: to remember each frame takes more time than to decide about it."""
_REMEMBERED = 100_000
"""Answers of neighbours in one world."""
_QUESTIONS = 6
"""A question of a neighbour may need another, of a tunnel's underlay; no sound network has more in a row."""


def walk(
    world: World,
    packet: Packet,
    at: str | None = None,
    connections: Iterable[Connection] = (),
    *,
    passages: bool = False,
) -> Walk:
    """What becomes of an IP packet that a process sends on the host `at`, by default the one that has its source
    address; a source of zeros leaves the choice to the host. `connections` are those of earlier walks, which the packet
    may be an answer in. `passages` asks for the devices that it passes. Raises `InputError` where it is not clear who
    sends it.
    """
    host, known = _sender(world, packet, at), tuple(connections)
    if not host.is_observed:
        return Walk(packet, None, Unknown(host.name, "", f"nothing was observed of {host.name}"), packet, known)
    return _walked(_run(world, known, passages=passages), Job(Stage.SEND, host, "", packet), known)


def walk_back(world: World, walked: Walk) -> Walk:
    """The way of what comes back for a packet that was delivered, or answered with an error. Raises `InputError` where
    nothing does.
    """
    end = walked.end
    run, known = _run(world, walked.connections), walked.connections
    run.heard.update(walked.heard)
    if isinstance(end, Delivered):
        return _walked(run, Job(Stage.SEND, world.hosts[end.host], "", reply_to(walked)), known)
    error = error_of(walked)
    assert isinstance(end, Answered)  # noqa: S101  (others have no error)
    stage = Stage.RECEIVE if end.by_process else Stage.SEND
    device = end.device if end.by_process or error.ip.destination.is_link_local else ""
    return _walked(run, Job(stage, world.hosts[end.host], device, error), known)


def _sender(world: World, packet: Packet, at: str | None) -> Host:
    if at is None:
        host = world.holder(packet.ip.source)
        if host is None:
            raise InputError(
                f"not one host has the address {packet.ip.source}", remedy="say which one sends the packet"
            )
        return host
    if at not in world.hosts:
        raise InputError("there is no such host", where=at)
    return world.hosts[at]


def _run(world: World, known: Iterable[Connection], *, passages: bool = False) -> Run:
    flows = {(item.host, flow): item for item in known for flow in (item.original, item.reply)}
    return Run(world, _resolve, passages, flows)


def _walked(run: Run, job: Job, known: tuple[Connection, ...]) -> Walk:
    packet = job.packet
    ends = _follow(run, job)
    end, trail, last = ends[0] if len(ends) == 1 else min(ends, key=_rank)
    return Walk(packet, trail, end, last, (*known, *run.made), run.heard)


_Found = tuple[End, Trail, Packet]


def _follow(run: Run, first: Job) -> list[_Found]:
    """The ends of all copies of a packet."""
    jobs, steps = [first], 0
    ends: list[_Found] = []
    seen: set[tuple[str, str, Packet]] = set()
    while jobs:
        job = jobs.pop()
        found: Outcome = job
        while found is job:
            steps += 1
            if steps > _STEPS:
                return [*ends, (Unknown(job.host.name, job.device, f"more than {_STEPS} steps"), job.trail, job.packet)]
            if steps > _SURELY_NO_LOOP and _comes_again(job, seen):
                found = Dropped(job.host.name, job.device, Cause.LOOP)
                break
            try:
                found = _STAGES[job.stage](run, job)
            except Unpredictable as why:
                found = Unknown(job.host.name, job.device, str(why))
        if isinstance(found, Job):
            jobs.append(found)
        elif isinstance(found, list):
            jobs += reversed(found)
        else:
            ends.append((found, job.trail, job.packet))
            if isinstance(found, Answered) and (made := netfilter.interrupted(job)) is not None:
                run.made.append(made)
    return ends


def _comes_again(job: Job, seen: set[tuple[str, str, Packet]]) -> bool:
    """Whether a frame comes in where it came in before, unchanged."""
    if job.stage is not Stage.ARRIVE:
        return False
    place = (job.host.name, job.device, job.packet)
    again = place in seen
    seen.add(place)
    return again


def _rank(found: _Found) -> tuple[int, int]:
    """Of the ends of copies the one that counts: who is not meant drops it, and that says nothing."""
    end, trail, _ = found
    match end:
        case Delivered():
            place = 0
        case Answered():
            place = 1
        case Unknown():
            place = 2
        case Dropped(cause=Cause.OTHER_STATION):
            place = 4
        case Dropped():
            place = 3
    return place, -_length(trail)


def _length(trail: Trail) -> int:
    length = 0
    while trail is not None:
        trail, length = trail[0], length + 1
    return length


def _resolve(run: Run, job: Job, hop: IPAddress) -> HardwareAddress | None:
    """Asks the neighbours of the job's device. Raises `Unpredictable` where what becomes of the question is not known
    and nobody is known to answer it.
    """
    asking = resolve.asker(job, hop)
    if asking is None:
        return None
    key = (job.host.name, job.device, hop, asking)
    found = run.world.resolved.get(key)
    if found is None:
        if len(run.world.resolved) >= _REMEMBERED:
            run.world.resolved.clear()
        found = run.world.resolved[key] = _ask(run, job, asking, hop)
    run.learned.update(found.learned)
    run.vteps.update(found.vteps)
    run.heard.update(found.heard)
    if found.address is None and found.unknown:
        raise Unpredictable(found.unknown)
    return found.address


def _ask(run: Run, job: Job, asking: IPAddress, hop: IPAddress) -> Resolution:
    if run.depth >= _QUESTIONS:
        return Resolution(None)
    first = resolve.question(job, asking, hop)
    asked = Run(run.world, _resolve, depth=run.depth + 1, question=hop)
    ends = _follow(asked, first)
    unknown = next((end.detail for end, _, _ in ends if isinstance(end, Unknown)), "")
    if len(asked.answers) > 1:  # which of them comes last is a matter of chance
        return Resolution(None, f"{' and '.join(sorted(map(str, asked.answers)))} answer for {hop}")
    return Resolution(next(iter(asked.answers), None), unknown, asked.learned, asked.vteps, asked.heard)
