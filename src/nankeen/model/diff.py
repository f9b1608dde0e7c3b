"""The difference between two states, in an order that never breaks forwarding: build before you remove.

A route leads to a neighbour, whose hardware address leads to a forwarding entry: each is added after what it leads to
and removed before it, so no packet ever meets half of a path. IPsec policies come first and go last: none ever leaves
in the clear meanwhile. What is removed is only what a `Claim` covers.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import Enum

from nankeen.model.address import IPNetwork
from nankeen.model.hook import Hook
from nankeen.model.ike import IkeConnection, IkeSecret
from nankeen.model.state import (
    KERNEL,
    PROTOCOL_KERNEL,
    PROTOCOL_NANKEEN,
    Address,
    ForwardingEntry,
    Link,
    Neighbour,
    Object,
    Route,
    State,
    Sysctl,
)
from nankeen.model.tunnel import TunnelPeer, TunnelSocket
from nankeen.model.wireguard import WireguardDevice, WireguardPeer
from nankeen.model.xfrm import REQID, XfrmPolicy

_BUILD_ORDER: dict[type[Object], int] = {
    kind: place
    for place, kind in enumerate([
        XfrmPolicy, Link, WireguardDevice, WireguardPeer, Sysctl, Address, ForwardingEntry, Neighbour, Route,
        IkeSecret, IkeConnection, TunnelSocket, TunnelPeer, Hook,
    ])
}  # fmt: skip


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
    def readdresses(self) -> bool:
        """Whether a link gets another hardware address.

        The kernel then drops all its neighbours, also permanent ones (neigh_changeaddr in net/core/neighbour.c).
        """
        return (
            self.verb is Verb.REPLACE
            and isinstance(self.object, Link)
            and isinstance(self.observed, Link)
            and self.object.address not in (None, self.observed.address)
        )

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
    route further networks through the fabric. Routes that the kernel made for an address go with that address. Of an
    underlay device nothing is ours but routes to pods that carry our own protocol number. Of IPsec's policies, those
    are ours that carry our request ID and are about the pod network on both sides.
    """

    devices: frozenset[str] = frozenset()
    networks: frozenset[IPNetwork] = frozenset()
    underlays: frozenset[str] = frozenset()
    policies: bool = False
    """Whether there may be policies of ours."""

    def covers(self, item: Object) -> bool:
        """Whether the object may be removed when it is not desired."""
        match item:
            case Link(name=name):
                return name in self.devices
            case Address(device=device, interface=interface):
                return device in self.devices and self._inside(interface.network)
            case Route(device=device, destination=destination, protocol=protocol):
                if item.blackhole:
                    return protocol == PROTOCOL_NANKEEN and self._inside(destination)
                if device in self.devices:
                    return protocol != PROTOCOL_KERNEL and self._inside(destination)
                return device in self.underlays and protocol == PROTOCOL_NANKEEN and self._inside(destination)
            case Neighbour(device=device) | ForwardingEntry(device=device) | WireguardPeer(device=device):
                return device in self.devices
            case XfrmPolicy(source=source, destination=destination, tunnel=tunnel):
                ours = self.policies and tunnel.reqid == REQID
                return ours and self._inside(source) and self._inside(destination)
            case IkeConnection(local_subnet=source, remote_subnet=destination):
                return self._inside(source) and self._inside(destination)
            case IkeSecret() | Hook() | TunnelSocket() | TunnelPeer():
                return True  # only our own are ever observed
            case _:  # settings, which stay as they are, and kinds that are only read
                return False

    def _inside(self, network: IPNetwork) -> bool:
        return any(
            network.version == ours.version and network.subnet_of(ours)  # type: ignore[arg-type]
            for ours in self.networks
        )

    def __or__(self, other: Claim) -> Claim:
        return Claim(
            self.devices | other.devices,
            self.networks | other.networks,
            self.underlays | other.underlays,
            self.policies or other.policies,
        )


NOTHING = Claim()


def diff(
    desired: State, observed: State, claim: Claim = NOTHING, kinds: AbstractSet[type[Object]] = KERNEL
) -> tuple[Change, ...]:
    """The changes that turn `observed` into `desired`, in the order to make them. Empty when they already agree.

    Only objects of these kinds are compared: by default those that the kernel holds.

    What hangs on a link that must be recreated goes with it, also what somebody else put there; what is desired of it
    comes back.
    """
    standing = _standing(desired, observed)
    build = [
        change
        for identity, wanted in desired.items()
        if type(wanted) in kinds and (change := _towards(wanted, standing.get(identity))) is not None
    ]
    remove = [
        Change(Verb.REMOVE, found, found)
        for identity, found in standing.items()
        if desired.get(identity) is None and type(found) in kinds and claim.covers(found)
    ]
    gone = {change.object.name for change in remove if isinstance(change.object, Link)}
    remove = [change for change in remove if change.object.device not in gone]
    build.sort(key=lambda change: _rank(change.object))
    remove.sort(key=lambda change: _rank(change.object), reverse=True)
    return (*build, *remove)


def _towards(wanted: Object, found: Object | None) -> Change | None:
    """The change that one object needs by itself."""
    if found is None:
        return Change(Verb.ADD, wanted)
    if wanted.satisfied_by(found):  # type: ignore[arg-type]  # of one identity, hence of one type
        return None
    return Change(Verb.REPLACE, wanted, found)


def _standing(desired: State, observed: State) -> State:
    """What is left of the observed state once links have been recreated and have got other hardware addresses."""
    changes = [change for link in desired.of(Link) if (change := _towards(link, observed.get(link.identity)))]
    remade = {str(change.object.identity[1]) for change in changes if change.recreates}
    readdressed = {str(change.object.identity[1]) for change in changes if change.readdresses}
    if not remade and not readdressed:
        return observed
    return State(left for item in observed if (left := _left(item, remade, readdressed)) is not None)


def _left(item: Object, remade: AbstractSet[str], readdressed: AbstractSet[str]) -> Object | None:
    """What becomes of an object when these links are recreated and those get another hardware address."""
    match item:
        case Link(master=master) if master in remade:
            return replace(item, master="")
        case Neighbour(device=device) if device in readdressed:
            return None
    return None if item.device in remade else item


def _rank(item: Object) -> tuple[int, bool]:
    """Its place in the order of building: by type, and a bridge before its ports."""
    return _BUILD_ORDER[type(item)], isinstance(item, Link) and bool(item.master)
