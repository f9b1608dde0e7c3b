"""The kernel's own news of what changes in a network namespace: links, addresses, neighbours, routes, and settings."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Self

from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink import address, link, neighbour, route
from nankeen.kernel.netlink.socket import NetlinkSocket, split
from nankeen.kernel.observe import names
from nankeen.model.errors import KernelError
from nankeen.model.state import Address, ForwardingEntry, Link, Neighbour, Route, Sysctl

# RTNLGRP_* (linux/rtnetlink.h): link, neighbour, and address, route and netconf of both families
_GROUPS = (1, 3, 5, 7, 9, 11, 24, 25)
_RTM_NEWNETCONF, _RTM_DELNETCONF = 80, 81

Kind = type[Link] | type[Address] | type[Neighbour] | type[ForwardingEntry] | type[Route] | type[Sysctl]


@dataclass(frozen=True, slots=True)
class Event:
    """Something of this kind changed on this device ("" where it is about none, or one that has gone).

    `kind` None means that news were lost, because there were more than the socket holds: anything may have changed.
    """

    kind: Kind | None
    device: str = ""


class Monitor:
    """Yields the events that others cause, a batch at a time.

    What is done through a socket whose port is in `own_ports` is passed over, as far as the kernel tells who did it.
    """

    def __init__(self, namespace: Namespace | None = None, own_ports: frozenset[int] = frozenset()) -> None:
        """Listens from now on. Raises `KernelError`."""
        self._own_ports = own_ports
        self._socket = NetlinkSocket(namespace, _GROUPS)
        with NetlinkSocket(namespace) as query:
            self._names = names(query)

    async def batches(self) -> AsyncIterator[list[Event]]:
        """What happened since, in order; never an empty list."""
        while True:
            try:
                data = await self._socket.receive()
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError(f"netlink monitor: {error.strerror}", errno=error.errno or 0) from error
                yield [Event(None)]
                continue
            events = [event for kind, _, _, port, body in split(data) if (event := self._event(kind, port, body))]
            if events:
                yield events

    def _event(self, kind: int, port: int, body: bytes) -> Event | None:
        match kind:
            case link.RTM_NEWLINK | link.RTM_DELLINK:
                index, name = link.index_and_name(body)
                if kind == link.RTM_NEWLINK:
                    self._names[index] = name
                else:
                    self._names.pop(index, None)
                event = Event(Link, name)
            case address.RTM_NEWADDR | address.RTM_DELADDR:
                event = Event(Address, self._names.get(address.index_of(body), ""))
            case route.RTM_NEWROUTE | route.RTM_DELROUTE:
                event = Event(Route, self._names.get(route.index_of(body), ""))
            case neighbour.RTM_NEWNEIGH | neighbour.RTM_DELNEIGH:
                index, permanent = neighbour.about(body)
                if not permanent:
                    return None
                event = Event(Neighbour, self._names.get(index, ""))
            case _ if kind in (_RTM_NEWNETCONF, _RTM_DELNETCONF):
                event = Event(Sysctl)
            case _:
                return None
        return None if port in self._own_ports else event

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
