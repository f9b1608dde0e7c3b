"""A kernel on paper: what Linux makes of changes, as far as the laws of the loop depend on it.

What hangs on a link goes with it; a new hardware address drops the neighbours; an address brings its route, and takes
it along; two WireGuard peers of a device never have the same inner address.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from nankeen.kernel.steps import Refusal
from nankeen.model.address import HardwareAddress
from nankeen.model.diff import Change, Verb
from nankeen.model.state import (
    KERNEL,
    PROTOCOL_KERNEL,
    Address,
    Device,
    Identity,
    Link,
    Neighbour,
    Object,
    Route,
    State,
    Sysctl,
)
from nankeen.model.wireguard import WireguardDevice, WireguardPeer
from nankeen.model.xfrm import XfrmPolicy

_Kind = TypeVar("_Kind", bound=Object)

CHOSEN = HardwareAddress.parse("02:ff:00:00:00:01")
"""What the kernel gives a link that nobody chose an address for."""


class PaperKernel:
    """Takes the place of a netlink socket."""

    def __init__(self, objects: Iterable[Object]) -> None:
        self.objects: dict[Identity, Object] = {item.identity: item for item in objects}
        self.made: set[Identity] = set()
        """What the agent made, and what has not gone since."""
        self.refuses: Callable[[Change], bool] = lambda _: False
        self.applied = 0

    def apply(self, changes: Sequence[Change]) -> list[Refusal]:
        """As `nankeen.kernel.apply.apply`."""
        return [refusal for change in changes if (refusal := self._attempt(change)) is not None]

    def observe(self, sysctls: Iterable[str] = (), *, policies: bool = False) -> State:
        """As `nankeen.kernel.observe.observe`."""
        asked = set(sysctls)
        return State(
            item
            for item in self.objects.values()
            if (not isinstance(item, Sysctl) or item.path in asked) and (policies or not isinstance(item, XfrmPolicy))
        )

    def put(self, item: Object) -> None:
        """Somebody puts it there."""
        self._put(item)

    def remove(self, identity: Identity) -> None:
        """Whoever removes it, or takes what it hangs on: it goes, and what hangs on it."""
        item = self.objects.pop(identity, None)
        self.made.discard(identity)
        match item:
            case Link(name=name):
                for other in [other for other in self.objects.values() if other.device == name]:
                    self.remove(other.identity)
            case Address(device=device, interface=interface):
                route = self.objects.get(Route(interface.network, device, protocol=PROTOCOL_KERNEL).identity)
                if isinstance(route, Route) and (route.device, route.protocol) == (device, PROTOCOL_KERNEL):
                    self.remove(route.identity)

    def _attempt(self, change: Change) -> Refusal | None:
        item = change.object
        assert type(item) in KERNEL, f"{change} is nothing that the kernel holds"
        if self.refuses(change):
            return Refusal(change, errno.ENOBUFS, "No buffer space available")
        if change.verb is Verb.REMOVE:
            self.remove(item.identity)
            return None
        if item.device is not None and not self._is_there(item.device):
            return Refusal(change, errno.ENODEV, f"there is no device {item.device}")
        if change.recreates:
            self.remove(item.identity)
        self.applied += 1
        self._put(item)
        self.made.add(item.identity)
        return None

    def _is_there(self, device: str) -> bool:
        return (Link, device) in self.objects

    def _put(self, item: Object) -> None:
        match item:
            case Link():
                item = self._settled(item)
            case WireguardPeer(device=device, public_key=key, allowed_ips=inner):
                for other in self.of(WireguardPeer):
                    if other.device == device and other.public_key != key and other.allowed_ips & inner:
                        self.objects[other.identity] = replace(other, allowed_ips=other.allowed_ips - inner)
            case Address(device=device, interface=interface) if interface.network.num_addresses > 1:
                route = Route(interface.network, device, protocol=PROTOCOL_KERNEL, source=interface.ip)
                self.objects.setdefault(route.identity, route)
        self.objects[item.identity] = item

    def _settled(self, wanted: Link) -> Link:
        """The link, with what its maker left open."""
        stood = self.objects.get(wanted.identity)
        if isinstance(stood, Link) and wanted.address not in (None, stood.address):
            for neighbour in self.of(Neighbour):
                if neighbour.device == wanted.name:
                    self.remove(neighbour.identity)
        if stood is None and wanted.kind == Device("wireguard"):
            self.objects[WireguardDevice, wanted.name] = WireguardDevice(wanted.name, 0)
        before = stood if isinstance(stood, Link) else Link(wanted.name, wanted.kind, 1500, CHOSEN, txqlen=1000)
        return replace(
            wanted,
            mtu=before.mtu if wanted.mtu is None else wanted.mtu,
            address=wanted.address or before.address,
            master=wanted.master or before.master or "",
            txqlen=before.txqlen if wanted.txqlen is None else wanted.txqlen,
        )

    def of(self, kind: type[_Kind]) -> list[_Kind]:
        return [item for item in self.objects.values() if isinstance(item, kind)]
