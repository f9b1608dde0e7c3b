"""The predicted way of one packet, as a value: who sends it, what it is at each device that it passes, how it ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nankeen.forwarding import Delivered, End, Packet, Passage, Walk, World, reply_to, walk
from nankeen.forwarding.hop import Connection


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: what becomes of this packet."""

    source: str
    """Who sends it: the name of a host of the world."""
    destination: str
    """Whom it is meant for, as it was asked: a name or an address."""
    packet: Packet
    """As a process sends it. It has the address that it is sent from."""


@dataclass(frozen=True, slots=True)
class Journey:
    """A question with its answer."""

    question: Question
    walk: Walk

    @property
    def source(self) -> str:
        return self.question.source

    @property
    def destination(self) -> str:
        return self.question.destination

    @property
    def end(self) -> End:
        return self.walk.end

    @property
    def points(self) -> tuple[Passage, ...]:
        """Where a packet socket sees the packet, in order, and the packet as it is there."""
        return tuple(each for each in self.walk.course if isinstance(each, Passage))

    @property
    def hosts(self) -> tuple[str, ...]:
        """All that have to do with the packet, in the order of its way."""
        return tuple(dict.fromkeys([self.source, *(each.host for each in self.walk.course), self.end.host]))


def predict(world: World, question: Question, connections: Iterable[Connection] = ()) -> Journey:
    """The way of the packet. `connections` are those of packets before. Raises `InputError` for a host of no world."""
    return Journey(question, walk(world, question.packet, question.source, connections, passages=True))


def back(world: World, journey: Journey) -> Journey | None:
    """The way of the answer to a packet that was delivered; None where it was not, and nobody answers."""
    if not isinstance(journey.end, Delivered):
        return None
    question = Question(journey.end.host, journey.source, reply_to(journey.walk))
    return predict(world, question, journey.walk.connections)
