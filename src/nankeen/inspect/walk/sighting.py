"""What was captured while a probe was on its way: the probe itself, and what was said about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from nankeen.forwarding import Direction
from nankeen.inspect.capture.line import told
from nankeen.inspect.walk.tag import Tag, is_question
from nankeen.model.packet import IPv4, IPv6, Packet
from nankeen.model.printable import printable


class Role(Enum):
    """What a captured packet is to the probe."""

    PROBE = "probe"
    ANSWER = "answer"
    """The receiver's: an echo reply, or a segment of TCP."""
    ERROR = "error"
    """Of ICMP, about the probe."""
    QUESTION = "question"
    """Who has an address: of ARP or neighbour discovery."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A packet that passed a device."""

    role: Role
    host: str
    device: str
    direction: Direction
    nanoseconds: int
    """Since the probe was sent."""
    packet: Packet

    @property
    def time(self) -> int:
        """Microseconds since the probe was sent."""
        return self.nanoseconds // 1000

    @property
    def place(self) -> str:
        """Which way it passed, fit to be shown: leaves node1 by eth0."""
        return f"{self.direction.value} {self.host} by {printable(self.device)}"

    def __str__(self) -> str:
        match self.role:
            case Role.PROBE:
                return f"it {self.place}: {told(self.packet)}"
            case Role.QUESTION:
                return f"{self.host} asks at {printable(self.device)}: {told(self.packet)}"
        return f"{self.host} answers: {told(self.packet)}"


def role_of(packet: Packet, tag: Tag) -> Role | None:
    """None for a packet that has nothing to do with the probe, and for the later fragments of it."""
    if tag.is_on(packet):
        return None if _is_later_fragment(packet) else Role.PROBE
    if tag.is_quoted_by(packet):
        return Role.ERROR
    if tag.is_answered_by(packet):
        return Role.ANSWER
    return Role.QUESTION if is_question(packet) else None


def _is_later_fragment(packet: Packet) -> bool:
    return any(isinstance(header, IPv4 | IPv6) and header.is_later_fragment for header in packet.headers)
