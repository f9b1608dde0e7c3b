"""A registry of each kind, for the tests of the contract, and what the tests of SQLite build on."""

from __future__ import annotations

import atexit
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from functools import cache, partial
from ipaddress import ip_address
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest

from nankeen.model.lease import Reach
from nankeen.registry import Registry
from nankeen.registry.sqlite import SqliteRegistry, create
from tests.unit.registry.etcdserver import Directory, EtcdServer, running

CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
DUAL = '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00:5::/48","Backend":{"Type":"vxlan"}}'


@dataclass(frozen=True)
class Cluster:
    """One registry as several processes see it."""

    client: Callable[[], Registry]
    """Opens the registry once more, as another agent would."""
    configure: Callable[[str], Awaitable[None]]
    scribble: Callable[[str | None], Awaitable[None]]
    """Writes whatever it is in the configuration's place, or takes it away: as somebody does who has a shell."""


@asynccontextmanager
async def sqlite(path: Path) -> AsyncIterator[Cluster]:
    create(path / "registry.db", CONFIG)
    clients: list[SqliteRegistry] = []

    def client() -> SqliteRegistry:
        clients.append(SqliteRegistry(path / "registry.db"))
        return clients[-1]

    try:
        yield Cluster(client, client().set_config, partial(scribble, path / "registry.db"))
    finally:
        for each in clients:
            each.close()


async def scribble(database: Path, text: str | None) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as shell:
        shell.execute("UPDATE registry SET config = ?", (text,))


@asynccontextmanager
async def etcd(path: Path) -> AsyncIterator[Cluster]:
    """Below a prefix of its own in the one etcd of all tests."""
    made = Directory(shared_etcd(), f"/{path.name}")

    async def write(text: str | None) -> None:
        if text is None:
            made.server.ctl("del", f"{made.prefix}/config")
        else:
            made.configure(text)

    await write(CONFIG)
    try:
        yield Cluster(made.client, write, write)
    finally:
        made.close()
        made.server.ctl("del", "--prefix", f"{made.prefix}/")


@cache
def shared_etcd() -> EtcdServer:
    """An etcd that runs until all tests have."""
    directory = Path(mkdtemp(prefix="nankeen-etcd-"))
    lasting = ExitStack()
    atexit.register(lasting.close)
    lasting.callback(rmtree, directory)
    return lasting.enter_context(running(EtcdServer(directory)))


KINDS: dict[str, Callable[[Path], AbstractAsyncContextManager[Cluster]]] = {"sqlite": sqlite, "etcd": etcd}
"""Every kind of registry that keeps the contract. Each begins with `CONFIG` and no leases."""


@pytest.fixture(params=KINDS)
async def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with KINDS[request.param](tmp_path) as made:
        yield made


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    """A registry of `CONFIG` in the one etcd of all tests."""
    made = Directory(shared_etcd(), f"/{tmp_path.name}")
    made.configure(CONFIG)
    yield made
    made.close()
    made.server.ctl("del", "--prefix", f"{made.prefix}/")


@pytest.fixture
def own_etcd(tmp_path: Path) -> Iterator[Directory]:
    """A registry of `CONFIG` in an etcd of its own, which may come to harm."""
    with running(EtcdServer(tmp_path / "etcd")) as server:
        made = Directory(server)
        made.configure(CONFIG)
        yield made
        made.close()


@pytest.fixture
def registry(cluster: Cluster) -> Registry:
    return cluster.client()


class Clock:
    """A wall clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A registry file with `CONFIG`."""
    create(tmp_path / "registry.db", CONFIG)
    return tmp_path / "registry.db"


def reach(address: str, data: str | None = '{"VNI":1,"VtepMAC":"3e:6d:0f:c1:4e:b2"}') -> Reach:
    return Reach(ip_address(address), data)
