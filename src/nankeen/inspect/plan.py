"""Which packets prove the pod network model: the probes, decided from the parties alone.

Pairs come in diagonals (first everyone with the next one, then everyone with the next but one, …), so that neighbouring
probes load different senders and receivers, and a sample asks and tests every party equally often.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import zip_longest

from nankeen.inspect.party import Cluster, Kind, Party
from nankeen.inspect.selection import EVERYTHING, Selection
from nankeen.model.address import Family, IPAddress, family_of

_RELATIONS = ((Kind.POD, Kind.POD), (Kind.NODE, Kind.POD), (Kind.POD, Kind.NODE))
"""Who asks whom. Nodes among themselves are the underlay's affair."""

OVERSIZE = 1
"""By how many bytes a packet that must be refused is larger than what the way carries."""


class Protocol(Enum):
    """What a probe is carried by."""

    ICMP = "ICMP"
    UDP = "UDP"
    TCP = "TCP"

    __hash__ = object.__hash__  # as that of `Family`


class Aim(Enum):
    """What a probe is to find out."""

    REACH = "reach"
    """Whether the destination answers, and which source it saw."""
    FULL_MTU = "full MTU"
    """Whether a packet as large as the way should carry arrives unfragmented (DF set)."""
    TOO_LARGE = "too large"
    """Whether a larger one (DF set) is refused, by the right host, with the right MTU."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Who asks whom, in one family."""

    source: Party
    destination: Party
    address: IPAddress
    """The destination's."""

    @property
    def family(self) -> Family:
        return family_of(self.address)

    @property
    def relation(self) -> str:
        """Such as `pod → node`."""
        return f"{self.source.kind.value} → {self.destination.kind.value}"

    @property
    def mtu(self) -> int:
        """The largest packet that the way should carry, in bytes: the smaller MTU of the pods at its ends."""
        return min(party.mtu for party in (self.source, self.destination) if party.mtu is not None)

    def __str__(self) -> str:
        return f"{self.source.name} → {self.destination.name}"


@dataclass(frozen=True, slots=True)
class Probe:
    """One packet to send and to have answered."""

    pair: Pair
    aim: Aim
    protocol: Protocol
    size: int | None = None
    """Of the whole IP packet in bytes; None for the smallest."""

    def __str__(self) -> str:
        return f"{self.pair}, {self.pair.family} {self.protocol.value}"


def pairs(cluster: Cluster, selection: Selection = EVERYTHING, turn: int = 0) -> list[Pair]:
    """Every pair of a pod with another pod and with a node, both ways, or those of a selection.

    A pair is left out where the destination has no address of the family, or the source none to send from: that is a
    finding of its own. `turn` counts the draws of a sample: others come each time until all have been.
    """
    asking, asked = selection.sides(cluster)
    meetings = list(_meetings(asking, asked, selection, turn))
    found = []
    for family in cluster.families:
        reached_at = {party.name: party.address(family) for party in cluster.parties}
        for source, destination in meetings:
            address = reached_at[destination.name]
            if address is not None and reached_at[source.name] not in (None, address):
                found.append(Pair(source, destination, address))
    return found


def reach_probes(found: Collection[Pair]) -> list[Probe]:
    """Whether each pair can talk, in every protocol."""
    return [Probe(pair, Aim.REACH, protocol) for protocol in Protocol for pair in found]


def size_probes(reached: Collection[Pair]) -> list[Probe]:
    """How large packets may be, for pairs that can talk at all. A pair of devices of different MTU is tried as well."""
    full = [Probe(pair, Aim.FULL_MTU, Protocol.ICMP, pair.mtu) for pair in reached]
    return full + [Probe(pair, Aim.TOO_LARGE, Protocol.ICMP, pair.mtu + OVERSIZE) for pair in reached]


def is_local_refusal(pair: Pair) -> bool | None:
    """Whether the sender's own kernel must refuse a packet that is too large for the way (EMSGSIZE).

    It must when its device cannot send it. Otherwise the packet leaves, and a router must refuse it by ICMP. None where
    both are right: a node's device towards a pod may be the smallest of the way or not.
    """
    if pair.source.kind is Kind.NODE:
        return None
    return pair.source.mtu == pair.mtu


def _meetings(
    asking: Sequence[Party], asked: Sequence[Party], selection: Selection, turn: int
) -> Iterator[tuple[Party, Party]]:
    for source_kind, destination_kind in _RELATIONS:
        sources = [party for party in asking if party.kind is source_kind]
        destinations = [party for party in asked if party.kind is destination_kind]
        columns = [_others(number, source, destinations) for number, source in enumerate(sources)]
        for diagonal in zip_longest(*(selection.drawn(column, turn) for column in columns)):
            yield from ((one, other) for one, other in zip(sources, diagonal, strict=True) if other is not None)


def _others(number: int, source: Party, destinations: list[Party]) -> list[Party]:
    """Whom the source of that number asks, beginning with the next one."""
    start = (number + 1) % max(len(destinations), 1)
    return [party for party in destinations[start:] + destinations[:start] if party.name != source.name]
