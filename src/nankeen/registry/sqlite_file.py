"""The SQLite file that a registry lives in: its schema, how it is made and opened, and how many processes share it.

The file is in write-ahead-log mode: readers and one writer do not wait for each other. Writers wait for one another by
asking again, not by sleeping inside SQLite, so that an event loop goes on meanwhile (https://sqlite.org/wal.html).
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from nankeen.model.errors import RegistryError
from nankeen.registry.doorbell import ring
from nankeen.registry.sqlite_faults import fault, is_busy, locked, log_files, unreachable

PATIENCE = 10.0
"""Seconds to wait for the lock of another process."""
HISTORY = 10_000
"""How many revisions back the file remembers which nodes departed. Who is further behind reads everything."""

_APPLICATION = 0x6E616E6B  # "nank", in the header of the file
_VERSION = 1

# Triggers keep the revisions, so that no writer can forget them: not even somebody with the sqlite3 shell.
_SCHEMA = f"""
CREATE TABLE registry (revision INTEGER NOT NULL, config TEXT);
CREATE TABLE lease (
  node TEXT NOT NULL PRIMARY KEY,
  key TEXT NOT NULL,                    -- the subnets, as flannel writes them: 10.5.34.0-24
  value TEXT NOT NULL,                  -- the rest of the lease, as flannel writes it: {{"PublicIP":...}}
  expires REAL,                         -- Unix time in seconds; NULL for a reserved lease
  revision INTEGER NOT NULL DEFAULT 0   -- when anything but the time of expiry last changed
);
CREATE INDEX lease_by_revision ON lease (revision);
CREATE INDEX lease_by_expiry ON lease (expires);
CREATE TABLE reservation (node TEXT NOT NULL PRIMARY KEY, key TEXT NOT NULL);
CREATE TABLE departed (node TEXT NOT NULL PRIMARY KEY, revision INTEGER NOT NULL);
CREATE INDEX departed_by_revision ON departed (revision);

CREATE TRIGGER config_changed AFTER UPDATE OF config ON registry WHEN OLD.config IS NOT NEW.config BEGIN
  UPDATE registry SET revision = revision + 1;
END;
CREATE TRIGGER lease_added AFTER INSERT ON lease BEGIN
  UPDATE registry SET revision = revision + 1;
  UPDATE lease SET revision = (SELECT revision FROM registry) WHERE node = NEW.node;
  DELETE FROM departed WHERE node = NEW.node;
END;
CREATE TRIGGER lease_changed AFTER UPDATE OF key, value, expires ON lease
WHEN OLD.key IS NOT NEW.key OR OLD.value IS NOT NEW.value OR typeof(OLD.expires) <> typeof(NEW.expires) BEGIN
  UPDATE registry SET revision = revision + 1;
  UPDATE lease SET revision = (SELECT revision FROM registry) WHERE node = NEW.node;
END;
CREATE TRIGGER lease_removed AFTER DELETE ON lease BEGIN
  UPDATE registry SET revision = revision + 1;
  INSERT OR REPLACE INTO departed SELECT OLD.node, revision FROM registry;
  DELETE FROM departed WHERE revision <= (SELECT revision - {HISTORY} FROM registry);
END;
"""  # noqa: S608  (a number of this module)

Result = TypeVar("Result")
Body = Callable[[sqlite3.Connection], Result]
"""What is done inside one transaction. It may be called again when the file was locked."""


def create_file(path: Path, config: str) -> None:
    """Makes a registry file of mode 0600: whole, or not at all. Raises `RegistryError`, also where there is one."""
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.new")
    try:
        os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(
                    f"BEGIN; {_SCHEMA} PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_VERSION}; COMMIT"
                )
                connection.execute("INSERT INTO registry VALUES (1, ?)", (config,))
            _remove_stale_log(path)
            os.link(temporary, path)  # unlike a rename, this never takes the place of another registry
        finally:
            for leftover in (temporary, *log_files(temporary)):
                leftover.unlink(missing_ok=True)
    except FileExistsError as error:
        raise RegistryError("exists already", where=str(path), remedy="use it, or remove it first") from error
    except OSError as error:
        raise unreachable(path, error) from error
    except sqlite3.Error as error:
        raise fault(path, error) from error


class SqliteFile:
    """A registry file, opened at first use, and again when another file took its place."""

    def __init__(self, path: Path, patience: float = PATIENCE) -> None:
        self.path = path
        self._patience = patience
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None

    async def read(self, body: Body[Result]) -> Result:
        """What `body` reads, all of it from one moment. Raises `RegistryError`."""
        return await self._transaction("BEGIN", body)

    async def write(self, body: Body[Result]) -> Result:
        """What `body` returns, with all it wrote or nothing of it. Wakes the watchers when there is something to see.

        Raises `RegistryError`.
        """
        (before, result, after) = await self._transaction(
            "BEGIN IMMEDIATE", lambda table: (_revision(table), body(table), _revision(table))
        )
        if after != before:
            try:
                ring(self.path)
            except OSError as error:
                raise unreachable(self.path, error) from error
        return result

    def close(self) -> None:
        """Gives up the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _transaction(self, begin: str, body: Body[Result]) -> Result:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return _transact(self._connect(), begin, body)
            except sqlite3.Error as error:
                if not is_busy(error):
                    raise fault(self.path, error) from error
                if time.monotonic() >= deadline:
                    raise locked(self.path, self._patience) from error
            await asyncio.sleep(random.uniform(0.001, 0.010))  # noqa: S311  (jitter, so that two do not ask in step)

    def _connect(self) -> sqlite3.Connection:
        """The connection to the file that stands at the path now."""
        try:
            status = self.path.stat()
        except OSError as error:
            raise unreachable(self.path, error) from error
        if self._connection is None or self._opened != (status.st_dev, status.st_ino):
            self.close()
            self._connection = _open(self.path)
            self._opened = (status.st_dev, status.st_ino)
        return self._connection


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=0, isolation_level=None)
    try:
        _check(connection, path)
        connection.text_factory = _text
        # Without a sync at each commit a power cut may undo the last leases; the pods that used them are gone as well.
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Raises `RegistryError` unless it is a registry, and of the schema that this code speaks."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION:
        raise RegistryError(
            "is a database, but not a registry",
            where=str(path),
            remedy="name the registry's file, or make a new registry",
        )
    if version != _VERSION:
        raise RegistryError(
            f"has version {version} of the schema, and this nankeen reads version {_VERSION}",
            where=str(path),
            remedy="use the nankeen that made it, or make a new registry",
        )


def _text(octets: bytes) -> str:
    """A text as it should be read also where it is not UTF-8: a bad row must not stop the reading of the others."""
    return octets.decode(errors="replace")


def _revision(table: sqlite3.Connection) -> object:
    return table.execute("SELECT revision FROM registry").fetchone()


def _transact(connection: sqlite3.Connection, begin: str, body: Body[Result]) -> Result:
    """One transaction, without a pause: nothing else of this process comes between."""
    connection.execute(begin)
    try:
        result = body(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _remove_stale_log(path: Path) -> None:
    """Removes the log of a registry that was deleted: SQLite would play it into the new one."""
    if not path.exists():
        for log in log_files(path):
            log.unlink(missing_ok=True)
