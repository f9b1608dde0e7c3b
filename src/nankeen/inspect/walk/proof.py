"""What a probe proves of a prediction: at each point whether it was seen as predicted, and what happened instead.

A function of the prediction and of what was seen: it sends nothing and listens to nothing.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from nankeen.forwarding import Direction, Hop, Packet, Passage, codec
from nankeen.forwarding.packet import WireguardHeader
from nankeen.inspect.walk.difference import Difference, differences
from nankeen.inspect.walk.ending import Ending, Outcome, Remains, ending
from nankeen.inspect.walk.journey import Journey
from nankeen.inspect.walk.sighting import Role, Sighting
from nankeen.model.packet import Arp, NeighbourMessage
from nankeen.model.packet import Packet as Capture
from nankeen.model.printable import printable

_TOLD = 3
"""Of what happened instead."""


class Verdict(Enum):
    """What was seen of the probe at a predicted point."""

    SEEN = "seen as predicted"
    DIFFERS = "seen, and differs"
    NOT_SEEN = "not seen"
    HIDDEN = "encrypted there"
    """No capture can tell one packet in the tunnel from another."""


@dataclass(frozen=True, slots=True)
class Proven:
    """A predicted point, and what was seen there."""

    point: Passage
    verdict: Verdict
    seen: Packet | None = None
    """As it was captured."""
    time: int | None = None
    """Microseconds since it was sent."""
    differences: tuple[Difference, ...] = ()
    sighting: Sighting | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """A prediction and its probe."""

    journey: Journey
    proven: tuple[Proven, ...]
    """In the order of the predicted points."""
    ending: Ending
    """What is known of how the probe ended."""
    elsewhere: tuple[Sighting, ...] = ()
    """The probe where it was not predicted: copies that a switch or bridge made, or another way."""
    heard: tuple[Sighting, ...] = field(default=())
    """What else was said about it: answers, ICMP errors, questions of neighbours."""
    refused: int = 0
    """The error (errno(3)) that the sender's kernel said to it; 0 where it took it."""
    counted: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Of each host the counters of lost packets that grew meanwhile, by the names that `nstat` has: other packets may
    have had a part in it.
    """

    @property
    def holds(self) -> bool:
        """Whether the packet did what was predicted."""
        return self.first is None and self.ending.outcome is not Outcome.CONTRADICTED

    @property
    def first(self) -> Proven | None:
        """The first point where prediction and reality differ; None where they do only at the end, or not at all."""
        return next((each for each in self.proven if each.verdict in (Verdict.DIFFERS, Verdict.NOT_SEEN)), None)

    @property
    def decisions(self) -> tuple[Hop, ...]:
        """Of the predicted decisions those of which one came out otherwise: between the last point where all was as
        predicted and the first where it was not. Empty where the prediction holds.
        """
        if self.holds:
            return ()
        between: list[list[Hop]] = [[]]
        for each in self.journey.walk.course:
            if isinstance(each, Hop):
                between[-1].append(each)
            else:
                between.append([])
        first = self.first
        return tuple(between[-1 if first is None else self.proven.index(first)])

    @property
    def instead(self) -> str:
        """What the kernels did instead; "" where the prediction holds."""
        if self.holds:
            return ""
        first = self.first
        if first is None:
            return self.ending.text
        if first.verdict is Verdict.DIFFERS:
            return "; ".join(map(str, first.differences))
        return self._in_place_of(first)

    def _in_place_of(self, first: Proven) -> str:
        """What became of the probe after the last point where it was seen as predicted."""
        if self.refused:
            return self.ending.text
        place = self.proven.index(first)
        seen = [each for each in self.proven[:place] if each.sighting]
        again = [each.sighting for each in self.proven[place:] if each.sighting]
        said = [each for each in self.heard if each.role is Role.ERROR]
        since = max((each.sighting.nanoseconds for each in seen[-1:] if each.sighting), default=0)
        host = seen[-1].point.host if seen else self.journey.source
        news = sorted((each for each in (*self.elsewhere, *again, *said) if each.nanoseconds >= since), key=_time)
        questions = [each for each in self.heard if each.role is Role.QUESTION and each.nanoseconds >= since]
        asked = [each for each in questions if each.host == host]
        return "; ".join(dict.fromkeys(map(str, (news or asked)[:_TOLD]))) or self._silence(seen, host)

    def _silence(self, seen: Sequence[Proven], host: str) -> str:
        told = "nothing is seen of it"
        if seen:
            last = seen[-1].point
            told = f"nothing more is seen of it after it {last.direction.value} {last.host} by {printable(last.device)}"
        counted = [f"{name} {number}" for name, number in self.counted.get(host, {}).items()]
        return f"{told}; {host} counts meanwhile: {', '.join(counted)}" if counted else told


def judged(journey: Journey, sightings: Iterable[Sighting], refused: int = 0, *, silent: bool = False) -> Proof:
    """What the sightings prove. `refused` is the error of the sender's kernel, 0 where it took the probe; `silent`,
    whether no answer is predicted to leave the receiver.
    """
    ordered = sorted(sightings, key=_time)
    left: dict[tuple[str, str, Direction], deque[Sighting]] = defaultdict(deque)
    for each in ordered:
        if each.role is Role.PROBE:
            left[each.host, each.device, each.direction].append(each)
    proven = tuple(_at(point, left[point.host, point.device, point.direction]) for point in journey.points)
    elsewhere = tuple(sorted((each for found in left.values() for each in found), key=_time))
    heard = tuple(_first_said(each for each in ordered if each.role is not Role.PROBE))
    arrived = not any(each.verdict is Verdict.NOT_SEEN for each in proven)
    ended = ending(journey, Remains(elsewhere, heard, refused, arrived, silent))
    return Proof(journey, proven, ended, elsewhere, heard, refused)


def _first_said(said: Iterable[Sighting]) -> Iterator[Sighting]:
    """Each answer and error where it is sent, and each question once; not where they pass by."""
    known: set[object] = set()
    for each in said:
        header = each.packet.headers[-1]
        key = _question(each.packet) if each.role is Role.QUESTION else (each.role, header)
        if each.direction is Direction.LEAVES and key not in known:
            known.add(key)
            yield each


def _question(packet: Capture) -> object:
    """Who asks, and for whom."""
    for header in packet.headers:
        if isinstance(header, Arp):
            return header.sender, header.target
        if isinstance(header, NeighbourMessage):
            return header.link_layer, header.target
    return None


def _time(sighting: Sighting) -> int:
    return sighting.nanoseconds


def _at(point: Passage, found: deque[Sighting]) -> Proven:
    """Takes from what was seen at the point the first that is left."""
    if any(isinstance(header, WireguardHeader) for header in point.packet.headers):
        return Proven(point, Verdict.HIDDEN)
    if not found:
        return Proven(point, Verdict.NOT_SEEN)
    sighting = found.popleft()
    seen = codec.captured(sighting.packet)
    differing = differences(point.packet, seen)
    return Proven(point, Verdict.DIFFERS if differing else Verdict.SEEN, seen, sighting.time, differing, sighting)
