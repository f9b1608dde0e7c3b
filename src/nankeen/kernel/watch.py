"""Whether somebody has changed a network namespace since: links, addresses, routes, rules, permanent neighbours, some
settings, and its packet filter. What hosts learn by themselves of each other does not count.
"""

from __future__ import annotations

from typing import Self

from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink import link, neighbour, nftables
from nankeen.kernel.netlink.netfilter import NetfilterSocket
from nankeen.kernel.netlink.socket import NetlinkSocket

# RTNLGRP_* (linux/rtnetlink.h): link, neighbour; of both families address, route, rule and netconf
_GROUPS = (1, 3, 5, 7, 8, 9, 11, 19, 24, 25)
_NEIGHBOURS = frozenset({neighbour.RTM_NEWNEIGH, neighbour.RTM_DELNEIGH})


class Watch:
    """Begins when it is made. Its methods raise `KernelError`."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._news = NetlinkSocket(namespace, _GROUPS)
        self._generation = self._count()
        self._is_other = False

    def has_changed(self) -> bool:
        """Whether somebody has changed anything since it began, or was begun again."""
        news = self._news.heard()
        if news is None or self._count() != self._generation or any(_is_change(kind, body) for kind, body in news):
            self._is_other = True
        return self._is_other

    def begin(self) -> None:
        """What has changed by now does not count any more."""
        self._news.heard()
        self._generation = self._count()
        self._is_other = False

    def close(self) -> None:
        self._news.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _count(self) -> int:
        """How many transactions the packet filter has seen."""
        with NetfilterSocket(self._namespace) as socket:
            answer = socket.get(nftables.get_generation())
        return nftables.generation(answer[1]) if answer else 0


def _is_change(kind: int, body: bytes) -> bool:
    """Whether somebody did it: neighbours come and go by themselves, but for permanent ones."""
    if kind in _NEIGHBOURS:
        return neighbour.about(body)[1]
    return not (kind == link.RTM_NEWLINK and link.is_about_a_port(body))
