"""What became of a probe."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from nankeen.inspect.plan import Probe
from nankeen.model.address import Family, IPAddress

FRAGMENTATION_NEEDED = (3, 4)
"""ICMP type and code (RFC 792; RFC 1191 §4 for its MTU field)."""
PACKET_TOO_BIG = (2, 0)
"""ICMPv6 type and code (RFC 4443 §3.2)."""

_ICMP = {
    (3, 0): "network unreachable",
    (3, 1): "host unreachable",
    (3, 2): "protocol unreachable",
    (3, 3): "port unreachable",
    FRAGMENTATION_NEEDED: "fragmentation needed and DF set",
    (3, 9): "network administratively prohibited",
    (3, 10): "host administratively prohibited",
    (3, 13): "communication administratively prohibited",
    (11, 0): "time to live exceeded in transit",
}
_ICMPV6 = {
    (1, 0): "no route to destination",
    (1, 1): "communication administratively prohibited",
    (1, 3): "address unreachable",
    (1, 4): "port unreachable",
    (1, 5): "source address failed ingress policy",
    (1, 6): "reject route to destination",
    PACKET_TOO_BIG: "packet too big",
    (3, 0): "hop limit exceeded in transit",
}


@dataclass(frozen=True, slots=True)
class Answered:
    """The destination received the probe and its answer came back."""

    seconds: float
    by: str | None
    """The party that received it; None where none of the cluster did."""
    source: IPAddress | None
    """The source address that the receiver saw."""
    round_trip: float | None = None
    """Seconds from the sending of an echo request to the arrival of its reply, by the kernel's clock."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Somebody said that the probe cannot be delivered."""

    reason: str
    by: IPAddress | None = None
    """The router or host whose ICMP message it was; None for the sender's own kernel."""
    mtu: int | None = None
    """The MTU named, in bytes, where the packet was too large."""
    answerer: str | None = None
    """The party that received the probe, where it was its answer that was refused."""

    def __str__(self) -> str:
        whose = "its" if self.answerer is None else f"{self.answerer}'s"
        speaker = str(self.by) if self.by else f"{whose} own kernel"
        about = "" if self.answerer is None else f" of {whose if self.by else 'its'} answer"
        text = f"{speaker} says{about}: {self.reason}"
        return text if self.mtu is None else f"{text}, MTU {self.mtu}"


@dataclass(frozen=True, slots=True)
class Silent:
    """No answer came in time."""

    seconds: float
    by: str | None = None
    """The party that received the probe all the same: its answer was lost."""
    source: IPAddress | None = None
    """The source address that this party saw."""

    def __str__(self) -> str:
        text = f"no answer in {self.seconds:.1f} s"
        return text if self.by is None else f"{text}; the probe arrived at {self.by} from {self.source}"


Outcome = Answered | Refused | Silent


@dataclass(frozen=True, slots=True)
class Observation:
    """A probe with its outcome."""

    probe: Probe
    outcome: Outcome
    path_mtu: int | None = None
    """The largest packet in bytes that does pass, where that was measured: a full one did not."""


def icmp_refusal(family: Family, kind: tuple[int, int], offender: IPAddress | None, info: int) -> Refused:
    """What an ICMP or ICMPv6 error of that type and code says; `info` is its MTU field, where it has one."""
    names, too_large = (_ICMP, FRAGMENTATION_NEEDED) if family is Family.IPV4 else (_ICMPV6, PACKET_TOO_BIG)
    reason = names.get(kind, f"ICMP type {kind[0]} code {kind[1]}")
    return Refused(reason, offender, info if kind == too_large else None)


def local_refusal(number: int, mtu: int | None = None) -> Refused:
    """What an error number of the sender's own kernel says."""
    name = errno.errorcode.get(number, str(number))
    return Refused(f"{os.strerror(number).lower()} ({name})", mtu=mtu if number == errno.EMSGSIZE else None)
