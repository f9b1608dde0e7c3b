"""Registries full of leases: in an SQLite file, or in a real etcd beside the node's agent."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Protocol

from bench.fabric import CONFIG, Home, lease
from bench.process import running
from nankeen.kernel.namespace import NAMED, Namespace, entered
from nankeen.model.lease import LEASE_SECONDS
from nankeen.model.leasevalue import encode, key
from nankeen.registry import sqlite
from nankeen.registry.doorbell import ring
from nankeen.registry.etcd_client import EtcdClient
from nankeen.registry.etcd_layout import Layout
from nankeen.registry.etcd_settings import EtcdSettings
from nankeen.registry.etcd_transaction import Plan, Put
from nankeen.registry.etcdrpc import rpc_pb2 as rpc

_ENDPOINT = "http://127.0.0.1:2379"
_ADDRESS = "etcd://127.0.0.1:2379/bench"
_BATCH = 50
"""Leases written by one transaction: etcd takes 128 operations, and a lease is two."""


class Store(Protocol):
    """A registry that stands, full of leases."""

    @property
    def address(self) -> str: ...

    def join(self, number: int) -> float:
        """One more lease; returns when it began to be committed, as of `time.perf_counter`."""


Filled = Callable[[Home, int], AbstractContextManager[Store]]
"""A registry for a node, with that many leases of others."""


def fill(path: Path, peers: int) -> None:
    """Makes a registry file with that many nodes in it, in one transaction: one by one they would take minutes."""
    sqlite.create(path, CONFIG)
    rows = ((each.node, key(each.subnets), encode(each), each.expires) for each in map(lease, range(peers)))
    with closing(sqlite3.connect(path)) as table, table:
        table.executemany("INSERT INTO lease (node, key, value, expires) VALUES (?, ?, ?, ?)", rows)


@contextmanager
def in_sqlite(node: Home, peers: int) -> Iterator[Store]:
    path = node.directory / "registry.db"
    fill(path, peers)
    with closing(sqlite3.connect(path, isolation_level=None)) as table:
        yield _SqliteStore(path, table)


class _SqliteStore:
    def __init__(self, path: Path, table: sqlite3.Connection) -> None:
        self._path, self._table = path, table

    @property
    def address(self) -> str:
        return f"sqlite://{self._path}"

    def join(self, number: int) -> float:
        wanted = lease(number)
        row = (wanted.node, key(wanted.subnets), encode(wanted), wanted.expires)
        self._table.execute("BEGIN IMMEDIATE")
        self._table.execute("INSERT INTO lease (node, key, value, expires) VALUES (?, ?, ?, ?)", row)
        began = time.perf_counter()
        self._table.execute("COMMIT")
        ring(self._path)
        return began


@contextmanager
def in_etcd(node: Home, peers: int) -> Iterator[Store]:
    places = (f"--listen-client-urls={_ENDPOINT}", f"--advertise-client-urls={_ENDPOINT}", "--data-dir")
    program = ("etcd", *places, str(node.directory / "etcd"), "--logger=zap", "--log-outputs=stdout")
    with running(("ip", "netns", "exec", node.name, *program), ready="serving client"), asyncio.Runner() as runner:
        with Namespace.open(NAMED / node.name) as there, entered(there):
            store = _EtcdStore(runner)
            store.fill(peers)
        with closing(store):
            yield store


class _EtcdStore:
    """Spoken to from the namespace in which the first request is made."""

    def __init__(self, runner: asyncio.Runner) -> None:
        settings = EtcdSettings((_ENDPOINT,), "/bench")
        self._runner, self._layout, self._client = runner, Layout(settings.root), EtcdClient(settings)
        self._etcd_lease = 0

    @property
    def address(self) -> str:
        return _ADDRESS

    def fill(self, peers: int) -> None:
        """The configuration and that many leases, on one etcd lease."""
        self._runner.run(self._fill(peers))

    def join(self, number: int) -> float:
        began = time.perf_counter()
        self._runner.run(self._write([number]))
        return began

    def close(self) -> None:
        self._client.close()

    async def _fill(self, peers: int) -> None:
        self._etcd_lease = (await self._client.grant(LEASE_SECONDS)).ID
        put = rpc.PutRequest(key=self._layout.config, value=CONFIG.encode())
        await self._client.transact(rpc.TxnRequest(success=[rpc.RequestOp(request_put=put)]))
        for first in range(0, peers, _BATCH):
            await self._write(range(first, min(first + _BATCH, peers)))

    async def _write(self, numbers: Sequence[int]) -> None:
        wanted = map(lease, numbers)
        puts = tuple(Put(key(each.subnets), encode(each).encode(), each.node, is_kept=False) for each in wanted)
        request = Plan(puts).request(self._layout, self._etcd_lease, time.time() + LEASE_SECONDS)
        await self._client.transact(request)
