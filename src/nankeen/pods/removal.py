"""Pods' interfaces taken away: those whose turn comes at the same moment together.

The kernel waits for every device that goes until nothing uses it any more, some milliseconds with all links locked; of
a group of devices that goes at once, it waits once. Three hundred pods are gone as fast as three.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink import bridge, link
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.errors import KernelError
from nankeen.model.state import Veth
from nankeen.pods.attach import find, is_own

_GONE = frozenset({errno.ENODEV, errno.ENXIO})


class Remover:
    """Removes devices of the node. Whoever comes while it is busy is served with all others who came meanwhile."""

    def __init__(self) -> None:
        self._wanted: set[str] = set()
        self._turn = asyncio.Lock()

    async def remove(self, *names: str) -> frozenset[str]:
        """Those of the devices that were there; all are gone when this returns. Raises `KernelError`."""
        with NetlinkSocket() as node:
            standing = frozenset(name for name in names if node.index(name) is not None)
        if standing:
            await self._remove(standing)
        return standing

    async def _remove(self, names: AbstractSet[str]) -> None:
        self._wanted.update(names)
        async with self._turn:
            mine = self._wanted.intersection(names)
            if not mine:
                return  # somebody before removed them with his
            batch, self._wanted = self._wanted, set()
            try:
                await asyncio.to_thread(_remove_and_close, NetlinkSocket(), batch)
            except BaseException:
                self._wanted |= batch - mine  # the others hear of it themselves
                raise


def detach(name: str, interface: str, pod: Namespace | None) -> None:
    """Removes the pair whose end on the node has that name, or there is nothing to remove. Raises `KernelError`.

    Where there is none of that name, as when flannel's plugins made the pair, the veth `interface` inside the pod goes.
    """
    with NetlinkSocket() as node:
        standing = node.index(name) is not None
        remove_all(node, [name])
    if not standing and pod is not None:
        remove_inside(interface, pod)


def remove_inside(interface: str, pod: Namespace) -> None:
    """Removes the veth of that name from a pod, and from nowhere else; none is no error. Raises `KernelError`."""
    if is_own(pod):
        return
    with NetlinkSocket(pod) as inside:
        found = find(inside, interface)
        if found and link.parse(found, {}).kind == Veth():
            _request(inside, link.remove(link.index_and_name(found)[0]), interface)


def remove_all(node: NetlinkSocket, names: Iterable[str]) -> None:
    """Removes devices, those that are there. Raises `KernelError`."""
    indexes = {name: index for name in names if (index := node.index(name)) is not None}
    if len(indexes) == 1:
        ((name, index),) = indexes.items()
        _request(node, link.remove(index), name)
    elif indexes:
        # Nobody else has devices in a group of that number: it is one of a thousand million.
        group = 1 << 30 | secrets.randbits(30)
        told = list(indexes)
        for failure in node.batch([bridge.join_group(indexes[name], group) for name in told]):
            if failure.errno not in _GONE:
                raise KernelError(str(failure), where=told[failure.index], errno=failure.errno)
        _request(node, bridge.remove_group(group), f"{len(indexes)} pods' interfaces")


def _remove_and_close(node: NetlinkSocket, names: Iterable[str]) -> None:
    """The socket is in the node's namespace, wherever this thread is."""
    with node:
        remove_all(node, names)


def _request(there: NetlinkSocket, message: bytes, subject: str) -> None:
    try:
        there.request(message, subject)
    except KernelError as error:
        if error.errno not in _GONE:
            raise
