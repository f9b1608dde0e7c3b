"""A journey told: its steps in the order in which they are taught, each with the lines that decide it.

A function from values to values: it prints nothing and sends nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from nankeen.forwarding import Delivered, Packet, Passage
from nankeen.inspect.walk.decision import DATA_PATH, Decision, ending, told
from nankeen.inspect.walk.journey import Journey
from nankeen.inspect.walk.part import Leg, Part, legs
from nankeen.inspect.walk.remedy import remedy
from nankeen.inspect.walk.surroundings import Role, Surroundings
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
    """The devices passed: places in the story's points."""

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

    source: str
    destination: str
    packet: Packet
    """As it was sent."""
    steps: tuple[Step, ...]
    points: tuple[Passage, ...]
    """Where a packet socket sees the packet, in order."""
    arrives: bool
    end: str
    """How it ends, in a sentence without its full stop."""
    remedy: str
    """What to do where it does not arrive; "" where there is nothing to do, or nobody knows."""
    roles: tuple[tuple[str, Role], ...]
    """The hosts on the way, in order, and what they are."""

    @property
    def by_process(self) -> bool:
        """Whether a process of the udp backend carries the packet."""
        return any(decision.command.startswith(DATA_PATH) for step in self.steps for decision in step.decisions)


def tell(journey: Journey, around: Surroundings) -> Story:
    """The whole way. Of a packet that does not arrive, the last step is the one that fails."""
    arrives = isinstance(journey.end, Delivered)
    return Story(
        journey.source,
        journey.destination,
        journey.question.packet,
        _steps(journey, around, arrives=arrives),
        journey.points,
        arrives,
        told(journey.end),
        remedy(journey, around),
        tuple((host, around.role(host)) for host in journey.hosts),
    )


def _steps(journey: Journey, around: Surroundings, *, arrives: bool) -> tuple[Step, ...]:
    found = legs(journey.walk, around, ending(journey.walk, around))
    steps: list[Step] = []
    packet, passed = journey.question.packet, 0
    for leg in found:
        count = sum(isinstance(item, Passage) for item in leg.items)
        is_last = leg is found[-1]
        decisions = tuple(Decision.of(hop, around) for hop in leg.hops)
        fails = is_last and not arrives
        after = journey.walk.last if is_last and arrives else _after(leg)
        steps.append(
            Step(
                leg.part,
                leg.host,
                decisions,
                len(decisions) - 1 if fails else leading(leg),
                _sentence(told(journey.end)) if fails else tell_leg(leg, journey, around),
                packet,
                after,
                tuple(range(passed, passed + count)),
            )
        )
        packet, passed = after, passed + count
    return tuple(steps)


def _after(leg: Leg) -> Packet:
    last = leg.items[-1]
    return last.packet if isinstance(last, Passage) else last.after


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
