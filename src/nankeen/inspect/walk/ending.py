"""How a probe ended, as far as packets tell it: a receiver answers, a router says why not, or there is silence."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from nankeen.forwarding import Answered, Delivered, Direction, Dropped, Unknown
from nankeen.forwarding.packet import Icmp, IcmpKind, Tcp
from nankeen.inspect.walk.journey import Journey
from nankeen.inspect.walk.sighting import Role, Sighting
from nankeen.model.address import Family
from nankeen.model.packet import Icmp as Message
from nankeen.model.packet import Tcp as TcpSegment
from nankeen.model.packet import TcpFlag
from nankeen.model.packet.icmp import IcmpType, Icmpv6Type

_SAYS = {
    IcmpKind.NO_ROUTE: {errno.ENETUNREACH, errno.EHOSTUNREACH},
    IcmpKind.HOST_UNREACHABLE: {errno.EHOSTUNREACH},
    IcmpKind.TOO_BIG: {errno.EMSGSIZE},
    IcmpKind.PROHIBITED: {errno.EACCES},
}
"""What the sender's own kernel says to a process in place of an ICMP error."""


_OF_RECEIVERS = {
    (Family.IPV4, IcmpType.UNREACHABLE, 2),
    (Family.IPV4, IcmpType.UNREACHABLE, 3),
    (Family.IPV6, Icmpv6Type.UNREACHABLE, 4),
    (Family.IPV6, Icmpv6Type.PARAMETER_PROBLEM, 1),
}
"""Protocol and port unreachable (RFC 1122 §3.2.2.1); port unreachable and unrecognized next header (RFC 4443 §3)."""


class Outcome(Enum):
    """What is known of the end."""

    CONFIRMED = "confirmed"
    OPEN = "not contradicted"
    """No packet tells it."""
    CONTRADICTED = "contradicted"


@dataclass(frozen=True, slots=True)
class Ending:
    """How the probe ended."""

    outcome: Outcome
    text: str
    """What tells so."""


@dataclass(frozen=True, slots=True)
class Remains:
    """What was seen of the probe besides its predicted points."""

    elsewhere: Sequence[Sighting]
    heard: Sequence[Sighting]
    refused: int
    """The error (errno(3)) of the sender's kernel; 0 where it took the probe."""
    arrived: bool
    """Whether the probe was seen at every predicted point."""
    silent: bool = False
    """Whether the answer of its receiver was predicted not to leave that host."""

    def first(self, role: Role) -> Sighting | None:
        return next((each for each in self.heard if each.role is role), None)


def ending(journey: Journey, remains: Remains) -> Ending:
    """The end that was predicted, held to what was seen."""
    if remains.refused:
        return _refused(journey, remains)
    match journey.end:
        case Delivered():
            return _delivered(journey, journey.end, remains)
        case Answered():
            return _answered(journey.end, remains)
        case Dropped():
            return _dropped(journey.end, remains)
        case Unknown():
            return Ending(Outcome.OPEN, "what becomes of it was not predicted")


def _refused(journey: Journey, remains: Remains) -> Ending:
    """A process is told by its own kernel; where that was predicted, the packet passes no device."""
    end, text = journey.end, f"{journey.source} refuses to send it: {os.strerror(remains.refused)}"
    if isinstance(end, Delivered) or end.host != journey.source or journey.points:
        return Ending(Outcome.OPEN if isinstance(end, Unknown) else Outcome.CONTRADICTED, text)
    fits = not isinstance(end, Answered) or remains.refused in _SAYS.get(end.error, {remains.refused})
    return Ending(Outcome.CONFIRMED if fits else Outcome.CONTRADICTED, text)


def _delivered(journey: Journey, end: Delivered, remains: Remains) -> Ending:
    answer, error = remains.first(Role.ANSWER), remains.first(Role.ERROR)
    if answer is not None:
        confirmed = answer.host == end.host
        return Ending(Outcome.CONFIRMED if confirmed else Outcome.CONTRADICTED, str(answer))
    if error is not None:
        confirmed = error.host == end.host and _is_of_receiver(error)
        return Ending(Outcome.CONFIRMED if confirmed else Outcome.CONTRADICTED, str(error))
    if not remains.arrived:
        return Ending(Outcome.CONTRADICTED, "it did not arrive")
    if is_answered(journey) and not remains.silent:
        return Ending(Outcome.CONTRADICTED, f"{end.host} takes it in by {end.device} and answers nothing")
    return Ending(Outcome.OPEN, f"{end.host} takes it in by {end.device}; whether a process gets it, no packet tells")


def is_answered(journey: Journey) -> bool:
    """Whether the receiver's kernel answers such a packet at once: an echo request, or a segment of TCP."""
    inner = journey.walk.last.headers[-1]
    return isinstance(inner, Tcp) or (isinstance(inner, Icmp) and inner.kind is IcmpKind.ECHO_REQUEST)


def _answered(end: Answered, remains: Remains) -> Ending:
    error, answer = remains.first(Role.ERROR), remains.first(Role.ANSWER)
    if error is not None:
        fits = error.host == end.host and _says(error, end.error) and not end.reset
        return Ending(Outcome.CONFIRMED if fits else Outcome.CONTRADICTED, str(error))
    if answer is not None:
        fits = answer.host == end.host and end.reset and _is_reset(answer)
        return Ending(Outcome.CONFIRMED if fits else Outcome.CONTRADICTED, str(answer))
    onward = _onward(end.host, remains)
    if onward is not None:
        return Ending(Outcome.CONTRADICTED, str(onward))
    return Ending(Outcome.OPEN, f"{end.host} does not send it on, and has not answered yet")


def _dropped(end: Dropped, remains: Remains) -> Ending:
    """A question of a neighbour is what a host does before it gives up, and no contradiction."""
    told = _onward(end.host, remains) or remains.first(Role.ERROR) or remains.first(Role.ANSWER)
    if told is not None:
        return Ending(Outcome.CONTRADICTED, str(told))
    return Ending(Outcome.CONFIRMED, f"{end.host} does not send it on, and nobody answers")


def _onward(host: str, remains: Remains) -> Sighting | None:
    """Where the host sends the probe that was to end there."""
    leaving = (each for each in remains.elsewhere if each.direction is Direction.LEAVES)
    return next((each for each in leaving if each.host == host), None)


def _says(error: Sighting, kind: IcmpKind) -> bool:
    """Several kinds may have one number, which is what is compared."""
    message = error.packet.headers[-1]
    if not isinstance(message, Message):
        return False
    return kind.number(4 if message.family is Family.IPV4 else 6) == (message.type, message.code)


def _is_of_receiver(error: Sighting) -> bool:
    """Whether only who has taken the packet in says so: nobody listens at the port, or the protocol is not known."""
    message = error.packet.headers[-1]
    if not isinstance(message, Message):
        return False
    return (message.family, message.type, message.code) in _OF_RECEIVERS


def _is_reset(answer: Sighting) -> bool:
    last = answer.packet.headers[-1]
    return isinstance(last, TcpSegment) and bool(last.flags & TcpFlag.RST)
