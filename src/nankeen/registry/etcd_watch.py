"""Following an etcd registry: one read, then what the server tells of it.

A connection that broke, a server that has forgotten where we were (compaction) and one that has gone back to an older
copy are one case: everything is read again. To go on from the revision that one knows would save that read, but a
restored copy can have grown past it unseen, and then a peer would be missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from nankeen.model.errors import RegistryError
from nankeen.model.printable import printable
from nankeen.registry import Snapshot
from nankeen.registry.etcd_client import EtcdClient, EtcdWatch
from nankeen.registry.etcd_layout import Contents
from nankeen.registry.etcd_view import EtcdView
from nankeen.registry.etcdrpc import rpc_pb2 as rpc

BURST_INTERVAL = 0.03
"""Least seconds between two snapshots: a change alone comes at once, those of a burst come together."""
LONGEST_PAUSE = 0.15
"""Most seconds between them: whoever takes long over a snapshot, on a busy machine, is told of more at a time."""

_LONGEST = 200
"""Characters of a reason that are told."""
_REMEDY = "give the user's role read below the prefix"

_log = logging.getLogger("nankeen.registry")


@dataclass(frozen=True, slots=True)
class EtcdFollower:
    """One watch, from one read to the moment when everything must be read again."""

    client: EtcdClient
    view: EtcdView

    async def follow(self, contents: Contents, written: int = 0) -> AsyncGenerator[Snapshot, None]:
        """Snapshots, beginning with `contents`; with what came after them until revision `written`, if that is later.

        Ends when everything must be read again; raises `RegistryError`.
        """
        self._tell_restored(contents.revision)
        self.view.replace(contents)
        async with self.client.watch(self._request()) as news:
            if not self._goes_on(news.opened):
                return
            if news.opened.header.revision < max(written, self.view.contents.revision):
                await asyncio.sleep(LONGEST_PAUSE)  # it was restored just now, or another member answers, which is late
                return
            while self.view.contents.revision < written:
                if not self._fold(await news.read()):
                    return
            async with aclosing(self._told(news)) as snapshots:
                async for snapshot in snapshots:
                    yield snapshot

    async def _told(self, news: EtcdWatch) -> AsyncGenerator[Snapshot, None]:
        clock = asyncio.get_running_loop().time
        due = 0.0
        while True:
            if self.view.changed and clock() >= due:
                looked = clock()
                yield self.view.told()
                due = clock() + min(max(BURST_INTERVAL, 3 * (clock() - looked)), LONGEST_PAUSE)
            response = await news.read(max(due - clock(), 0) if self.view.changed else None)
            if response is not None and not self._fold(response):
                return

    def _fold(self, response: rpc.WatchResponse | None) -> bool:
        """Takes what the server told; whether it goes on telling."""
        if response is None or not self._goes_on(response):
            return False
        self.view.fold(response)
        return True

    def _goes_on(self, response: rpc.WatchResponse) -> bool:
        """Whether the server goes on telling; raises `RegistryError` where it will not tell us at all."""
        if not response.canceled:
            return True
        if not response.compact_revision:
            reason = printable(response.cancel_reason, _LONGEST)
            raise RegistryError(f"does not let us watch ({reason})", where=self.client.where, remedy=_REMEDY)
        _log.info("%s has forgotten revision %d: all is read again", self.client.where, self.view.contents.revision)
        return False

    def _request(self) -> rpc.WatchCreateRequest:
        first, end = self.view.layout.everything
        return rpc.WatchCreateRequest(key=first, range_end=end, start_revision=self.view.contents.revision + 1)

    def _tell_restored(self, revision: int) -> None:
        before = self.view.contents.revision
        if revision < before:
            _log.warning(
                "%s was restored from an older copy: it was at revision %d, and is at %d. All is read again",
                *(self.client.where, before, revision),
            )
