"""The doorbell: how one process learns that another committed to the same database file.

A writer rings by setting the timestamps of the database file after its commit; a watcher hears it through inotify(7).
Watching the write-ahead log instead would need no ringing, but its bytes are written before the commit can be read,
so a watcher may look too early and then never again; and the log is deleted and made anew. The database file is always
there, and no further file can be lost, left over or have the wrong owner. The watch is on the directory, because that
also hears the file being replaced or removed.

A ring can be missed (a writer killed between commit and ring), so nobody sleeps longer than `LONGEST_SLEEP`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from asyncinotify import Inotify, Mask

LONGEST_SLEEP = 30.0
"""Seconds after which a watcher looks at the registry although nobody rang."""
POLL_INTERVAL = 1.0
"""Seconds between two looks where the kernel gives no inotify instance (their number is limited for each user)."""

_RING = Mask.ATTRIB | Mask.CREATE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.DELETE | Mask.DELETE_SELF | Mask.MOVE_SELF

logger = logging.getLogger(__name__)


def ring(path: Path) -> None:
    """Wakes who listens to that file, in any process. Raises `OSError` when the file is gone."""
    os.utime(path)


class Doorbell:
    """Listens to one file from the moment it is made; closed as a context manager."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._inotify: Inotify | None = None
        try:
            self._inotify = Inotify()
            self._inotify.add_watch(path.parent, _RING)
        except OSError as error:
            logger.warning("%s: no inotify (%s), looking for changes every %g s", path, error.strerror, POLL_INTERVAL)
            self.close()

    async def wait(self, seconds: float) -> None:
        """Waits for the file to be rung, replaced or removed, that many seconds at most. It may return early."""
        if self._inotify is None:
            await asyncio.sleep(min(seconds, POLL_INTERVAL))
            return
        try:
            async with asyncio.timeout(min(seconds, LONGEST_SLEEP)):
                while (await self._inotify.get()).name not in (None, Path(self._name)):
                    pass
        except TimeoutError:
            return

    def close(self) -> None:
        """Stops listening."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
