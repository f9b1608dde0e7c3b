"""What can be wrong with the file, each one error in one line with its path and a remedy; and who waits for whom."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from nankeen.model.errors import RegistryError
from nankeen.registry.sqlite import SqliteRegistry, create
from tests.unit.registry.conftest import CONFIG, reach

ONE = [reach("10.99.0.1")]


def missing(path: Path) -> None:
    path.unlink()


def text(path: Path) -> None:
    path.write_text("This is a shopping list, and longer than the header of a database is.\n" * 20)


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE history (url TEXT)")


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x5a" * (len(content) - 4096)
    path.write_bytes(content)


def incomplete(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE registry")


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def without_directory(path: Path) -> None:
    shutil.rmtree(path.parent)


@pytest.mark.parametrize(
    "harm, problem",
    [
        (missing, "does not exist"),
        (text, "is not an SQLite database"),
        (foreign, "is a database, but not a registry"),
        (newer, "has version 7 of the schema"),
        (damaged, "is damaged"),
        (incomplete, "is not a whole registry"),
        (directory, "cannot be opened"),
        (without_directory, "the directory does not exist"),
    ],
)
async def test_a_file_that_is_no_registry_is_an_error_with_its_path_and_a_remedy(
    tmp_path: Path, harm: Callable[[Path], None], problem: str
) -> None:
    path = tmp_path / "run" / "registry.db"
    path.parent.mkdir()
    create(path, CONFIG)
    harm(path)
    registry = SqliteRegistry(path)
    for question in (registry.acquire("node1", "vxlan", ONE), registry.snapshot(), anext(registry.watch())):
        with pytest.raises(RegistryError, match=problem) as raised:
            await question
        assert raised.value.where == str(path)
        assert raised.value.remedy
        assert "\n" not in str(raised.value)
    registry.close()


def test_a_registry_cannot_be_made_where_there_is_no_directory(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="the directory does not exist; make"):
        create(tmp_path / "none" / "registry.db", CONFIG)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that every user can enter, with a registry in it."""
    path = Path(tempfile.mkdtemp(prefix="nankeen-"))
    path.chmod(0o755)
    create(path / "registry.db", CONFIG)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


def set_modes(directory: Path, file_mode: int, directory_mode: int) -> None:
    (directory / "registry.db").chmod(file_mode)
    directory.chmod(directory_mode)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Modes mean nothing to root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("file_mode, directory_mode", [(0o444, 0o555), (0o444, 0o777), (0o666, 0o555)])
async def test_what_may_not_be_written_is_an_error_that_says_to_look_at_the_modes(
    shared: Path, file_mode: int, directory_mode: int
) -> None:
    set_modes(shared, file_mode, directory_mode)
    registry = SqliteRegistry(shared / "registry.db")
    with ordinary_user(), pytest.raises(RegistryError, match=r"cannot be (written|opened).*mode"):
        await registry.acquire("node1", "vxlan", ONE)
    registry.close()


async def test_a_file_of_another_user_is_an_error(shared: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    registry = SqliteRegistry(shared / "registry.db")
    with ordinary_user(), pytest.raises(RegistryError, match=r"cannot be opened.*owner"):
        await registry.snapshot()
    registry.close()


def test_a_directory_that_may_not_be_written_gets_no_registry(shared: Path) -> None:
    with ordinary_user(), pytest.raises(RegistryError, match="permission denied; check the owner and mode"):
        create(shared / "second.db", CONFIG)
    assert [file.name for file in shared.iterdir()] == ["registry.db"]


async def test_a_full_file_system_is_an_error_and_the_lease_is_not_half_there(database: Path) -> None:
    registry = SqliteRegistry(database)
    before = await registry.snapshot()
    registry._file._connect().execute("PRAGMA max_page_count = 1")  # as if nothing more could be had
    large = reach("10.99.0.1", f'"{"x" * 60_000}"')
    with pytest.raises(RegistryError, match="cannot grow: its file system is full"):
        await registry.acquire("node1", "vxlan", [large])
    registry.close()
    assert (await registry.snapshot()) == before
    registry.close()


async def test_who_holds_the_lock_too_long_is_named(database: Path) -> None:
    registry = SqliteRegistry(database, patience=0.02)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RegistryError, match=rf"is locked for more than 0\.02 s, by process {os.getpid()} \("):
            await registry.acquire("node1", "vxlan", ONE)
    registry.close()


async def test_who_waits_for_the_lock_lets_others_work_and_goes_on_when_it_is_free(database: Path) -> None:
    registry, reader = SqliteRegistry(database), SqliteRegistry(database)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(registry.acquire("node1", "vxlan", ONE))
        for _ in range(3):
            await asyncio.sleep(0)
            assert (await reader.snapshot()).leases == {}  # readers never wait for a writer
        assert not waiting.done()
        other.execute("ROLLBACK")
    lease = await waiting
    assert (await reader.snapshot()).leases == {"node1": lease}
    registry.close()
    reader.close()


async def test_who_gives_up_waiting_leaves_nothing_behind(database: Path) -> None:
    registry = SqliteRegistry(database)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(registry.acquire("node1", "vxlan", ONE))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert (await registry.snapshot()).leases == {}
    await registry.acquire("node2", "vxlan", ONE)
    registry.close()


async def test_the_log_of_a_registry_that_was_deleted_is_not_played_into_a_new_one(database: Path) -> None:
    killed = SqliteRegistry(database)
    await killed.acquire("node1", "vxlan", ONE)
    log = database.with_name("registry.db-wal")
    left_over = log.read_bytes()
    killed.close()
    missing(database)
    log.write_bytes(left_over)
    create(database, CONFIG)
    registry = SqliteRegistry(database)
    assert (await registry.snapshot()).leases == {}
    registry.close()
