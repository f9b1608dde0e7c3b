"""Snapshots of an SQLite registry, read step by step: what did not change is not read again."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from nankeen.model.address import IPNetwork
from nankeen.model.errors import ConfigError, InputError
from nankeen.model.lease import Lease
from nankeen.model.leasevalue import decode, parse_key
from nankeen.model.netconf import NetworkConfig
from nankeen.registry import Snapshot
from nankeen.registry.choice import readable_key
from nankeen.registry.sqlite_file import HISTORY

Row = tuple[object, object, object, object]
"""Node, key, value and expiry, as they stand in the table. Anybody can write there, so they may be of any type."""


@dataclass(frozen=True, slots=True)
class _Delta:
    """What the table says that differs from what the reader knows."""

    revision: int
    config: object
    rows: list[Row]
    departed: set[str]
    expired: set[str]
    next_expiry: float


@dataclass(slots=True)
class SqliteReader:
    """Follows one registry.

    A renewal is silent: the lease stays the object it was, with the expiry it had, because nothing of the network
    depends on when a lease would expire as long as it does not. Only a reader that is `exact` looks at every expiry,
    and at reservations.
    """

    clock: Callable[[], float]
    exact: bool = False
    next_expiry: float = math.inf
    """When a lease expires next unless it is renewed, as Unix time in seconds."""
    _connection: sqlite3.Connection | None = None
    _revision: int = 0
    _config_text: object = None
    _config: NetworkConfig | None = None
    _config_fault: ConfigError | None = None
    _leases: dict[str, Lease] = field(default_factory=dict)
    _rejected: dict[str, str] = field(default_factory=dict)
    _reservations: dict[str, tuple[IPNetwork, ...]] = field(default_factory=dict)

    def read(self, connection: sqlite3.Connection) -> Snapshot:
        """The registry as it is now.

        Raises `ConfigError` where it never had a configuration that could be read. Where a good one is followed by a
        bad one, the good one stays and the bad one is among the rejected.
        """
        delta = self._ask(connection)
        self._fold(delta)
        if self.exact:
            self._fold_expiries(connection)
            self._reservations = _reservations(connection)
        self._connection = connection
        return self._snapshot(delta.expired)

    def _ask(self, connection: sqlite3.Connection) -> _Delta:
        revision, config = connection.execute("SELECT revision, config FROM registry").fetchone() or (0, None)
        known = self._revision if self._knows(connection, revision) else 0
        now = self.clock()
        rows = connection.execute("SELECT node, key, value, expires FROM lease WHERE revision > ?", (known,)).fetchall()
        if known:
            departed = _names(connection.execute("SELECT node FROM departed WHERE revision > ?", (known,)))
        else:
            departed = {*self._leases, *self._rejected} - {_name(row[0]) for row in rows}
        expired = _names(connection.execute("SELECT node FROM lease WHERE expires <= ?", (now,)))
        (following,) = connection.execute(
            "SELECT min(expires) FROM lease WHERE expires > ? AND typeof(expires) = 'real'", (now,)
        ).fetchone()
        return _Delta(revision, config, rows, departed, expired, math.inf if following is None else following)

    def _knows(self, connection: sqlite3.Connection, revision: int) -> bool:
        """Whether the table's own log covers all that happened since the last reading."""
        return connection is self._connection and 0 <= revision - self._revision < HISTORY

    def _fold(self, delta: _Delta) -> None:
        for node in delta.departed:
            self._leases.pop(node, None)
            self._rejected.pop(node, None)
        for row in delta.rows:
            self._fold_row(_name(row[0]), row)
        if self._config is None or delta.config != self._config_text:
            self._fold_config(delta.config)
        self._revision = delta.revision
        self.next_expiry = delta.next_expiry

    def _fold_row(self, node: str, row: Row) -> None:
        try:
            lease = _lease(*row)
        except InputError as error:
            self._leases.pop(node, None)
            self._rejected[node] = str(error)
            return
        self._rejected.pop(node, None)
        if self._leases.get(node) != lease:
            self._leases[node] = lease

    def _fold_expiries(self, connection: sqlite3.Connection) -> None:
        for node, expires in connection.execute("SELECT node, expires FROM lease"):
            lease = self._leases.get(node)
            if lease is not None and lease.expires != expires:
                self._leases[node] = replace(lease, expires=expires)

    def _fold_config(self, text: object) -> None:
        self._config_text = text
        try:
            self._config = NetworkConfig.parse(config_text(text))
            self._config_fault = None
        except ConfigError as error:
            self._config_fault = error

    def _snapshot(self, expired: set[str]) -> Snapshot:
        if self._config is None:
            raise self._config_fault or ConfigError("the registry has no network configuration")
        rejected = {node: reason for node, reason in self._rejected.items() if node not in expired}
        if self._config_fault:
            rejected["config"] = str(self._config_fault)
        leases = {node: lease for node, lease in self._leases.items() if node not in expired}
        return Snapshot(self._config, leases, self._revision, rejected, self._reservations)


def config_text(value: object) -> str:
    """The configuration in that column, as it is written; raises `ConfigError` where there is none."""
    if not isinstance(value, str):
        raise ConfigError("the registry has no network configuration", remedy="set it by `nankeen config set FILE`")
    return value


def _lease(node: object, key: object, value: object, expires: object) -> Lease:
    """The lease in that row; raises `InputError`."""
    if not (isinstance(node, str) and isinstance(key, str) and isinstance(value, str)):
        raise InputError("node, key and value of a lease are texts")
    if not (expires is None or isinstance(expires, float)):
        raise InputError(f"{repr(expires)[:60]} is no time of expiry")
    return decode(value, parse_key(key), node, expires)


def _reservations(connection: sqlite3.Connection) -> dict[str, tuple[IPNetwork, ...]]:
    rows = connection.execute("SELECT node, key FROM reservation").fetchall()
    return {_name(node): subnets for node, key in rows if (subnets := readable_key(key))}


def _names(rows: sqlite3.Cursor) -> set[str]:
    return {_name(node) for (node,) in rows}


def _name(node: object) -> str:
    """The node's name, also where somebody wrote one that is no text."""
    return node if isinstance(node, str) else repr(node)
