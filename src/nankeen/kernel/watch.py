"""Whether somebody has changed a network namespace since: links, addresses, routes, rules, permanent neighbours, some
settings, and its packet filter. What hosts learn by themselves of each other does not count.
"""

from __future__ import annotations

from typing import Self

from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink import address, link, neighbour, nftables
from nankeen.kernel.netlink.netfilter import NetfilterSocket
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.state import Address, AddressFlag

# RTNLGRP_* (linux/rtnetlink.h): link, neighbour; of both families address, route, rule and netconf
_GROUPS = (1, 3, 5, 7, 8, 9, 11, 19, 24, 25)
_NEIGHBOURS = frozenset({neighbour.RTM_NEWNEIGH, neighbour.RTM_DELNEIGH})


class Watch:
    """Begins when it is made. Its methods raise `KernelError`."""

    def __init__(self, namespace: Namespace, socket: NetlinkSocket) -> None:
        """`socket` is one of that namespace, to ask by."""
        self._namespace = namespace
        self._socket = socket
        self._news = NetlinkSocket(namespace, _GROUPS)
        self.begin()

    def begin(self) -> None:
        """What has changed by now does not count any more."""
        self._news.heard()
        self._generation = self._count()
        self._addresses = {_address(body) for _, body in self._socket.dump(address.dump())}
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
        """Whether somebody did it: neighbours come and go by themselves, but for permanent ones, and an address is told
        once more when nobody else was found to have it (RFC 4862 §5.4).
        """
        if kind in _NEIGHBOURS:
            return neighbour.about(body)[1]
        if kind == address.RTM_NEWADDR:
            return _address(body) not in self._addresses
        return not (kind == link.RTM_NEWLINK and link.is_about_a_port(body))

    def _count(self) -> int:
        """How many transactions the packet filter has seen."""
        with NetfilterSocket(self._namespace) as socket:
            answer = socket.get(nftables.get_generation())
        return nftables.generation(answer[1]) if answer else 0


def _address(body: bytes) -> tuple[Address | None, AddressFlag | None]:
    index = address.index_of(body)
    found = address.parse(body, {index: str(index)})
    return found, found.flags if found is not None else None
