"""Who takes part in a verification: the pods and nodes of a cluster, as found in their own network namespaces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from nankeen.model.address import Family, IPAddress, family_of


class Kind(Enum):
    """What a party is."""

    POD = "pod"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Party:
    """One pod or node."""

    name: str
    kind: Kind
    namespace: Path
    """Where its network namespace can be opened."""
    assigned: tuple[IPAddress, ...]
    """The addresses it was given: by the CNI result for a pod, its underlay addresses for a node."""
    addresses: tuple[IPAddress, ...]
    """Every address that its own devices hold, but for loopback and link-local ones."""
    mtu: int | None = None
    """Largest packet that a pod's device sends, in bytes, IP header included; None for a node, which has many."""
    node: str = ""
    """The node that it is on, or is; empty where that is not known."""

    def address(self, family: Family) -> IPAddress | None:
        """Where others reach it: its assigned address where its devices hold that, else the first that they hold."""
        held = [address for address in self.addresses if family_of(address) is family]
        return next((address for address in self.assigned if address in held), held[0] if held else None)


@dataclass(frozen=True, slots=True)
class Cluster:
    """The parties, under one name."""

    name: str
    parties: tuple[Party, ...]

    @property
    def pods(self) -> tuple[Party, ...]:
        return tuple(party for party in self.parties if party.kind is Kind.POD)

    @property
    def nodes(self) -> tuple[Party, ...]:
        return tuple(party for party in self.parties if party.kind is Kind.NODE)

    @property
    def families(self) -> tuple[Family, ...]:
        """The families that any pod was given or holds an address of, IPv4 first."""
        return families(address for pod in self.pods for address in (*pod.assigned, *pod.addresses))

    def holders(self, address: IPAddress) -> tuple[str, ...]:
        """The names of those whose devices hold an address."""
        return tuple(party.name for party in self.parties if address in party.addresses)


def families(addresses: Iterable[IPAddress]) -> tuple[Family, ...]:
    """The families among addresses, IPv4 first."""
    return tuple(sorted({family_of(address) for address in addresses}, key=lambda family: family.value))
