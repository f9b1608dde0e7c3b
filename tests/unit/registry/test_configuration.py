"""Whom another configuration would strand, what else it would do, and how it is set although nodes join meanwhile."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nankeen.model.errors import ConfigError, RegistryConflict, RegistryError
from nankeen.model.lease import Lease
from nankeen.model.netconf import NetworkConfig
from nankeen.registry import Snapshot, make_registry, open_registry
from nankeen.registry.configuration import ATTEMPTS, change, check, effects, foresee, misfit, unknown_members
from nankeen.registry.sqlite import SqliteRegistry
from tests.unit.registry.conftest import CONFIG, DUAL, Cluster, reach

ONE, BOTH = [reach("10.99.0.1")], [reach("10.99.0.1"), reach("fd99::1")]
ELSEWHERE = CONFIG.replace("10.5.", "10.6.")


def written(**members: Any) -> str:  # noqa: ANN401  (what JSON can say)
    return json.dumps({"Network": "10.5.0.0/16", **members})


@pytest.fixture
def registry(database: Path) -> Iterator[SqliteRegistry]:
    made = SqliteRegistry(database)
    yield made
    made.close()


@pytest.mark.parametrize(
    "subnet, why",
    [
        ("10.5.1.0/24", ""),
        ("10.6.1.0/24", "it lies outside the network 10.5.0.0/16"),
        ("10.0.0.0/8", "it lies outside the network 10.5.0.0/16"),
        ("10.5.0.0/16", "its length is 16, and that of subnets is 24"),
        ("10.5.1.0/25", "its length is 25, and that of subnets is 24"),
        ("10.5.0.0/24", "it lies below the first subnet, 10.5.1.0/24"),
        ("10.5.9.0/24", "it lies above the last subnet, 10.5.8.0/24"),
        ("fc00:5:0:1::/64", "IPv6 is not enabled"),
    ],
)
def test_a_subnet_that_cannot_be_leased_is_told_why(subnet: str, why: str) -> None:
    assert misfit(NetworkConfig.parse(written(SubnetMax="10.5.8.0")), ip_network(subnet)) == why


@settings(max_examples=200)
@given(base=st.integers(0x0A040000, 0x0A070000), length=st.integers(8, 30))
def test_what_is_told_to_fit_is_what_the_pool_admits(base: int, length: int) -> None:
    subnet = ip_network((base, length), strict=False)
    config = NetworkConfig.parse(written(SubnetMin="10.5.16.0", SubnetMax="10.5.32.0"))
    assert (misfit(config, subnet) == "") == config.pools[0].admits(subnet)


def test_options_of_a_backend_are_checked_too() -> None:
    assert check(CONFIG) == NetworkConfig.parse(CONFIG)
    for wrong in (
        written(Backend={"Type": "vxlan", "VNI": -1}),
        written(Backend={"Type": "vxlna"}),
        written(Fallbacks=[{"Type": "vxlna"}]),
        "{",
    ):
        with pytest.raises(ConfigError):
            check(wrong)


def test_a_member_that_means_nothing_is_told_with_the_one_that_may_be_meant() -> None:
    text = written(subnetlen=24, SubnetLenght=26, Comment="ours")
    assert unknown_members(text) == (
        "'SubnetLenght' means nothing and is passed over; SubnetLen is meant?",
        "'Comment' means nothing and is passed over",
    )


@pytest.mark.parametrize(
    "before, after, said",
    [
        ({}, {}, []),
        ({}, {"Backend": {"Type": "host-gw"}}, ["the backend changes from vxlan to host-gw: agents follow live", "no"]),
        ({}, {"Backend": {"Type": "vxlan", "VNI": 7}}, ["options of vxlan change", "no packet is lost"]),
        ({}, {"Backend": {"Type": "vxlan", "Port": 9}}, ["packets are lost for a moment", "Port cannot differ"]),
        ({}, {"Backend": {"Type": "extension"}}, ["packets are lost for a moment", "commands of extension"]),
        ({}, {"Fallbacks": [{"Type": "host-gw"}]}, ["fallbacks change from none to host-gw"]),
        ({}, {"EnableIPv6": True, "IPv6Network": "fc00:5::/48"}, ["IPv6 is added"]),
    ],
)
def test_what_becomes_of_packets_is_told(before: dict[str, Any], after: dict[str, Any], said: list[str]) -> None:
    snapshot = Snapshot(NetworkConfig.parse(written(**before)), {}, 1)
    notes = effects(NetworkConfig.parse(written(**after)), snapshot).notes
    assert len(notes) == bool(said)
    assert all(words in note for note in notes for words in said)


async def test_a_configuration_that_strands_nobody_is_set(registry: SqliteRegistry) -> None:
    await registry.acquire("node1", "vxlan", ONE)
    found = await change(registry, DUAL)
    assert found.stranded == ()
    assert await registry.configuration() == DUAL


async def test_a_configuration_that_strands_a_lease_is_not_set_and_names_it(registry: SqliteRegistry) -> None:
    await registry.acquire("node1", "vxlan", ONE)
    found = await change(registry, ELSEWHERE)
    assert [str(lost) for lost in found.stranded] == [
        "10.5.1.0/24 of node1: it lies outside the network 10.6.0.0/16",
    ]
    assert await registry.configuration() == CONFIG


async def test_a_lease_that_has_no_place_today_either_holds_up_nothing(registry: SqliteRegistry) -> None:
    await registry.acquire("node1", "vxlan", ONE)
    await change(registry, ELSEWHERE, force=True)
    assert (await change(registry, CONFIG.replace("10.5.", "10.7."))).stranded == ()


async def test_what_a_change_would_do_is_told_without_doing_it(registry: SqliteRegistry) -> None:
    await registry.acquire("node1", "vxlan", ONE)
    assert [lost.node for lost in (await foresee(registry, ELSEWHERE)).stranded] == ["node1"]
    assert (await foresee(registry, DUAL)).stranded == ()
    assert await registry.configuration() == CONFIG


async def test_by_force_it_is_set_and_still_names_who_is_stranded(registry: SqliteRegistry) -> None:
    await registry.acquire("node1", "vxlan", ONE)
    found = await change(registry, ELSEWHERE, force=True)
    assert [lost.node for lost in found.stranded] == ["node1"]
    assert await registry.configuration() == ELSEWHERE


async def test_a_family_that_goes_strands_its_subnets_alone(registry: SqliteRegistry) -> None:
    await change(registry, DUAL)
    lease = await registry.acquire("node1", "vxlan", BOTH)
    found = await change(registry, CONFIG)
    assert [(lost.subnet, lost.why) for lost in found.stranded] == [(lease.subnets[1], "IPv6 is not enabled")]


async def test_a_reservation_that_loses_its_place_is_told_and_holds_up_nothing(registry: SqliteRegistry) -> None:
    await registry.reserve("node7", [ip_network("10.5.7.0/24")])
    found = await change(registry, ELSEWHERE)
    assert found.stranded == ()
    assert found.notes == (
        "the reservation of 10.5.7.0/24 for node7 can no longer be leased: it lies outside the network 10.6.0.0/16",
    )


class Crowded(SqliteRegistry):
    """A registry in which somebody does something between each look and the write that follows from it."""

    between: list[Callable[[], Awaitable[Lease]]]

    async def snapshot(self) -> Snapshot:
        found = await super().snapshot()
        if self.between:
            await self.between.pop(0)()
        return found


async def test_a_node_that_joins_meanwhile_is_seen_before_anything_is_written(database: Path) -> None:
    registry, other = Crowded(database), SqliteRegistry(database)
    registry.between = [lambda: other.acquire("node1", "vxlan", ONE)]
    found = await change(registry, ELSEWHERE)
    assert [lost.node for lost in found.stranded] == ["node1"]
    assert await other.configuration() == CONFIG
    registry.close()
    other.close()


async def test_a_race_that_harms_nobody_is_tried_again(database: Path) -> None:
    registry, other = Crowded(database), SqliteRegistry(database)
    registry.between = [lambda: other.acquire("node1", "vxlan", ONE), lambda: other.acquire("node1", "host-gw", ONE)]
    assert (await change(registry, DUAL)).stranded == ()
    assert await other.configuration() == DUAL
    registry.close()
    other.close()


async def test_a_race_without_end_is_given_up(database: Path) -> None:
    registry, other = Crowded(database), SqliteRegistry(database)
    names = iter(range(2 * ATTEMPTS))
    registry.between = [lambda: other.acquire(f"node{next(names)}", "vxlan", ONE)] * (2 * ATTEMPTS)
    with pytest.raises(RegistryConflict, match=f"changed {ATTEMPTS} times"):
        await change(registry, DUAL)
    assert await other.configuration() == CONFIG
    registry.close()
    other.close()


async def test_a_missing_configuration_is_set_and_a_wrong_one_only_by_force(cluster: Cluster) -> None:
    registry = cluster.client()
    await cluster.scribble(None)
    assert (await change(registry, CONFIG)).stranded == ()
    await cluster.scribble("{")
    registry = cluster.client()
    with pytest.raises(RegistryError, match="its present configuration is wrong"):
        await change(registry, DUAL)
    await change(registry, DUAL, force=True)
    assert await registry.configuration() == DUAL


async def test_a_registry_is_made_where_there_is_none_and_left_alone_where_there_is_one(tmp_path: Path) -> None:
    address = f"sqlite://{tmp_path}/new/registry.db"
    assert make_registry(address, CONFIG)
    assert not make_registry(address, DUAL)
    registry = open_registry(address)
    assert await registry.configuration() == CONFIG
    registry.close()
    with pytest.raises(RegistryError, match="the directory does not exist"):
        make_registry(f"sqlite://{tmp_path}/two/steps/registry.db", CONFIG)
