"""The difference between two states, in an order that never breaks forwarding: build before you remove.

A route is added after the neighbour and forwarding entry it leads to, and removed before them, so no packet ever meets
half of a path. What is removed is only what a `Claim` covers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from nankeen.model.address import IPNetwork
from nankeen.model.state import (
    PROTOCOL_KERNEL,
    Address,
    ForwardingEntry,
    Link,
    Neighbour,
    Object,
    Route,
    State,
    Sysctl,
)

_BUILD_ORDER: dict[type[Object], int] = {Link: 0, Sysctl: 1, Address: 2, Neighbour: 3, ForwardingEntry: 4, Route: 5}


class Verb(Enum):
    """What happens to an object."""

    ADD = "+"
    REPLACE = "~"
    REMOVE = "-"


@dataclass(frozen=True, slots=True)
class Change:
    """One step. `observed` is what stands there before a replacement or removal."""

    verb: Verb
    object: Object
    observed: Object | None = None

    @property
    def recreates(self) -> bool:
        """Whether a link must be deleted and made anew, because its kind or a fixed attribute differs."""
        return (
            self.verb is Verb.REPLACE
            and isinstance(self.object, Link)
            and isinstance(self.observed, Link)
            and self.object.kind != self.observed.kind
        )

    def __str__(self) -> str:
        text = f"{self.verb.value} {self.object}"
        return f"{text}  (was: {self.observed})" if self.verb is Verb.REPLACE else text


@dataclass(frozen=True, slots=True)
class Claim:
    """What is ours to remove: our devices and what hangs on them.

    Of what hangs on our devices, addresses and routes outside `networks` are somebody else's: an administrator may
    route further networks through the fabric. Routes that the kernel made for an address go with that address.
    """

    devices: frozenset[str] = frozenset()
    networks: frozenset[IPNetwork] = frozenset()

    def covers(self, item: Object) -> bool:
        """Whether the object may be removed when it is not desired."""
        match item:
            case Link(name=name):
                return name in self.devices
            case Address(device=device, interface=interface):
                return device in self.devices and self._inside(interface.network)
            case Route(device=device, destination=destination, protocol=protocol):
                return device in self.devices and protocol != PROTOCOL_KERNEL and self._inside(destination)
            case Neighbour(device=device) | ForwardingEntry(device=device):
                return device in self.devices
            case Sysctl():
                return False

    def _inside(self, network: IPNetwork) -> bool:
        return any(
            network.version == ours.version and network.subnet_of(ours)  # type: ignore[arg-type]
            for ours in self.networks
        )

    def __or__(self, other: Claim) -> Claim:
        return Claim(self.devices | other.devices, self.networks | other.networks)


NOTHING = Claim()


def diff(desired: State, observed: State, claim: Claim = NOTHING) -> tuple[Change, ...]:
    """The changes that turn `observed` into `desired`, in the order to make them. Empty when they already agree."""
    build: list[Change] = []
    lost: set[str] = set()
    for identity, wanted in desired.items():
        found = observed.get(identity)
        if found is None:
            build.append(Change(Verb.ADD, wanted))
        elif not wanted.satisfied_by(found):  # type: ignore[arg-type]
            change = Change(Verb.REPLACE, wanted, found)
            build.append(change)
            if change.recreates and isinstance(wanted, Link):
                lost.add(wanted.name)
    remove = [
        Change(Verb.REMOVE, found, found)
        for identity, found in observed.items()
        if desired.get(identity) is None and claim.covers(found)
    ]
    lost.update(change.object.name for change in remove if isinstance(change.object, Link))
    if lost:  # what hangs on a device goes with it, and comes back by being added
        remove = [change for change in remove if change.object.device not in lost]
        standing = {change.object.identity for change in build}
        build = [Change(Verb.ADD, change.object) if change.object.device in lost else change for change in build]
        build += [
            Change(Verb.ADD, wanted)
            for identity, wanted in desired.items()
            if wanted.device in lost and identity not in standing
        ]
    build.sort(key=lambda change: _BUILD_ORDER[type(change.object)])
    remove.sort(key=lambda change: -_BUILD_ORDER[type(change.object)])
    return (*build, *remove)
