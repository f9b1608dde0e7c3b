"""Whose turn it is: requests about one attachment in the order they came, others at the same time, and some alone.

A DEL that overtook its ADD would leave an interface; a garbage collection beside an ADD would take what it just made.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Turns:
    """The turns of all requests."""

    def __init__(self) -> None:
        self._gate = asyncio.Lock()
        self._turns: dict[Hashable, _Turn] = {}
        self._users = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def of(self, key: Hashable) -> AsyncIterator[None]:
        """Inside, nobody else is served who came with that key."""
        async with self._gate:
            turn = self._turns.setdefault(key, _Turn())
            turn.users += 1
            self._users += 1
            self._idle.clear()
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[key]
            self._users -= 1
            if not self._users:
                self._idle.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Inside, nobody else is served at all; who comes meanwhile waits."""
        async with self._gate:
            await self._idle.wait()
            yield
