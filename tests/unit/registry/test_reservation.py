"""Reserving subnets, and what somebody is told who may have meant another node."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from nankeen.model.errors import InputError
from nankeen.registry.reservation import reserve
from nankeen.registry.sqlite import SqliteRegistry
from tests.unit.registry.conftest import reach

SUBNET = ip_network("10.5.50.0/24")


@pytest.fixture
def registry(database: Path) -> Iterator[SqliteRegistry]:
    made = SqliteRegistry(database)
    yield made
    made.close()


async def test_what_a_node_holds_is_reserved_without_a_doubt(registry: SqliteRegistry) -> None:
    lease = await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    assert await reserve(registry, "node1", lease.subnets) == ()
    assert (await registry.snapshot()).leases["node1"].expires is None


async def test_a_node_that_holds_something_else_keeps_that(registry: SqliteRegistry) -> None:
    await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    assert await reserve(registry, "node1", [SUBNET]) == ("node1 keeps 10.5.1.0/24 while that lease lasts",)


async def test_a_name_that_nobody_has_is_asked_about(registry: SqliteRegistry) -> None:
    await registry.acquire("worker-1", "vxlan", [reach("10.99.0.1")])
    assert await reserve(registry, "wroker-1", [SUBNET]) == (
        "no node of that name has a lease yet; did you mean worker-1?",
    )
    assert (await registry.snapshot()).reservations == {"wroker-1": (SUBNET,)}


async def test_the_end_of_a_reservation_that_never_was_is_told(registry: SqliteRegistry) -> None:
    await reserve(registry, "node1", [SUBNET])
    assert await reserve(registry, "node2", []) == ("nothing was reserved for it; did you mean node1?",)
    assert await reserve(registry, "node1", []) == ()
    assert (await registry.snapshot()).reservations == {}


@pytest.mark.parametrize("subnet", ["10.6.1.0/24", "10.5.1.0/25", "10.5.0.0/24", "fc00:5:0:1::/64"])
async def test_what_no_node_can_lease_is_not_reserved(registry: SqliteRegistry, subnet: str) -> None:
    with pytest.raises(InputError, match=f"no node can lease {subnet}"):
        await reserve(registry, "node1", [ip_network(subnet)])
    assert (await registry.snapshot()).reservations == {}


@pytest.mark.parametrize("name", ["", "n" * 254, "no\x1bde"])
async def test_a_name_that_no_node_can_have_is_refused(registry: SqliteRegistry, name: str) -> None:
    with pytest.raises(InputError, match="no name of a node"):
        await reserve(registry, name, [SUBNET])
