"""The data path of one device: its queue, its sockets, and what goes between them."""

from __future__ import annotations

import select
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from ipaddress import ip_network

from nankeen.tunnel.control import Change, Report, Settings
from nankeen.tunnel.inbound import Inbound
from nankeen.tunnel.outbound import Outbound
from nankeen.tunnel.queue import Queue
from nankeen.tunnel.table import PeerTable
from nankeen.tunnel.underlay import Underlay


class DataPath:
    """Carries packets as long as its owner calls what `handlers` names, whenever one is readable."""

    def __init__(self, settings: Settings) -> None:
        """Raises `KernelError` where the device or a socket cannot be opened."""
        self.settings = settings
        self.handlers: dict[int, Callable[[], None]] = {}
        """What to call, by descriptor."""
        self._peers = PeerTable(own for item in settings.sockets for own in (item.subnet, ip_network(item.local)))
        self._drops: Counter[str] = Counter()
        self._underlays: dict[int, Underlay] = {}
        with ExitStack() as opened:
            self._queue = Queue(settings.device)
            opened.callback(self._queue.close)
            for item in settings.sockets:
                underlay = self._underlays[item.local.version] = Underlay(item.local, item.port)
                opened.callback(underlay.close)
            self._opened = opened.pop_all()
        addresses: dict[int, bytes] = {item.address.version: item.address.packed for item in settings.sockets}
        outbound = Outbound(self._queue, self._underlays, addresses, self._peers, self._drops)
        inbound = Inbound(self._queue, self._peers, self._drops)
        self.handlers[self._queue.fileno()] = outbound.run
        for underlay in self._underlays.values():
            self.handlers[underlay.fileno()] = partial(inbound.run, underlay)
        self._peers.configure(settings.peers)

    def takes(self, settings: Settings) -> bool:
        """Whether other settings ask for the same sockets and device, which stands; then their peers are the peers from
        now on.
        """
        if not self._queue.stands or (settings.device, settings.mtu, settings.sockets) != (
            self.settings.device,
            self.settings.mtu,
            self.settings.sockets,
        ):
            return False
        self.settings = settings
        self._peers.configure(settings.peers)
        return True

    def change(self, change: Change) -> None:
        """Some of the peers are others now."""
        self._peers.change(change.added, change.removed)

    def report(self) -> Report:
        """What has been done."""
        path = "; ".join([str(self._queue), *map(str, self._underlays.values())])
        return Report(path, self._peers.counters(), dict(self._drops))

    def known(self) -> Settings:
        """What it goes by: the peers as they are now."""
        return replace(self.settings, peers=tuple(self._peers.told(self.settings.device)))

    def register(self, poll: select.epoll) -> None:
        """Has its descriptors watched."""
        for descriptor in self.handlers:
            poll.register(descriptor, select.EPOLLIN)

    def is_dead(self, descriptor: int) -> bool:
        """Whether that is the queue of a device that was deleted."""
        return descriptor == self._queue.fileno() and not self._queue.stands

    def close(self) -> None:
        """Gives up its descriptors, also those that are watched."""
        self._opened.close()
