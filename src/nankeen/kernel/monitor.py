"""The kernel's own news of what changes in a network namespace: links, addresses, neighbours, routes, and settings."""

from __future__ import annotations

import errno
import struct
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Self

from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink import address, link, neighbour, route
from nankeen.kernel.netlink.message import attributes
from nankeen.kernel.netlink.socket import ROUTE, NetlinkSocket, split
from nankeen.kernel.observe import names
from nankeen.model.diff import Claim
from nankeen.model.errors import KernelError
from nankeen.model.state import Address, ForwardingEntry, Link, Neighbour, Object, Route, State, Sysctl

# RTNLGRP_* (linux/rtnetlink.h): link, neighbour, and address, route and netconf of both families
_GROUPS = (1, 3, 5, 7, 9, 11, 24, 25)
_RTM_NEWNETCONF, _RTM_DELNETCONF = 80, 81
_NETCONFMSG_SIZE, _NETCONFA_IFINDEX, _INDEX = 4, 1, struct.Struct("=i")  # linux/netconf.h
_REMOVALS = frozenset({link.RTM_DELLINK, address.RTM_DELADDR, route.RTM_DELROUTE, neighbour.RTM_DELNEIGH})

Kind = type[Link] | type[Address] | type[Neighbour] | type[ForwardingEntry] | type[Route] | type[Sysctl]


@dataclass(frozen=True, slots=True)
class Event:
    """Something of this kind changed on this device ("" where it is about none, or one that has gone).

    `kind` None means that news were lost, because there were more than the socket holds: anything may have changed.
    """

    kind: Kind | None
    device: str = ""
    object: Object | None = None
    """What it is now, or was before it went; None where the news does not say, or it is of no kind that we know."""
    gone: bool = False
    """It is there no more, or, of a neighbour, not as a permanent one."""

    def contradicts(self, desired: State, claim: Claim) -> bool:
        """Whether, by this news, the kernel holds something else than what is desired, or something of ours besides."""
        if self.object is None:
            return self.kind is None or (self.kind is Sysctl and self._concerns_a_setting(desired))
        wanted = desired.get(self.object.identity)
        if self.gone:
            return wanted is not None
        if wanted is None:
            return claim.covers(self.object)
        return not wanted.satisfied_by(self.object)  # type: ignore[arg-type]  # of one identity

    def _concerns_a_setting(self, desired: State) -> bool:
        return not self.device or any(setting.device == self.device for setting in desired.of(Sysctl))


class Monitor:
    """Yields the events that others cause, a batch at a time.

    What is done through a socket whose port is in `own_ports` is passed over, as far as the kernel tells who did it.
    """

    def __init__(self, namespace: Namespace | None = None, own_ports: frozenset[int] = frozenset()) -> None:
        """Listens from now on. Raises `KernelError`."""
        self._own_ports = own_ports
        self._socket = NetlinkSocket(namespace, _GROUPS)
        self._learn_names()

    async def batches(self) -> AsyncIterator[list[Event]]:
        """What happened since, in order; never an empty list."""
        while True:
            try:
                news = await self._socket.receive()
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError(f"netlink monitor: {error.strerror}", errno=error.errno or 0) from error
                self._learn_names()
                yield [Event(None)]
                continue
            events = [event for kind, port, body in _latest(news) if (event := self._event(kind, port, body))]
            if events:
                yield events

    def _learn_names(self) -> None:
        with self._socket.sibling(ROUTE) as query:
            self._names = names(query)

    def _event(self, kind: int, port: int, body: bytes) -> Event | None:
        gone = kind in _REMOVALS
        match kind:
            case link.RTM_NEWLINK | link.RTM_DELLINK:
                event = self._link(body, gone=gone)
            case address.RTM_NEWADDR | address.RTM_DELADDR:
                device = self._names.get(address.index_of(body), "")
                event = Event(Address, device, address.parse(body, self._names), gone)
            case route.RTM_NEWROUTE | route.RTM_DELROUTE:
                device = self._names.get(route.index_of(body), "")
                event = Event(Route, device, route.parse(body, self._names), gone)
            case neighbour.RTM_NEWNEIGH | neighbour.RTM_DELNEIGH:
                index, permanent = neighbour.about(body)
                parse = neighbour.parse if permanent and not gone else neighbour.parse_ended
                found = parse(body, self._names)
                event = Event(Neighbour, self._names.get(index, ""), found, gone or not permanent)
            case _ if kind in (_RTM_NEWNETCONF, _RTM_DELNETCONF):
                event = self._setting(body)
            case _:
                return None
        return None if port in self._own_ports else event

    def _link(self, body: bytes, *, gone: bool) -> Event | None:
        if link.is_about_a_port(body):
            return None
        index, found = link.index_of(body), link.parse(body, self._names)
        self._names[index] = found.name
        if gone:
            del self._names[index]
        return Event(Link, found.name, found, gone)

    def _setting(self, body: bytes) -> Event | None:
        """Which setting it is, the news does not always say. That a device has some, as it is made, says nothing."""
        (index,) = _INDEX.unpack(attributes(body, _NETCONFMSG_SIZE)[_NETCONFA_IFINDEX])
        if index <= 0:  # NETCONFA_IFINDEX_ALL, and that of the devices to come
            return Event(Sysctl)
        return Event(Sysctl, self._names[index]) if index in self._names else None

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _latest(news: Iterable[bytes]) -> Iterable[tuple[int, int, bytes]]:
    """Messages as type, port ID and body. A link that is told of several times is told of once, at first, as it is now:
    the kernel tells of every step in which a pod's interface is made.
    """
    found: list[tuple[int, int, bytes]] = []
    told: dict[tuple[int, int], int] = {}
    for data in news:
        for kind, _, _, port, body in split(data):
            if kind == link.RTM_NEWLINK and not link.is_about_a_port(body):
                place = told.setdefault((link.index_of(body), port), len(found))
                if place < len(found):
                    found[place] = kind, port, body
                    continue
            elif kind == link.RTM_DELLINK:
                told.clear()
            found.append((kind, port, body))
    return found
