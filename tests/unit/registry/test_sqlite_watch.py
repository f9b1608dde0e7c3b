"""Watching a registry file: nothing is missed, nothing is told twice, and no bad row is in anybody's way."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import NoReturn

import pytest

from nankeen.model.errors import RegistryError
from nankeen.registry import Snapshot, doorbell
from nankeen.registry.doorbell import ring
from nankeen.registry.sqlite import SqliteRegistry, create
from tests.unit.registry.conftest import CONFIG, Clock, reach


@pytest.fixture
def registry(database: Path, clock: Clock) -> Iterator[SqliteRegistry]:
    made = SqliteRegistry(database, lease_seconds=100, clock=clock)
    yield made
    made.close()


@pytest.fixture
async def watch(database: Path, clock: Clock) -> AsyncIterator[AsyncIterator[Snapshot]]:
    watcher = SqliteRegistry(database, lease_seconds=100, clock=clock)
    async with aclosing(watcher.watch()) as snapshots:
        yield snapshots
    watcher.close()


def shell(database: Path, *statements: str) -> None:
    """Changes the file as an administrator would who knows neither revisions nor doorbells, but `touch`."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
    database.touch()


def replace(database: Path) -> None:
    """Puts a new registry in the place of the old one: with a longer history, so that its revision tells nothing."""
    new = database.with_name("new.db")
    create(new, CONFIG)
    shell(new, "UPDATE registry SET revision = 50")
    for log in database.parent.glob("registry.db-*"):
        log.unlink()
    new.replace(database)


def remove(database: Path) -> None:
    database.unlink()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_burst_of_joins_comes_as_one_snapshot(registry: SqliteRegistry, watch: AsyncIterator[Snapshot]) -> None:
    await anext(watch)
    for number in range(1, 51):  # without a pause in which the watcher could look
        await registry.acquire(f"node{number}", "vxlan", [reach(f"10.99.0.{number}")])
    assert len((await anext(watch)).leases) == 50


async def test_a_renewal_wakes_nobody(registry: SqliteRegistry, watch: AsyncIterator[Snapshot], clock: Clock) -> None:
    lease = await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    before = await anext(watch)
    clock.now += 50
    await registry.renew(lease)
    await registry.acquire("node2", "vxlan", [reach("10.99.0.2")])
    after = await anext(watch)
    assert set(after.leases) == {"node1", "node2"}
    assert after.leases["node1"] is before.leases["node1"]


async def test_a_renewed_lease_outlives_its_first_expiry(
    registry: SqliteRegistry, watch: AsyncIterator[Snapshot], clock: Clock
) -> None:
    lease = await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    await anext(watch)
    clock.now += 99
    await registry.renew(lease)
    clock.now += 99
    await registry.acquire("node2", "vxlan", [reach("10.99.0.2")])
    assert set((await anext(watch)).leases) == {"node1", "node2"}


async def test_a_lease_that_expires_disappears_although_nobody_writes(database: Path) -> None:
    registry = SqliteRegistry(database, lease_seconds=0.05)
    await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    async with aclosing(registry.watch()) as watch:
        seen = await anext(watch)
        while seen.leases:
            seen = await anext(watch)
    assert seen.leases == {}
    registry.close()


async def test_an_expired_lease_that_is_renewed_comes_back(
    registry: SqliteRegistry, watch: AsyncIterator[Snapshot], clock: Clock, database: Path
) -> None:
    lease = await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    await anext(watch)
    clock.now += 100
    ring(database)
    assert (await anext(watch)).leases == {}
    renewed = await registry.renew(lease)
    assert (await anext(watch)).leases == {"node1": renewed}


async def test_dropping_a_lease_that_was_gone_already_is_no_news(
    registry: SqliteRegistry, watch: AsyncIterator[Snapshot], clock: Clock, database: Path
) -> None:
    await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    await anext(watch)
    clock.now += 100
    ring(database)
    gone = await anext(watch)
    shell(database, "DELETE FROM lease")
    second = await registry.acquire("node2", "vxlan", [reach("10.99.0.2")])
    assert (gone.leases, (await anext(watch)).leases) == ({}, {"node2": second})


@pytest.mark.parametrize(
    "column, value, reason",
    [
        ("value", "'{\"PublicIP\":'", "not JSON"),
        ("value", "'[]'", "no JSON object"),
        ("value", "'{\"PublicIP\":7}'", "PublicIP"),
        ("value", "'{}'", "PublicIP"),
        ("value", "x'ff00'", "texts"),
        ("value", "CAST(x'ff' AS TEXT)", "not JSON"),
        ("key", "'10.5.9.1-24'", "not the key of a lease"),
        ("key", "7", "not the key of a lease"),
        ("key", "'../../etc/passwd'", "not the key of a lease"),
        ("expires", "'tomorrow'", "no time of expiry"),
        ("expires", "x'00'", "no time of expiry"),
    ],
)
async def test_a_damaged_row_is_rejected_with_its_reason_and_disturbs_nobody(
    registry: SqliteRegistry, watch: AsyncIterator[Snapshot], database: Path, column: str, value: str, reason: str
) -> None:
    await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    await registry.acquire("bad", "vxlan", [reach("10.99.0.2")])
    before = await anext(watch)
    shell(database, f"UPDATE lease SET {column} = {value} WHERE node = 'bad'")  # noqa: S608
    after = await anext(watch)
    assert reason in after.rejected["bad"]
    assert list(after.leases) == ["node1"]
    assert after.leases["node1"] is before.leases["node1"]
    assert (await registry.acquire("node3", "vxlan", [reach("10.99.0.3")])).node == "node3"
    healed = await registry.acquire("bad", "vxlan", [reach("10.99.0.2")])
    snapshot = await registry.snapshot()
    assert (snapshot.leases["bad"], snapshot.rejected) == (healed, {})


async def test_a_row_whose_node_is_no_text_is_rejected(watch: AsyncIterator[Snapshot], database: Path) -> None:
    await anext(watch)
    shell(database, "INSERT INTO lease (node, key, value) VALUES (x'00', '10.5.9.0-24', '{}')")
    assert list((await anext(watch)).rejected) == [r"b'\x00'"]
    shell(database, "DELETE FROM lease")
    assert (await anext(watch)).rejected == {}


async def test_a_bad_configuration_is_rejected_and_the_good_one_stays(
    watch: AsyncIterator[Snapshot], database: Path
) -> None:
    before = await anext(watch)
    shell(database, "UPDATE registry SET config = '{'")
    after = await anext(watch)
    assert after.config is before.config
    assert "not JSON" in after.rejected["config"]


async def test_a_row_that_somebody_deletes_with_the_shell_is_noticed(
    registry: SqliteRegistry, watch: AsyncIterator[Snapshot], database: Path
) -> None:
    await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    await anext(watch)
    shell(database, "DELETE FROM lease")
    assert (await anext(watch)).leases == {}


async def test_a_watcher_that_is_behind_all_history_reads_everything(
    registry: SqliteRegistry, watch: AsyncIterator[Snapshot], database: Path
) -> None:
    stays = await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    await registry.acquire("node2", "vxlan", [reach("10.99.0.2")])
    before = await anext(watch)
    shell(
        database,
        "DELETE FROM lease WHERE node = 'node2'",
        "DELETE FROM departed",
        "UPDATE registry SET revision = revision + 20000",
    )
    after = await anext(watch)
    assert after.leases == {"node1": stays}
    assert after.leases["node1"] is before.leases["node1"]


def test_the_history_of_departed_nodes_stays_bounded(database: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for node in ("old", "new"):
            connection.execute("INSERT INTO lease (node, key, value) VALUES (?, '', '')", (node,))
            connection.execute("DELETE FROM lease")
            connection.execute("UPDATE registry SET revision = revision + 10000")
        assert connection.execute("SELECT node FROM departed").fetchall() == [("new",)]


async def test_a_registry_that_is_replaced_is_read_anew(
    registry: SqliteRegistry, watch: AsyncIterator[Snapshot], database: Path
) -> None:
    await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    assert len((await anext(watch)).leases) == 1
    replace(database)
    assert (await anext(watch)).leases == {}
    lease = await registry.acquire("node2", "vxlan", [reach("10.99.0.2")])
    assert (await anext(watch)).leases == {"node2": lease}


async def test_a_registry_that_is_removed_is_an_error(watch: AsyncIterator[Snapshot], database: Path) -> None:
    await anext(watch)
    remove(database)
    with pytest.raises(RegistryError, match="does not exist"):
        await anext(watch)


async def test_without_inotify_the_watcher_looks_from_time_to_time(
    registry: SqliteRegistry, database: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(doorbell, "Inotify", refuse)
    monkeypatch.setattr(doorbell, "POLL_INTERVAL", 0.01)
    async with aclosing(registry.watch()) as watch:
        await anext(watch)
        lease = await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
        assert (await anext(watch)).leases == {"node1": lease}
    assert f"{database}: no inotify (Too many open files)" in caplog.text


async def test_a_watch_that_ends_gives_back_its_descriptors(registry: SqliteRegistry) -> None:
    await registry.snapshot()
    before = open_descriptors()
    async with aclosing(registry.watch()) as watch:
        await anext(watch)
        assert open_descriptors() > before
    assert open_descriptors() == before
