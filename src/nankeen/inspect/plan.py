"""Which packets prove the pod network model: the probes, decided from the parties alone.

Pairs come in diagonals (first everyone with the next one, then everyone with the next but one, …), so that neighbouring
probes load different senders and receivers, and a sample of diagonals asks and tests every party equally often.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum

from nankeen.inspect.party import Cluster, Kind, Party
from nankeen.model.address import Family, IPAddress, family_of

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


def pairs(cluster: Cluster, sample: int | None = None) -> list[Pair]:
    """Every pair of a pod with another pod and with a node, both ways; with `sample`, about that many for each party.

    A pair is left out where the destination has no address of the family, or the source none to send from: that is a
    finding of its own.
    """
    found = []
    for family in cluster.families:
        for source, destination in _meetings(cluster.pods, cluster.nodes, sample):
            address = destination.address(family)
            if address is not None and source.address(family) not in (None, address):
                found.append(Pair(source, destination, address))
    return found


def reach_probes(found: Collection[Pair]) -> list[Probe]:
    """Whether each pair can talk, in every protocol."""
    return [Probe(pair, Aim.REACH, protocol) for protocol in Protocol for pair in found]


def size_probes(reached: Collection[Pair]) -> list[Probe]:
    """How large packets may be, for pairs that can talk at all. A pair of devices of different MTU is tried as well."""
    full = [Probe(pair, Aim.FULL_MTU, Protocol.ICMP, pair.mtu) for pair in reached]
    return full + [Probe(pair, Aim.TOO_LARGE, Protocol.ICMP, pair.mtu + OVERSIZE) for pair in reached]


def _meetings(pods: tuple[Party, ...], nodes: tuple[Party, ...], sample: int | None) -> Iterator[tuple[Party, Party]]:
    for offset in _offsets(1, len(pods), sample):
        for index, pod in enumerate(pods):
            yield pod, pods[(index + offset) % len(pods)]
    for offset in _offsets(0, len(pods), sample):
        for index, node in enumerate(nodes):
            pod = pods[(index + offset) % len(pods)]
            yield node, pod
            yield pod, node


def _offsets(first: int, end: int, sample: int | None) -> list[int]:
    """The diagonals from `first` to before `end`: all of them, or `sample` of them, evenly spread."""
    count = end - first
    if sample is None or sample >= count:
        return list(range(first, end))
    return [first + step * count // sample for step in range(sample)]


def is_local_refusal(pair: Pair) -> bool | None:
    """Whether the sender's own kernel must refuse a packet that is too large for the way (EMSGSIZE).

    It must when its device cannot send it. Otherwise the packet leaves, and a router must refuse it by ICMP. None where
    both are right: a node's device towards a pod may be the smallest of the way or not.
    """
    if pair.source.kind is Kind.NODE:
        return None
    return pair.source.mtu == pair.mtu
