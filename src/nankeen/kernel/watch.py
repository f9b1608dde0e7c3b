"""Whether somebody has changed a network namespace since: links, addresses, routes, rules, permanent neighbours, some
settings, and its packet filter. What hosts learn by themselves of each other does not count.
"""

from __future__ import annotations

import socket
from typing import Self

from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink import address, link, linkfacts, neighbour, nftables, route
from nankeen.kernel.netlink.message import attributes
from nankeen.kernel.netlink.netfilter import NetfilterSocket
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.state import Address, AddressFlag

# RTNLGRP_* (linux/rtnetlink.h): link, neighbour; of both families address, route, rule and netconf
_GROUPS = (1, 3, 5, 7, 8, 9, 11, 19, 24, 25)
_ROUTES = frozenset({route.RTM_NEWROUTE, route.RTM_DELROUTE})
_DESTINATION = 1
_OWN_LINK = (b"\xfe", b"\xff")
"""How link-local and multicast addresses begin (RFC 4291 §2.4)."""
_NEIGHBOURS = frozenset({neighbour.RTM_NEWNEIGH, neighbour.RTM_DELNEIGH})


class Watch:
    """Begins when it is made. Its methods raise `KernelError`."""

    def __init__(self, namespace: Namespace, query: NetlinkSocket) -> None:
        """`query` is one of that namespace, to ask by."""
        self._namespace = namespace
        self._query = query
        self._news = NetlinkSocket(namespace, _GROUPS)
        self.begin()

    def begin(self) -> None:
        """What has changed by now does not count any more."""
        self._news.heard()
        self._generation = self._count()
        bodies = [body for kind, body in self._query.dump(link.dump()) if kind == link.RTM_NEWLINK]
        self._names = dict(link.index_and_name(body) for body in bodies)
        self._links = {self._link(body) for body in bodies}
        self._addresses = {_address(body) for _, body in self._query.dump(address.dump())}
        self._is_other = False

    def has_changed(self) -> bool:
        """Whether somebody has changed anything since it began, or was begun again."""
        news = self._news.heard()
        if news is None or self._count() != self._generation or any(self._is_change(*each) for each in news):
            self._is_other = True
        return self._is_other

    def close(self) -> None:
        self._news.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _is_change(self, kind: int, body: bytes) -> bool:
        """Whether somebody did it. Neighbours come and go by themselves, but for permanent ones, and so do link-local
        addresses with their routes; links and addresses are told once more though they are the same.
        """
        if kind in _NEIGHBOURS:
            return neighbour.about(body)[1]
        if kind in _ROUTES:
            return not (body[0] == socket.AF_INET6 and attributes(body, 12).get(_DESTINATION, b"")[:1] in _OWN_LINK)
        if kind == address.RTM_NEWADDR:
            found, _ = told = _address(body)
            return told not in self._addresses and not (found is not None and found.interface.ip.is_link_local)
        if kind == link.RTM_NEWLINK:
            return not link.is_about_a_port(body) and self._link(body) not in self._links
        return True

    def _link(self, body: bytes) -> tuple[object, ...]:
        """All of a link that decides on packets: the kernel tells of more."""
        found = link.parse(body, self._names)
        return found, found.carrier, *linkfacts.parse(body)

    def _count(self) -> int:
        """How many transactions the packet filter has seen."""
        with NetfilterSocket(self._namespace) as netfilter:
            answer = netfilter.get(nftables.get_generation())
        return nftables.generation(answer[1]) if answer else 0


def _address(body: bytes) -> tuple[Address | None, AddressFlag | None]:
    index = address.index_of(body)
    found = address.parse(body, {index: str(index)})
    return found, found.flags if found is not None else None
