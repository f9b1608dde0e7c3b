"""Leases in SQLite where time passes, and what a reservation means there."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path

import pytest

from nankeen.model.errors import ConfigError, InputError, LeaseError, RegistryError
from nankeen.registry.sqlite import SqliteRegistry, create
from tests.unit.registry.conftest import CONFIG, Clock, reach

ONE, TWO = [reach("10.99.0.1")], [reach("10.99.0.2")]
SUBNET = ip_network("10.5.50.0/24")


@pytest.fixture
def registry(database: Path, clock: Clock) -> Iterator[SqliteRegistry]:
    made = SqliteRegistry(database, lease_seconds=100, clock=clock)
    yield made
    made.close()


async def test_a_lease_expires_when_its_time_is_over(registry: SqliteRegistry, clock: Clock) -> None:
    lease = await registry.acquire("node1", "vxlan", ONE)
    assert lease.expires == clock.now + 100
    clock.now += 99
    assert (await registry.snapshot()).leases == {"node1": lease}
    clock.now += 1
    assert (await registry.snapshot()).leases == {}


async def test_a_snapshot_tells_the_new_expiry_of_a_renewed_lease(registry: SqliteRegistry, clock: Clock) -> None:
    lease = await registry.acquire("node1", "vxlan", ONE)
    await registry.snapshot()
    clock.now += 50
    renewed = await registry.renew(lease)
    assert renewed.expires == clock.now + 100
    assert (await registry.snapshot()).leases == {"node1": renewed}


async def test_the_subnet_of_an_expired_lease_is_free(registry: SqliteRegistry, clock: Clock) -> None:
    lease = await registry.acquire("node1", "vxlan", ONE)
    clock.now += 100
    assert (await registry.acquire("node2", "vxlan", TWO)).subnets == lease.subnets
    with pytest.raises(LeaseError, match=r"node1 on 10\.5\.1\.0/24 is lost"):
        await registry.renew(lease)


async def test_an_expired_lease_that_nobody_took_can_be_renewed(registry: SqliteRegistry, clock: Clock) -> None:
    lease = await registry.acquire("node1", "vxlan", ONE)
    clock.now += 1000
    renewed = await registry.renew(lease)
    assert (await registry.snapshot()).leases == {"node1": renewed}


async def test_a_node_whose_lease_expired_has_the_same_subnet_again(registry: SqliteRegistry, clock: Clock) -> None:
    lease = await registry.acquire("node1", "vxlan", ONE, [SUBNET])
    clock.now += 1000
    assert (await registry.acquire("node1", "vxlan", ONE)).subnets == lease.subnets


async def test_a_renewal_changes_no_revision(registry: SqliteRegistry, clock: Clock) -> None:
    lease = await registry.acquire("node1", "vxlan", ONE)
    before = await registry.snapshot()
    clock.now += 1
    await registry.renew(lease)
    await registry.acquire("node1", "vxlan", ONE)
    assert (await registry.snapshot()).revision == before.revision


async def test_a_renewal_repairs_a_value_that_was_damaged(registry: SqliteRegistry, database: Path) -> None:
    lease = await registry.acquire("node1", "vxlan", ONE)
    with closing(sqlite3.connect(database, isolation_level=None)) as shell:
        shell.execute("UPDATE lease SET value = 'rust'")
    assert "node1" in (await registry.snapshot()).rejected
    renewed = await registry.renew(lease)
    snapshot = await registry.snapshot()
    assert (snapshot.leases, snapshot.rejected) == ({"node1": renewed}, {})


async def test_a_reservation_outlives_the_lease_that_made_use_of_it(registry: SqliteRegistry) -> None:
    await registry.reserve("node1", [SUBNET])
    await registry.release(await registry.acquire("node1", "vxlan", ONE))
    assert (await registry.snapshot()).leases == {}
    assert (await registry.acquire("node2", "vxlan", TWO, [SUBNET])).subnets != (SUBNET,)
    assert (await registry.acquire("node1", "vxlan", ONE)).subnets == (SUBNET,)


async def test_reserving_what_a_node_holds_ends_the_expiry_of_its_lease(registry: SqliteRegistry, clock: Clock) -> None:
    await registry.acquire("node1", "vxlan", ONE, [SUBNET])
    await registry.reserve("node1", [SUBNET])
    clock.now += 1000
    assert (await registry.snapshot()).leases["node1"].expires is None


async def test_a_reservation_that_ends_leaves_a_lease_that_expires(registry: SqliteRegistry, clock: Clock) -> None:
    await registry.reserve("node1", [SUBNET])
    await registry.acquire("node1", "vxlan", ONE)
    await registry.reserve("node1", [])
    assert (await registry.snapshot()).leases["node1"].expires == clock.now + 100
    clock.now += 100
    assert (await registry.acquire("node2", "vxlan", TWO, [SUBNET])).subnets == (SUBNET,)


async def test_an_own_lease_that_fits_goes_before_the_reservation(registry: SqliteRegistry) -> None:
    lease = await registry.acquire("node1", "vxlan", ONE)
    await registry.reserve("node1", [SUBNET])
    assert (await registry.acquire("node1", "vxlan", ONE)).subnets == lease.subnets


async def test_two_subnets_of_one_family_cannot_be_reserved(registry: SqliteRegistry) -> None:
    with pytest.raises(InputError, match=r"10\.5\.50\.0/24 and 10\.5\.51\.0/24"):
        await registry.reserve("node1", [SUBNET, ip_network("10.5.51.0/24")])


async def test_a_lease_refused_for_want_of_room_leaves_everything_as_it_was(
    registry: SqliteRegistry, clock: Clock
) -> None:
    await registry.set_config('{"Network":"10.5.0.0/24","SubnetLen":26,"SubnetMin":"10.5.0.0","SubnetMax":"10.5.0.0"}')
    kept = await registry.acquire("node1", "vxlan", ONE)
    before = await registry.snapshot()
    clock.now += 1
    with pytest.raises(LeaseError, match="1 subnets"):
        await registry.acquire("node2", "vxlan", TWO)
    assert (await registry.snapshot()) == before
    assert before.leases == {"node1": kept}


async def test_a_configuration_that_is_none_is_refused(registry: SqliteRegistry) -> None:
    with pytest.raises(ConfigError):
        await registry.set_config('{"Network":"10.5.0.0/31"}')
    assert (await registry.config()).networks == (ip_network("10.5.0.0/16"),)


async def test_a_configuration_that_is_missing_is_told(registry: SqliteRegistry, database: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as shell:
        shell.execute("UPDATE registry SET config = NULL")
    for question in (registry.config(), registry.snapshot(), registry.acquire("node1", "vxlan", ONE)):
        with pytest.raises(ConfigError, match="no network configuration"):
            await question


async def test_a_configuration_whose_row_was_deleted_can_be_set_again(registry: SqliteRegistry, database: Path) -> None:
    lease = await registry.acquire("node1", "vxlan", ONE)
    with closing(sqlite3.connect(database, isolation_level=None)) as shell:
        shell.execute("DELETE FROM registry")
    await registry.configure(CONFIG, 0)
    assert (await registry.snapshot()).leases == {"node1": lease}


async def test_a_registry_that_was_closed_opens_again_at_the_next_question(registry: SqliteRegistry) -> None:
    lease = await registry.acquire("node1", "vxlan", ONE)
    registry.close()
    assert (await registry.snapshot()).leases == {"node1": lease}


def test_a_new_registry_is_for_its_owner_only_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    create(tmp_path / "registry.db", CONFIG)
    assert [file.name for file in tmp_path.iterdir()] == ["registry.db"]
    assert (tmp_path / "registry.db").stat().st_mode & 0o777 == 0o600


def test_a_configuration_that_is_none_makes_no_registry(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        create(tmp_path / "registry.db", "{}")
    assert list(tmp_path.iterdir()) == []


async def test_a_registry_is_never_made_in_the_place_of_another(registry: SqliteRegistry, database: Path) -> None:
    lease = await registry.acquire("node1", "vxlan", ONE)
    with pytest.raises(RegistryError, match="exists already"):
        create(database, CONFIG)
    assert (await registry.snapshot()).leases == {"node1": lease}
    assert not list(database.parent.glob("*.new*"))
