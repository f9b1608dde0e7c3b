"""What every registry promises. One suite for all kinds: `conftest.KINDS` names them."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_network

import pytest

from nankeen.model.errors import ConfigError, LeaseError, RegistryConflict
from nankeen.model.netconf import NetworkConfig
from nankeen.registry import Registry
from tests.unit.registry.conftest import CONFIG, DUAL, Cluster, reach

ONE = [reach("10.99.0.1")]
TWO = [reach("10.99.0.2")]
BOTH = [reach("10.99.0.1"), reach("fd99::1")]
FOUR_SUBNETS = '{"Network":"10.5.0.0/16","SubnetMin":"10.5.1.0","SubnetMax":"10.5.4.0","Backend":{"Type":"vxlan"}}'


async def test_the_configuration_is_the_one_it_was_made_with(registry: Registry) -> None:
    assert await registry.config() == NetworkConfig.parse(CONFIG)


async def test_the_configuration_is_told_as_it_was_written(registry: Registry) -> None:
    assert await registry.configuration() == CONFIG
    spaced = CONFIG.replace(",", ",\n  ")
    await registry.configure(spaced, (await registry.snapshot()).revision)
    assert await registry.configuration() == spaced


async def test_a_configuration_is_set_where_nothing_has_changed_since_the_snapshot(
    cluster: Cluster, registry: Registry
) -> None:
    await registry.acquire("node1", "vxlan", ONE)
    await registry.configure(DUAL, (await registry.snapshot()).revision)
    assert await cluster.client().config() == NetworkConfig.parse(DUAL)


async def test_a_configuration_is_not_set_where_a_node_has_joined_since_the_snapshot(registry: Registry) -> None:
    basis = (await registry.snapshot()).revision
    await registry.acquire("node1", "vxlan", ONE)
    with pytest.raises(RegistryConflict):
        await registry.configure(DUAL, basis)
    assert await registry.configuration() == CONFIG


async def test_of_two_who_set_the_configuration_from_one_snapshot_the_second_is_told(
    cluster: Cluster, registry: Registry
) -> None:
    basis = (await registry.snapshot()).revision
    await registry.configure(DUAL, basis)
    with pytest.raises(RegistryConflict):
        await cluster.client().configure(FOUR_SUBNETS, basis)
    assert await registry.configuration() == DUAL


async def test_a_configuration_is_not_set_as_the_first_where_there_is_one(registry: Registry) -> None:
    with pytest.raises(RegistryConflict):
        await registry.configure(DUAL, 0)
    assert await registry.configuration() == CONFIG


async def test_a_configuration_that_is_none_is_not_set(registry: Registry) -> None:
    with pytest.raises(ConfigError):
        await registry.configure('{"Network":"10.5.0.0/31"}', (await registry.snapshot()).revision)
    assert await registry.configuration() == CONFIG


async def test_a_configuration_that_is_missing_is_told_and_can_be_set(cluster: Cluster, registry: Registry) -> None:
    await cluster.scribble(None)
    with pytest.raises(ConfigError, match="no network configuration"):
        await registry.configuration()
    await registry.configure(DUAL, 0)
    assert await registry.config() == NetworkConfig.parse(DUAL)


async def test_a_configuration_that_is_wrong_is_told_as_it_is_and_can_be_replaced(
    cluster: Cluster, registry: Registry
) -> None:
    await cluster.scribble("{")
    assert await registry.configuration() == "{"
    await registry.configure(DUAL, 0)
    assert await registry.config() == NetworkConfig.parse(DUAL)


async def test_a_lease_is_what_was_asked_for_on_a_subnet_of_the_pool(registry: Registry) -> None:
    lease = await registry.acquire("node1", "vxlan", ONE)
    assert (lease.node, lease.backend, lease.endpoints[0].reach) == ("node1", "vxlan", ONE[0])
    (pool,) = (await registry.config()).pools
    assert pool.admits(lease.subnets[0])


async def test_every_node_has_another_subnet(registry: Registry) -> None:
    leases = [await registry.acquire(f"node{number}", "vxlan", [reach(f"10.99.0.{number}")]) for number in range(1, 30)]
    assert len({lease.subnets for lease in leases}) == len(leases)


async def test_both_families_get_a_subnet_each_ipv4_first(cluster: Cluster, registry: Registry) -> None:
    await cluster.configure(DUAL)
    lease = await registry.acquire("node1", "vxlan", list(reversed(BOTH)))
    assert [endpoint.subnet.version for endpoint in lease.endpoints] == [4, 6]
    assert [endpoint.reach for endpoint in lease.endpoints] == BOTH


async def test_a_node_without_an_address_of_a_family_in_use_gets_no_lease(cluster: Cluster, registry: Registry) -> None:
    await cluster.configure(DUAL)
    with pytest.raises(LeaseError, match="IPv6"):
        await registry.acquire("node1", "vxlan", ONE)


async def test_a_node_that_asks_again_has_its_own_lease_with_the_new_ways_to_reach_it(registry: Registry) -> None:
    before = await registry.acquire("node1", "vxlan", ONE)
    after = await registry.acquire("node1", "host-gw", [reach("10.99.0.7", None)])
    assert after.subnets == before.subnets
    assert (after.backend, after.endpoints[0].reach) == ("host-gw", reach("10.99.0.7", None))
    assert (await registry.snapshot()).leases == {"node1": after}


async def test_an_own_lease_goes_before_the_previous_subnet(registry: Registry) -> None:
    own = await registry.acquire("node1", "vxlan", ONE)
    again = await registry.acquire("node1", "vxlan", ONE, [ip_network("10.5.9.0/24")])
    assert again.subnets == own.subnets


async def test_a_node_that_lost_its_lease_has_its_previous_subnet_again_where_it_is_free(registry: Registry) -> None:
    lease = await registry.acquire("node1", "vxlan", ONE, [ip_network("10.5.77.0/24")])
    assert lease.subnets == (ip_network("10.5.77.0/24"),)


@pytest.mark.parametrize("previous", ["10.5.0.0/24", "10.5.7.0/25", "10.6.1.0/24", "fc00:5:0:1::/64"])
async def test_a_previous_subnet_that_does_not_fit_the_configuration_is_not_taken(
    registry: Registry, previous: str
) -> None:
    lease = await registry.acquire("node1", "vxlan", ONE, [ip_network(previous)])
    assert lease.subnets != (ip_network(previous),)


async def test_a_previous_subnet_that_another_holds_is_not_taken(registry: Registry) -> None:
    other = await registry.acquire("node1", "vxlan", ONE)
    lease = await registry.acquire("node2", "vxlan", TWO, other.subnets)
    assert not lease.subnets[0].overlaps(other.subnets[0])


async def test_a_lease_that_no_longer_fits_the_configuration_gives_way_to_one_that_does(
    cluster: Cluster, registry: Registry
) -> None:
    await registry.acquire("node1", "vxlan", ONE)
    await cluster.configure(CONFIG.replace("10.5.0.0/16", "10.6.0.0/16"))
    lease = await registry.acquire("node1", "vxlan", ONE)
    assert lease.subnets[0].overlaps(ip_network("10.6.0.0/16"))
    assert (await registry.snapshot()).leases == {"node1": lease}


async def test_a_family_that_is_added_leaves_the_subnet_of_the_other_as_it_is(
    cluster: Cluster, registry: Registry
) -> None:
    before = await registry.acquire("node1", "vxlan", ONE, [ip_network("10.5.33.0/24")])
    await cluster.configure(DUAL)
    after = await registry.acquire("node1", "vxlan", BOTH)
    assert after.subnets[0] == before.subnets[0]
    assert after.subnets[1].overlaps(ip_network("fc00:5::/48"))


async def test_subnets_of_another_length_are_in_the_way_where_they_overlap(
    cluster: Cluster, registry: Registry
) -> None:
    await cluster.configure(CONFIG.replace('"Backend"', '"SubnetLen":20,"Backend"'))
    wide = await registry.acquire("node1", "vxlan", ONE)
    await cluster.configure(CONFIG)
    inside = IPv4Network((int(wide.subnets[0].network_address), 24))
    lease = await registry.acquire("node2", "vxlan", TWO, [inside])
    assert not lease.subnets[0].overlaps(wide.subnets[0])


async def test_a_pool_that_is_used_up_says_so_with_its_name_and_how_many_subnets_are_held(
    cluster: Cluster, registry: Registry
) -> None:
    await cluster.configure(FOUR_SUBNETS)
    for number in range(1, 5):
        await registry.acquire(f"node{number}", "vxlan", [reach(f"10.99.0.{number}")])
    with pytest.raises(LeaseError, match=r"10\.5\.0\.0/16 is used up: 4 "):
        await registry.acquire("node5", "vxlan", [reach("10.99.0.5")])


async def test_a_released_subnet_is_free_again(cluster: Cluster, registry: Registry) -> None:
    await cluster.configure(FOUR_SUBNETS)
    leases = [await registry.acquire(f"node{number}", "vxlan", [reach(f"10.99.0.{number}")]) for number in range(1, 5)]
    await registry.release(leases[2])
    assert (await registry.acquire("node5", "vxlan", [reach("10.99.0.5")])).subnets == leases[2].subnets


async def test_releasing_a_lease_twice_is_no_error(registry: Registry) -> None:
    lease = await registry.acquire("node1", "vxlan", ONE)
    await registry.release(lease)
    await registry.release(lease)
    assert (await registry.snapshot()).leases == {}


async def test_releasing_an_old_lease_leaves_a_new_one_alone(cluster: Cluster, registry: Registry) -> None:
    old = await registry.acquire("node1", "vxlan", ONE)
    await cluster.configure(CONFIG.replace("10.5.0.0/16", "10.6.0.0/16"))
    new = await registry.acquire("node1", "vxlan", ONE)
    await registry.release(old)
    assert (await registry.snapshot()).leases == {"node1": new}


async def test_a_renewed_lease_is_the_same_but_for_its_expiry(registry: Registry) -> None:
    lease = await registry.acquire("node1", "vxlan", ONE)
    renewed = await registry.renew(lease)
    assert (renewed.node, renewed.backend, renewed.endpoints) == (lease.node, lease.backend, lease.endpoints)
    assert lease.expires is not None
    assert renewed.expires is not None
    assert renewed.expires >= lease.expires


async def test_a_released_lease_cannot_be_renewed(registry: Registry) -> None:
    lease = await registry.acquire("node1", "vxlan", ONE)
    await registry.release(lease)
    with pytest.raises(LeaseError, match="node1"):
        await registry.renew(lease)


async def test_a_lease_whose_subnet_another_took_cannot_be_renewed(registry: Registry) -> None:
    lease = await registry.acquire("node1", "vxlan", ONE)
    await registry.release(lease)
    other = await registry.acquire("node2", "vxlan", TWO, lease.subnets)
    with pytest.raises(LeaseError, match="node1"):
        await registry.renew(lease)
    assert (await registry.snapshot()).leases == {"node2": other}


async def test_a_reserved_subnet_goes_to_its_node_and_never_expires(registry: Registry) -> None:
    await registry.reserve("node1", [ip_network("10.5.50.0/24")])
    lease = await registry.acquire("node1", "vxlan", ONE)
    assert (lease.subnets, lease.expires) == ((ip_network("10.5.50.0/24"),), None)
    assert (await registry.renew(lease)).expires is None


async def test_a_reserved_subnet_goes_to_nobody_else(registry: Registry) -> None:
    await registry.reserve("node1", [ip_network("10.5.1.0/24")])
    lease = await registry.acquire("node2", "vxlan", TWO, [ip_network("10.5.1.0/24")])
    assert lease.subnets != (ip_network("10.5.1.0/24"),)


async def test_a_reservation_alone_is_no_lease(registry: Registry) -> None:
    await registry.reserve("node1", [ip_network("10.5.1.0/24")])
    assert (await registry.snapshot()).leases == {}


async def test_a_snapshot_tells_what_is_reserved_for_whom_also_when_it_is_leased(registry: Registry) -> None:
    kept = (ip_network("10.5.50.0/24"),)
    await registry.reserve("node1", kept)
    assert (await registry.snapshot()).reservations == {"node1": kept}
    await registry.acquire("node1", "vxlan", ONE)
    assert (await registry.snapshot()).reservations == {"node1": kept}
    await registry.reserve("node1", [])
    assert (await registry.snapshot()).reservations == {}


@pytest.mark.parametrize("wanted", ["10.5.50.0/24", "10.5.50.128/25", "10.5.48.0/22"])
async def test_what_another_holds_cannot_be_reserved(registry: Registry, wanted: str) -> None:
    await registry.acquire("node1", "vxlan", ONE, [ip_network("10.5.50.0/24")])
    with pytest.raises(LeaseError, match="node1"):
        await registry.reserve("node2", [ip_network(wanted)])


async def test_what_is_reserved_for_another_cannot_be_reserved(registry: Registry) -> None:
    await registry.reserve("node1", [ip_network("10.5.50.0/24")])
    with pytest.raises(LeaseError, match="node1"):
        await registry.reserve("node2", [ip_network("10.5.50.0/24")])


async def test_a_reservation_that_ends_leaves_the_subnet_to_others(registry: Registry) -> None:
    await registry.reserve("node1", [ip_network("10.5.50.0/24")])
    await registry.reserve("node1", [])
    lease = await registry.acquire("node2", "vxlan", TWO, [ip_network("10.5.50.0/24")])
    assert lease.subnets == (ip_network("10.5.50.0/24"),)


async def test_all_clients_see_the_same(cluster: Cluster, registry: Registry) -> None:
    lease = await registry.acquire("node1", "vxlan", ONE)
    assert (await cluster.client().snapshot()).leases == {"node1": lease}


async def test_a_watch_begins_with_what_is_there(registry: Registry) -> None:
    lease = await registry.acquire("node1", "vxlan", ONE)
    snapshot = await anext(registry.watch())
    assert (snapshot.config, snapshot.leases) == (NetworkConfig.parse(CONFIG), {"node1": lease})


async def test_a_watch_tells_of_a_node_that_joins_one_that_changes_and_one_that_leaves(
    cluster: Cluster, registry: Registry
) -> None:
    watch = cluster.client().watch()
    assert (await anext(watch)).leases == {}
    joined = await registry.acquire("node1", "vxlan", ONE)
    assert (await anext(watch)).leases == {"node1": joined}
    changed = await registry.acquire("node1", "vxlan", [reach("10.99.0.9")])
    assert (await anext(watch)).leases == {"node1": changed}
    await registry.release(changed)
    assert (await anext(watch)).leases == {}


async def test_a_lease_that_did_not_change_stays_the_same_object(cluster: Cluster, registry: Registry) -> None:
    await registry.acquire("node1", "vxlan", ONE)
    watch = cluster.client().watch()
    before = await anext(watch)
    await registry.acquire("node2", "vxlan", TWO)
    after = await anext(watch)
    assert after.leases["node1"] is before.leases["node1"]
    assert after.revision > before.revision


async def test_a_watch_tells_of_another_configuration(cluster: Cluster, registry: Registry) -> None:
    watch = registry.watch()
    await anext(watch)
    await cluster.configure(DUAL)
    assert (await anext(watch)).config == NetworkConfig.parse(DUAL)
