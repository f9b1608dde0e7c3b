"""What a filter asks of a packet, as a tree."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from nankeen.model.address import IPNetwork


class Level(Enum):
    """Of which packet a term speaks, where one is in another."""

    ANY = "any"
    """Of either: what one asks for is found, whether it is in a tunnel or not."""
    OUTER = "outer"
    """The packet as it is on this device."""
    INNER = "inner"
    """The one in its tunnel; where there is none, no term holds of it."""


class Side(Enum):
    """Which of two addresses or ports a term speaks of."""

    EITHER = "either"
    SOURCE = "src"
    DESTINATION = "dst"


class Kind(Enum):
    """What a packet is. ICMP is that of both families."""

    ARP = "arp"
    IPV4 = "ipv4"
    IPV6 = "ipv6"
    ICMP = "icmp"
    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True, slots=True)
class Is:
    """The packet is of that kind. A later fragment is of its packet's."""

    kind: Kind
    level: Level = Level.ANY


@dataclass(frozen=True, slots=True)
class InNetwork:
    """An address of the packet, or of what ARP asks about, is in one of these networks."""

    networks: tuple[IPNetwork, ...]
    side: Side = Side.EITHER
    level: Level = Level.ANY


@dataclass(frozen=True, slots=True)
class OnPort:
    """A port of TCP or UDP is in one of these ranges, both ends included. A later fragment has no ports."""

    ranges: tuple[tuple[int, int], ...]
    side: Side = Side.EITHER
    kind: Kind | None = None
    """TCP or UDP, where only one of them is meant."""
    level: Level = Level.ANY


@dataclass(frozen=True, slots=True)
class Not:
    """The operand does not hold."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class And:
    """Both hold."""

    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Or:
    """One of both holds, or both do."""

    left: Expression
    right: Expression


Term = Is | InNetwork | OnPort
Expression = Term | Not | And | Or
