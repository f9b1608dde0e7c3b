"""Writing to etcd: read, decide, and write where nobody has come between; else once more.

What expires hangs on an etcd lease, which is granted only when there is something to hang on it, and given back when
nothing came of it: never where a write was not answered, which may have been carried out all the same.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from nankeen.model.errors import NankeenError, RegistryError
from nankeen.model.lease import Lease
from nankeen.model.leasevalue import decode, encode
from nankeen.registry.etcd_client import EtcdClient
from nankeen.registry.etcd_layout import Contents, Layout
from nankeen.registry.etcd_transaction import Plan

PERSISTENCE = 30.0
"""Seconds in which to try again where others were quicker."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.005, 0.25
"""Seconds between two tries at most, at first and at last: drawn, so that those who collided do not meet again."""


class Written(NamedTuple):
    """What came of it."""

    contents: Contents
    """What it was based on, or what came of that, where nobody wrote anything to etcd in between."""
    revision: int
    """Of what was written."""
    lease: Lease | None
    """As all others will read it."""


class _Life(NamedTuple):
    """The etcd lease that a plan hangs its keys on."""

    lease: int = 0
    expires: float | None = None
    is_granted: bool = False
    """Whether it was made for this."""


@dataclass(frozen=True, slots=True)
class EtcdWriter:
    """Carries out plans."""

    client: EtcdClient
    layout: Layout
    lease_seconds: int
    clock: Callable[[], float]

    async def write(self, read: Callable[[], Awaitable[Contents]], decide: Callable[[Contents], Plan]) -> Written:
        """Carries out what `decide` makes of what `read` finds. Raises what those raise, and `RegistryError`."""
        deadline, life, in_doubt = time.monotonic() + PERSISTENCE, _Life(), False
        try:
            for attempt in count():
                contents = await read()
                plan = decide(contents)
                if not plan.puts and not plan.deletes:
                    await self._give_back(life)
                    return Written(contents, contents.revision, plan.lease)
                life = await self._life(plan, life)
                in_doubt = True
                answer = await self.client.transact(plan.request(self.layout, life.lease, life.expires))
                if answer.succeeded:
                    revision = answer.header.revision
                    if revision == contents.revision + 1:
                        plan.carry_out(contents, revision, life.lease, life.expires)
                    return Written(contents, revision, _stored(plan, life))
                in_doubt = False
                await self._pause(attempt, deadline)
        except NankeenError:
            if not in_doubt:
                await self._give_back(life)
            raise
        raise AssertionError("there is no end to counting")

    async def _pause(self, attempt: int, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise RegistryError("others always come first", where=self.client.where, remedy="try again")
        longest = min(SHORTEST_PAUSE * 2**attempt, LONGEST_PAUSE)
        await asyncio.sleep(random.uniform(0, longest))  # noqa: S311  (no secret)

    async def _life(self, plan: Plan, life: _Life) -> _Life:
        """The etcd lease for a plan: the one that its node has, if that can begin anew, else a new one."""
        if not plan.expires or life.lease:
            return life
        if plan.etcd_lease:
            seconds = await self.client.keep_alive(plan.etcd_lease)
            if seconds >= self.lease_seconds:
                return _Life(plan.etcd_lease, self.clock() + seconds)
        granted = await self.client.grant(self.lease_seconds)
        return _Life(granted.ID, self.clock() + granted.TTL, is_granted=True)

    async def _give_back(self, life: _Life) -> None:
        if life.is_granted:
            with suppress(RegistryError):  # then it expires by itself
                await self.client.revoke(life.lease)


def _stored(plan: Plan, life: _Life) -> Lease | None:
    if plan.lease is None:
        return None
    expires = None if plan.puts[0].is_kept else life.expires
    return decode(encode(plan.lease), plan.lease.subnets, plan.lease.node, expires)
