"""What happened in a registry between two snapshots of it: who joined, left or moved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Literal

from nankeen.model.lease import Lease
from nankeen.model.netconf import NetworkConfig
from nankeen.registry import Registry, Snapshot

LOOK_SECONDS = 2.0
"""How often to look for renewals, which a registry does not tell of: no packet depends on them."""

What = Literal["joined", "left", "moved", "changed", "renewed", "rejected", "cleared", "configured"]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `lease` is the node's as it is now, or was before it left."""

    what: What
    node: str = ""
    lease: Lease | None = None
    detail: str = ""
    """In words: where it moved, why it was rejected, what the cluster's backend is now."""


def events(before: Snapshot, after: Snapshot) -> Iterator[Event]:
    """What happened between the two, in the order of nodes' names."""
    if before.config != after.config:
        yield Event("configured", detail=_cluster(after.config))
    for node in sorted({*before.leases, *after.leases}):
        one, other = before.leases.get(node), after.leases.get(node)
        if one is not other:
            yield from _of_node(node, one, other)
    yield from _rejections(before.rejected, after.rejected)


async def follow(registry: Registry, *, renewals: bool = False) -> AsyncGenerator[Snapshot, None]:
    """The registry as it is now, and again after each change; with `renewals` also when only an expiry has changed.

    Raises `RegistryError` and `ConfigError`.
    """
    async with aclosing(registry.watch()) as snapshots:
        if not renewals:
            async for snapshot in snapshots:
                yield snapshot
            return
        heard = asyncio.Event()
        listener = asyncio.create_task(_listen(snapshots, heard))
        try:
            while not listener.done():
                heard.clear()
                yield await registry.snapshot()
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await heard.wait()
            listener.result()
        finally:
            listener.cancel()
            await asyncio.wait([listener])


async def _listen(snapshots: AsyncGenerator[Snapshot, None], heard: asyncio.Event) -> None:
    try:
        async for _ in snapshots:
            heard.set()
    finally:
        heard.set()


def _cluster(config: NetworkConfig) -> str:
    """Without options: there may be secrets among them."""
    backends = ", ".join(item.type for item in (config.backend, *config.fallbacks))
    return f"{' and '.join(map(str, config.networks))} by {backends}"


def _of_node(node: str, before: Lease | None, after: Lease | None) -> Iterator[Event]:
    if after is None:
        yield Event("left", node, before)
    elif before is None:
        yield Event("joined", node, after)
    elif _place(before) != _place(after):
        yield Event("moved", node, after, f"from {_shown(before)} to {_shown(after)}")
    elif replace(before, expires=None) != replace(after, expires=None):
        yield Event("changed", node, after, _difference(before, after))
    elif before.expires != after.expires:
        yield Event("renewed", node, after)


def _place(lease: Lease) -> tuple[object, ...]:
    """Where its pods are, and where it is reached."""
    return tuple((endpoint.subnet, endpoint.reach.address) for endpoint in lease.endpoints)


def _shown(lease: Lease) -> str:
    return " and ".join(f"{endpoint.subnet} at {endpoint.reach.address}" for endpoint in lease.endpoints)


def _difference(before: Lease, after: Lease) -> str:
    one, other = _backends(before), _backends(after)
    return f"from {one} to {other}" if one != other else f"other data for {other}"


def _backends(lease: Lease) -> str:
    """The backend that it names first, and those that it offers."""
    return ", ".join(way.backend or "no backend" for way in lease.ways)


def _rejections(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Event]:
    for key in sorted({*before, *after}):
        if key not in after:
            yield Event("cleared", key, detail="nothing of it is rejected any more")
        elif before.get(key) != after[key]:
            yield Event("rejected", key, detail=after[key])
