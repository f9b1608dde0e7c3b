"""The registry of clusters without Kubernetes: etcd, by flannel's keys, values and leases.

Where things stand is told by `etcd_layout`, what is written and when by `etcd_plan`. A start is one read of everything
below the prefix and one watch; a lease is one write when it is acquired and one when it is renewed; whoever waits
writes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import NamedTuple

from nankeen.model.address import IPNetwork
from nankeen.model.errors import ConfigError, RegistryConflict, RegistryError
from nankeen.model.lease import LEASE_SECONDS, Lease, Offer, Reach
from nankeen.model.leasevalue import key
from nankeen.model.netconf import NetworkConfig
from nankeen.registry import Registry, Snapshot, etcd_plan, etcd_settings
from nankeen.registry.etcd_client import PATIENCE, EtcdClient
from nankeen.registry.etcd_layout import Contents, Layout
from nankeen.registry.etcd_settings import EtcdSettings
from nankeen.registry.etcd_view import EtcdView, config_text, parse_config
from nankeen.registry.etcd_watch import EtcdFollower
from nankeen.registry.etcd_writer import EtcdWriter
from nankeen.registry.etcdrpc import rpc_pb2 as rpc

__all__ = ["EtcdRegistry", "EtcdSettings", "open_at", "open_etcd"]

FRESH = 10.0
"""Seconds in which a watch goes on from what was read for an acquisition, without reading it again."""
RECONNECT = 1.0
"""Seconds that a connection must have held for another to be tried at once."""

_log = logging.getLogger("nankeen.registry")


def open_etcd(settings: EtcdSettings) -> Registry:
    """The registry in that etcd cluster. It is spoken to at first use, so nothing is raised here."""
    return EtcdRegistry(settings)


def open_at(rest: str) -> Registry:
    """The registry at `etcd://{rest}`: see `nankeen.registry.etcd_settings`. Raises `InputError`."""
    return open_etcd(etcd_settings.parse(rest))


class _Known(NamedTuple):
    """What was read for an acquisition, and the revision of what came of it."""

    contents: Contents
    written: int
    until: float
    """When it is too old to go on from, by the monotonic clock."""


class EtcdRegistry:
    """The registry in etcd. Implements `nankeen.registry.Registry`."""

    def __init__(
        self,
        settings: EtcdSettings,
        *,
        lease_seconds: int = LEASE_SECONDS,
        clock: Callable[[], float] = time.time,
        patience: float = PATIENCE,
    ) -> None:
        """`patience` is how many seconds to wait for an answer. The `clock` only tells when a lease will have expired:
        whether it has is for etcd to say.
        """
        self._layout = Layout(settings.root)
        self._client = EtcdClient(settings, patience)
        self._writer = EtcdWriter(self._client, self._layout, lease_seconds, clock)
        self._clock = clock
        self._view = EtcdView(self._layout, clock)
        self._known: _Known | None = None

    async def config(self) -> NetworkConfig:
        return NetworkConfig.parse(await self.configuration())

    async def configuration(self) -> str:
        return config_text((await self._read([self._layout.config])).config)

    async def configure(self, text: str, basis: int) -> None:
        NetworkConfig.parse(text)
        current = await self._read_all()
        request = etcd_plan.configuration(current, text)
        if await self._is_as_at(basis, current) and (await self._client.transact(request)).succeeded:
            return
        raise RegistryConflict(
            "has changed since it was read", where=self._client.where, remedy="read it again, then decide again"
        )

    async def acquire(
        self,
        node: str,
        backend: str,
        reaches: Sequence[Reach],
        previous: Sequence[IPNetwork] = (),
        offers: Sequence[Offer] = (),
    ) -> Lease:
        wanted, where = Lease(node, backend, (), offers=tuple(offers)), self._client.where
        written = await self._writer.write(
            self._read_all, lambda contents: etcd_plan.acquisition(contents, wanted, reaches, previous, where)
        )
        self._known = _Known(written.contents, written.revision, time.monotonic() + FRESH)
        return written.lease or wanted

    async def renew(self, lease: Lease) -> Lease:
        where = self._client.where
        written = await self._writer.write(
            lambda: self._read_lease(lease), lambda contents: etcd_plan.renewal(contents, lease, where)
        )
        return written.lease or lease

    async def release(self, lease: Lease) -> None:
        await self._writer.write(lambda: self._read_lease(lease), lambda contents: etcd_plan.release(contents, lease))

    async def reserve(self, node: str, subnets: Sequence[IPNetwork]) -> None:
        where = self._client.where
        await self._writer.write(self._read_all, lambda contents: etcd_plan.reservation(contents, node, subnets, where))

    async def snapshot(self) -> Snapshot:
        view = EtcdView(self._layout, self._clock)
        view.replace(await self._read_all())
        return replace(view.told(), reservations=view.reservations())

    async def watch(self) -> AsyncGenerator[Snapshot, None]:
        follower = EtcdFollower(self._client, self._view)
        self._view.changed = True
        broken: RegistryError | None = None
        while True:
            contents, written = self._take_known() or (await self._read_all(), 0)
            if broken is not None:
                _log.warning("%s; all is read again from %s", broken, self._client.where)
            began, broken = time.monotonic(), None
            try:
                async with aclosing(follower.follow(contents, written)) as snapshots:
                    async for snapshot in snapshots:
                        yield snapshot
            except RegistryError as error:
                if time.monotonic() < began + RECONNECT:
                    raise
                broken = error

    def close(self) -> None:
        self._client.close()

    def _take_known(self) -> tuple[Contents, int] | None:
        known, self._known = self._known, None
        return (known.contents, known.written) if known is not None and time.monotonic() < known.until else None

    async def _read_all(self, revision: int = 0) -> Contents:
        """Everything, as it is now or was at that revision."""
        first, end = self._layout.everything
        answer = await self._client.range(rpc.RangeRequest(key=first, range_end=end, revision=revision))
        return Contents.of(self._layout, answer.kvs, answer.header.revision)

    async def _read_lease(self, lease: Lease) -> Contents:
        name = key(lease.subnets)
        return await self._read([self._layout.subnet(name), self._layout.note(name)])

    async def _read(self, names: Sequence[bytes]) -> Contents:
        """What stands at these keys, at one moment."""
        reads = [rpc.RequestOp(request_range=rpc.RangeRequest(key=name)) for name in names]
        answer = await self._client.transact(rpc.TxnRequest(success=reads))
        pairs = [pair for response in answer.responses for pair in response.response_range.kvs]
        return Contents.of(self._layout, pairs, answer.header.revision)

    async def _is_as_at(self, basis: int, current: Contents) -> bool:
        if basis:
            return etcd_plan.is_same(await self._read_all(basis), current)
        try:
            parse_config(current.config)
        except ConfigError:
            return True
        return False
