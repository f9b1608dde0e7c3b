"""A prediction put to the test: everybody on the way listens, one packet is sent, and what is seen of it is judged.

One packet socket hears all devices of a host, so the probe is found also where nobody expected it.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from nankeen.forwarding import Delivered, Direction, Dropped
from nankeen.inspect.walk.ending import Outcome
from nankeen.inspect.walk.journey import Journey
from nankeen.inspect.walk.probe import sending
from nankeen.inspect.walk.proof import Proof, judged
from nankeen.inspect.walk.sieve import program
from nankeen.inspect.walk.sighting import Role, Sighting, role_of
from nankeen.inspect.walk.tag import Tag
from nankeen.kernel.counters import discards, more
from nankeen.kernel.everytap import EveryTap, await_stamps, close_all
from nankeen.kernel.namespace import Namespace
from nankeen.kernel.ring import Direction as Way
from nankeen.model.errors import KernelError
from nankeen.model.packet import TunnelPorts, dissect
from nankeen.model.state import Link, State, Vxlan
from nankeen.model.tunnel import TunnelSocket

PATIENCE = 0.3
"""Seconds for which nothing new may be seen before the probe is taken for lost."""
_QUIET = 0.1
"""The same where it was predicted to be dropped, and was seen up to there."""
_GRACE = 0.03
"""The same where it has arrived, and may or may not be answered."""
_WAYS = {Way.IN: Direction.ENTERS, Way.OUT: Direction.LEAVES}


def prove(
    journey: Journey,
    namespaces: Mapping[str, Namespace],
    ports: TunnelPorts | None = None,
    *,
    answers: bool = False,
    answer: Journey | None = None,
    patience: float = PATIENCE,
) -> Proof:
    """Sends such a packet and says what came of it. `namespaces` has those of the hosts, by name.

    `ports` are those of the tunnels (`tunnel_ports`). `answers`: the packet is the answer to an earlier one, and may
    come from a port that somebody listens at. `answer` is the predicted way of the receiver's answer, where that is
    known: one that does not leave that host is not missed. Raises `KernelError` where it may not be listened or sent,
    and `InputError` where the port that it comes from is in use.
    """
    silent = answer is not None and not any(point.host == answer.source for point in answer.points)
    tag = Tag.drawn(journey.question.packet.payload)
    known = TunnelPorts() if ports is None else ports
    home = namespaces.get(journey.source)
    if home is None:
        raise KernelError("its network namespace is not known", where=journey.source)
    on_the_way = {host: namespaces[host] for host in journey.hosts if host in namespaces}
    with _listening(on_the_way, tag, known) as ears:
        await_stamps(home)
        before = _discards(on_the_way)
        with sending(home, journey.question.packet, tag, journey.source, answers=answers) as sent:
            judge = partial(judged, journey, refused=sent.refused, silent=silent)
            proof = judge(ears.until_quiet(sent.time, lambda found: _patience(judge(found), patience)))
        return proof if proof.holds else replace(proof, counted=_grown(before, _discards(on_the_way)))


def tunnel_ports(states: Iterable[State]) -> TunnelPorts:
    """The ports behind which tunnels end, of all that run on those hosts; flannel's own where none does."""
    found = list(states)
    vxlan = {link.kind.port for state in found for link in state.of(Link) if isinstance(link.kind, Vxlan)}
    udp = {socket.port for state in found for socket in state.of(TunnelSocket)}
    usual = TunnelPorts()
    return TunnelPorts(frozenset(vxlan) or usual.vxlan, frozenset(udp) or usual.udp)


_Counters = dict[str, dict[str, int]]


def _discards(hosts: Mapping[str, Namespace]) -> _Counters:
    return {host: discards(namespace) for host, namespace in hosts.items()}


def _grown(before: _Counters, after: _Counters) -> _Counters:
    return {host: more(before[host], counters) for host, counters in after.items()}


def _patience(proof: Proof, longest: float) -> float:
    """Seconds for which to wait for more than was found, from what was seen last on."""
    if proof.refused:
        return 0.0
    if proof.first is not None or proof.ending.outcome is Outcome.CONTRADICTED:
        return longest
    match proof.journey.end:
        case Delivered():
            return 0.0 if proof.ending.outcome is Outcome.CONFIRMED else _GRACE
        case Dropped():
            return _QUIET
    return 0.0 if proof.ending.outcome is Outcome.CONFIRMED else _QUIET


class _Ears:
    """A packet socket in each of several hosts."""

    def __init__(self, taps: Mapping[str, EveryTap], tag: Tag, ports: TunnelPorts) -> None:
        self._hosts = {tap.fileno(): (host, tap) for host, tap in taps.items()}
        self._tag, self._ports = tag, ports
        self._poll = select.poll()
        for descriptor in self._hosts:
            self._poll.register(descriptor, select.POLLIN)

    def until_quiet(self, sent: int, wait: Callable[[list[Sighting]], float]) -> list[Sighting]:
        """What is seen until nothing new has come for as long as `wait` says of what was found so far, in seconds.

        `sent` is when the probe was, in nanoseconds since 1970.
        """
        found: list[Sighting] = []
        last, left = time.monotonic(), 0.0
        while left >= 0:
            new = [each for descriptor in self._ready(left) for each in self._sightings(descriptor, sent)]
            if any(each.role is not Role.QUESTION for each in new):
                last = time.monotonic()
            found += new
            left = last + wait(found) - time.monotonic()
        return found

    def _ready(self, seconds: float) -> list[int]:
        return [descriptor for descriptor, _ in self._poll.poll(seconds * 1000)]

    def _sightings(self, descriptor: int, sent: int) -> Iterator[Sighting]:
        host, tap = self._hosts[descriptor]
        for frame, link in tap.read():
            packet = dissect(frame.data, link, self._ports)
            role = role_of(packet, self._tag)
            if role is not None:
                yield Sighting(role, host, frame.device, _WAYS[frame.direction], frame.time - sent, packet)


@contextmanager
def _listening(hosts: Mapping[str, Namespace], tag: Tag, ports: TunnelPorts) -> Iterator[_Ears]:
    wanted = program(tag, ports)
    taps: dict[str, EveryTap] = {}
    try:
        for host, namespace in hosts.items():
            taps[host] = EveryTap(namespace, wanted)
        yield _Ears(taps, tag, ports)
    finally:
        close_all(list(taps.values()))
