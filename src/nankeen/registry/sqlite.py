"""The embedded registry: one SQLite file that the agents of one machine share. For a lab, and for a single node."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from sqlite3 import Connection

from nankeen.model.address import Family, IPNetwork, family_of
from nankeen.model.errors import ConfigError, InputError, LeaseError, RegistryConflict
from nankeen.model.lease import LEASE_SECONDS, Lease, Offer, Reach
from nankeen.model.leasevalue import decode, encode, key
from nankeen.model.netconf import NetworkConfig
from nankeen.registry import Snapshot
from nankeen.registry.allocation import Taken, spans_of_keys
from nankeen.registry.choice import endpoints, readable_key, words
from nankeen.registry.doorbell import Doorbell
from nankeen.registry.sqlite_faults import unreachable
from nankeen.registry.sqlite_file import PATIENCE, SqliteFile, create_file
from nankeen.registry.sqlite_reader import SqliteReader, config_text

BURST_INTERVAL = 0.03
"""Least seconds between two snapshots of a watch: a change alone comes at once, those of a burst come together."""
LONGEST_PAUSE = 0.15
"""Most seconds between them: whoever takes long over a snapshot, on a busy machine, is told of more at a time."""


def create(path: Path, config_text: str) -> None:
    """Makes a registry file of mode 0600 with its configuration: whole, or not at all.

    Raises `ConfigError` where the text is no network configuration, `RegistryError` where the file cannot be made or
    there is one already.
    """
    NetworkConfig.parse(config_text)
    create_file(path, config_text)


def open_at(rest: str) -> SqliteRegistry:
    """The registry at `sqlite://{rest}`: the path of its file."""
    return SqliteRegistry(Path(rest))


def make_at(rest: str, config_text: str) -> bool:
    """Makes the registry at `sqlite://{rest}`, and its directory, where there is no such file; whether it did."""
    path = Path(rest)
    try:
        path.parent.mkdir(mode=0o755, exist_ok=True)
        if path.exists():
            return False
    except OSError as error:
        raise unreachable(path, error) from error
    create(path, config_text)
    return True


class SqliteRegistry:
    """The registry in one SQLite file. Implements `nankeen.registry.Registry`."""

    def __init__(
        self,
        path: Path,
        *,
        lease_seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.time,
        patience: float = PATIENCE,
    ) -> None:
        """`patience` is how many seconds to wait for the lock of another process."""
        self._file = SqliteFile(path, patience)
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._reader = SqliteReader(clock, exact=True)

    async def config(self) -> NetworkConfig:
        return await self._file.read(_config)

    async def configuration(self) -> str:
        return await self._file.read(_written)

    async def configure(self, text: str, basis: int) -> None:
        NetworkConfig.parse(text)
        await self._file.write(lambda table: self._configure(table, text, basis))

    async def set_config(self, text: str) -> None:
        """Gives the registry another configuration; raises `ConfigError` where the text is none.

        A lease that does not fit it stays until its node asks anew.
        """
        NetworkConfig.parse(text)
        await self._file.write(lambda table: table.execute("UPDATE registry SET config = ?", (text,)))

    async def acquire(
        self,
        node: str,
        backend: str,
        reaches: Sequence[Reach],
        previous: Sequence[IPNetwork] = (),
        offers: Sequence[Offer] = (),
    ) -> Lease:
        return await self._file.write(
            lambda table: self._acquire(table, Lease(node, backend, (), offers=tuple(offers)), reaches, previous)
        )

    async def renew(self, lease: Lease) -> Lease:
        return await self._file.write(lambda table: self._renew(table, lease))

    async def release(self, lease: Lease) -> None:
        """As in the contract; a reservation outlives the lease that made use of it."""
        row = (lease.node, key(lease.subnets))
        await self._file.write(lambda table: table.execute("DELETE FROM lease WHERE node = ? AND key = ?", row))

    async def reserve(self, node: str, subnets: Sequence[IPNetwork]) -> None:
        await self._file.write(lambda table: self._reserve(table, node, subnets))

    async def snapshot(self) -> Snapshot:
        return await self._file.read(self._reader.read)

    async def watch(self) -> AsyncGenerator[Snapshot, None]:
        reader = SqliteReader(self._clock)
        told: Snapshot | None = None
        with Doorbell(self._file.path) as doorbell:  # listens before the first look, so that nothing falls between
            while True:
                looked = time.monotonic()
                snapshot = await self._file.read(reader.read)
                if told is None or _differ(told, snapshot):
                    told = snapshot
                    yield snapshot
                pause = min(max(BURST_INTERVAL, 3 * (time.monotonic() - looked)), LONGEST_PAUSE)
                await doorbell.wait(reader.next_expiry - self._clock())
                await asyncio.sleep(looked + pause - time.monotonic())

    def close(self) -> None:
        self._file.close()

    def _configure(self, table: Connection, text: str, basis: int) -> None:
        (revision,) = table.execute("SELECT revision FROM registry").fetchone() or (0,)
        changed = revision != basis if basis else _is_configured(table)
        if changed:
            raise RegistryConflict(
                "has changed since it was read", where=str(self._file.path), remedy="read it again, then decide again"
            )
        if not table.execute("UPDATE registry SET config = ?", (text,)).rowcount:
            table.execute("INSERT INTO registry VALUES (1, ?)", (text,))

    def _acquire(
        self,
        table: Connection,
        wanted: Lease,
        reaches: Sequence[Reach],
        previous: Sequence[IPNetwork],
    ) -> Lease:
        """The lease that is wanted, with the subnets it gets."""
        config, node = _config(table), wanted.node
        own, reserved = _leased(table, node), _reserved(table, node)
        self._drop_expired(table)
        taken = _taken_by_others(table, node)
        wishes = (*own, *reserved, *previous)
        chosen = endpoints(config.pools, node, reaches, wishes, taken, str(self._file.path))
        return self._store(table, replace(wanted, endpoints=chosen), reserved)

    def _renew(self, table: Connection, lease: Lease) -> Lease:
        own = _leased(table, lease.node)
        if own != lease.subnets:
            raise LeaseError(
                f"the lease of {lease.node} on {words(lease.subnets)} is lost",
                where=str(self._file.path),
                remedy="acquire one anew",
            )
        # One that expired, but that nobody took, comes back: anew, because watchers have seen it go.
        table.execute("DELETE FROM lease WHERE node = ? AND expires <= ?", (lease.node, self._clock()))
        return self._store(table, lease, _reserved(table, lease.node))

    def _reserve(self, table: Connection, node: str, subnets: Sequence[IPNetwork]) -> None:
        if len({subnet.version for subnet in subnets}) < len(subnets):
            raise InputError(f"{words(subnets)} are not one subnet for each family", remedy="name one of each at most")
        self._drop_expired(table)
        taken = _taken_by_others(table, node)
        for subnet in subnets:
            if taken[family_of(subnet)].overlaps(subnet):
                holder, held = _holder(table, node, subnet)
                raise LeaseError(
                    f"{subnet} cannot be kept for {node}: {holder} holds {words(held)}",
                    where=str(self._file.path),
                    remedy="choose another subnet, or release that one",
                )
        table.execute("DELETE FROM reservation WHERE node = ?", (node,))
        if subnets:
            table.execute("INSERT INTO reservation VALUES (?, ?)", (node, key(subnets)))
        expires = self._expiry(_leased(table, node), subnets)
        table.execute("UPDATE lease SET expires = ? WHERE node = ?", (expires, node))

    def _store(self, table: Connection, lease: Lease, reserved: Sequence[IPNetwork]) -> Lease:
        """Writes the lease with a new expiry, and returns it as all others will read it."""
        expires = self._expiry(lease.subnets, reserved)
        value = encode(lease)
        stored = decode(value, lease.subnets, lease.node, expires)
        table.execute(
            "INSERT INTO lease (node, key, value, expires) VALUES (?, ?, ?, ?) ON CONFLICT (node)"
            " DO UPDATE SET key = excluded.key, value = excluded.value, expires = excluded.expires",
            (lease.node, key(lease.subnets), value, expires),
        )
        return stored

    def _expiry(self, subnets: Sequence[IPNetwork], reserved: Sequence[IPNetwork]) -> float | None:
        """When a lease of these subnets expires if it begins now: never, where all of them are reserved."""
        return None if set(subnets) <= set(reserved) else self._clock() + self._lease_seconds

    def _drop_expired(self, table: Connection) -> None:
        table.execute("DELETE FROM lease WHERE expires <= ?", (self._clock(),))


def _written(table: Connection) -> str:
    """The configuration as it stands in the table. Raises `ConfigError` where there is none."""
    row = table.execute("SELECT config FROM registry").fetchone()
    return config_text(row and row[0])


def _config(table: Connection) -> NetworkConfig:
    return NetworkConfig.parse(_written(table))


def _is_configured(table: Connection) -> bool:
    try:
        _config(table)
    except ConfigError:
        return False
    return True


def _leased(table: Connection, node: str) -> tuple[IPNetwork, ...]:
    """What the node leases, also when that expired; nothing where its row tells of no subnets."""
    row = table.execute("SELECT key FROM lease WHERE node = ?", (node,)).fetchone()
    return readable_key(row[0]) if row else ()


def _reserved(table: Connection, node: str) -> tuple[IPNetwork, ...]:
    """What is reserved for the node."""
    row = table.execute("SELECT key FROM reservation WHERE node = ?", (node,)).fetchone()
    return readable_key(row[0]) if row else ()


_OTHERS = """
SELECT {} FROM lease WHERE node <> :node UNION ALL SELECT {} FROM reservation WHERE node <> :node
"""
"""Each lease and reservation of another node."""


def _taken_by_others(table: Connection, node: str) -> dict[Family, Taken]:
    """What leases and reservations of other nodes hold."""
    query = f"SELECT group_concat(key, char(10)) FROM ({_OTHERS.format('key', 'key')})"  # noqa: S608  (no values in it)
    (keys,) = table.execute(query, {"node": node}).fetchone()  # one text costs a quarter of a row for each
    return {family: Taken(spans=spans) for family, spans in spans_of_keys((keys or "").split("\n")).items()}


def _holder(table: Connection, node: str, subnet: IPNetwork) -> tuple[str, tuple[IPNetwork, ...]]:
    """Who else holds part of a subnet that is taken, and what that is."""
    rows = table.execute(_OTHERS.format("node, key", "node, key"), {"node": node})
    found = ((str(holder), readable_key(text)) for holder, text in rows)
    return next((holder, held) for holder, held in found if any(subnet.overlaps(other) for other in held))


def _differ(told: Snapshot, snapshot: Snapshot) -> bool:
    """Whether anybody would notice: that the log grew a revision is not worth a word."""
    return (told.config, told.leases, told.rejected) != (snapshot.config, snapshot.leases, snapshot.rejected)
