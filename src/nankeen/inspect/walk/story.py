"""A journey told: its steps in the order in which they are taught, each with the lines that decide it.

A function from values to values: it prints nothing and sends nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from nankeen.forwarding import Delivered, Packet, Passage
from nankeen.inspect.walk.decision import Decision, ending, told
from nankeen.inspect.walk.journey import Journey
from nankeen.inspect.walk.part import Leg, Part, legs
from nankeen.inspect.walk.remedy import remedy
from nankeen.inspect.walk.surroundings import Surroundings
from nankeen.inspect.walk.words import leading, tell_leg


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the way."""

    part: Part
    host: str
    """Where it is decided."""
    decisions: tuple[Decision, ...]
    """In the order in which the kernels make them."""
    leading: int
    """The place of the one that the step is about."""
    tells: str
    """What it means for the packet, in a sentence without its full stop."""
    before: Packet
    after: Packet
    points: tuple[int, ...]
    """The devices passed: places in the journey's points."""

    @property
    def title(self) -> str:
        return self.part.value

    @property
    def decision(self) -> Decision:
        return self.decisions[self.leading]

    @property
    def fails(self) -> bool:
        """Whether a table has no line for the packet."""
        return any(not decision.line for decision in self.decisions)


@dataclass(frozen=True, slots=True)
class Story:
    """A journey in steps."""

    journey: Journey
    steps: tuple[Step, ...]
    end: str
    """How it ends, in a sentence without its full stop."""
    remedy: str = ""
    """What to do where it does not arrive; "" where there is nothing to do, or nobody knows."""

    @property
    def arrives(self) -> bool:
        return isinstance(self.journey.end, Delivered)


def tell(journey: Journey, around: Surroundings) -> Story:
    """The whole way. Of a packet that does not arrive, the last step is the one that fails."""
    last = ending(journey.walk, around)
    found = legs(journey.walk, around, last)
    steps: list[Step] = []
    packet, passed = journey.question.packet, 0
    for leg in found:
        count = sum(isinstance(item, Passage) for item in leg.items)
        fails = leg is found[-1] and not isinstance(journey.end, Delivered)
        step = _step(leg, journey, around, packet, range(passed, passed + count), fails=fails)
        steps.append(step)
        packet, passed = step.after, passed + count
    return Story(journey, tuple(steps), told(journey.end), remedy(journey, around))


def _step(
    leg: Leg, journey: Journey, around: Surroundings, before: Packet, points: range, *, fails: bool
) -> Step:  # fmt: skip
    decisions = tuple(Decision.of(hop) for hop in leg.hops)
    last = leg.items[-1]
    arrived = isinstance(journey.end, Delivered) and last is journey.walk.course[-1]
    after = journey.walk.last if arrived else last.packet if isinstance(last, Passage) else last.after
    return Step(
        leg.part,
        leg.host,
        decisions,
        len(decisions) - 1 if fails else leading(leg),
        _sentence(told(journey.end)) if fails else tell_leg(leg, journey, around),
        before,
        after,
        tuple(points),
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
