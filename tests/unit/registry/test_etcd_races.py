"""Several writers at once: no two nodes ever hold overlapping subnets, whoever of them is flannel's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_network
from itertools import combinations

import pytest

from nankeen.model.address import IPNetwork
from nankeen.model.errors import LeaseError, RegistryConflict, RegistryError
from nankeen.model.lease import Lease
from nankeen.registry.etcd import EtcdRegistry
from nankeen.registry.etcd_layout import Contents
from nankeen.registry.etcdrpc import rpc_pb2 as rpc
from tests.unit.registry.conftest import CONFIG, DUAL, reach
from tests.unit.registry.etcdserver import Directory

FLANNELS = '{"PublicIP":"10.99.0.99","PublicIPv6":null,"BackendType":"vxlan"}'


def pool(last: int) -> str:
    """A configuration with that many subnets."""
    return CONFIG.replace('"Backend"', f'"SubnetMin":"10.5.1.0","SubnetMax":"10.5.{last}.0","Backend"')


def meanwhile(registry: EtcdRegistry, happens: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets something happen once, between what `registry` reads next and what it writes then."""
    transact = registry._client.transact
    left = [happens]

    async def late(request: rpc.TxnRequest) -> rpc.TxnResponse:
        if left and any(operation.HasField("request_put") for operation in request.success):
            left.pop()()
        return await transact(request)

    monkeypatch.setattr(registry._client, "transact", late)


async def acquire(directory: Directory, number: int) -> Lease | LeaseError:
    try:
        return await directory.client().acquire(f"node{number}", "vxlan", [reach(f"10.99.0.{number}")])
    except LeaseError as error:
        return error


def disjoint(subnets: list[IPNetwork]) -> bool:
    return not any(one.overlaps(other) for one, other in combinations(subnets, 2))


@pytest.mark.parametrize("nodes, subnets", [(2, 1), (20, 19), (12, 12)])
async def test_nodes_that_race_for_the_last_subnets_all_get_one_of_their_own_while_there_are_any(
    directory: Directory, nodes: int, subnets: int
) -> None:
    directory.configure(pool(subnets))
    found = await asyncio.gather(*(acquire(directory, number) for number in range(1, nodes + 1)))
    leases = [lease for lease in found if isinstance(lease, Lease)]
    refused = [str(error) for error in found if isinstance(error, LeaseError)]
    assert (len(leases), len(refused)) == (subnets, nodes - subnets)
    assert disjoint([lease.subnets[0] for lease in leases])
    assert all(f"used up: {subnets} subnets" in text for text in refused)
    assert (await directory.client().snapshot()).leases == {lease.node: lease for lease in leases}


async def test_a_write_that_was_carried_out_unheard_costs_nobody_the_lease(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = directory.client()
    lease = await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    transact = registry._client.transact

    async def unheard(request: rpc.TxnRequest) -> rpc.TxnResponse:
        await transact(request)
        raise RegistryError("does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(registry._client, "transact", unheard)
        with pytest.raises(RegistryError, match="does not answer"):
            await registry.renew(lease)
    assert (await directory.client().snapshot()).leases.keys() == {"node1"}
    assert (await registry.renew(lease)).subnets == lease.subnets


async def test_an_etcd_lease_on_which_nothing_came_to_hang_is_given_back(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.configure(pool(1))
    registry, before = directory.client(), set(directory.server.ctl("lease", "list").split())
    meanwhile(registry, lambda: directory.flannel("10.5.1.0-24", FLANNELS), monkeypatch)
    with pytest.raises(LeaseError, match="used up"):
        await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    flannels = set(map(str, directory.server.leases(f"{directory.prefix}/subnets/").values()))
    after = set(directory.server.ctl("lease", "list").split()[3:]) - before
    assert {str(int(name, 16)) for name in after} == flannels


async def test_whoever_loses_a_race_has_another_subnet(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = directory.client()
    meanwhile(registry, lambda: directory.flannel("10.5.1.0-24", FLANNELS), monkeypatch)
    lease = await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    assert lease.subnets == (ip_network("10.5.2.0/24"),)


@pytest.mark.parametrize("key", ["10.5.0.0-20", "10.5.1.128-25", "10.5.1.0-24&fc00:5:0:1::-64"])
async def test_a_subnet_that_only_overlaps_is_lost_too(
    directory: Directory, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    registry = directory.client()
    value = FLANNELS.replace("null", '"fd99::99"')
    meanwhile(registry, lambda: directory.flannel(key, value), monkeypatch)
    lease = await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    held = ip_network("10.5.0.0/20" if key == "10.5.0.0-20" else "10.5.1.0/24")
    assert not lease.subnets[0].overlaps(held)


async def test_a_reservation_loses_a_race_like_a_lease(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = directory.client()
    meanwhile(registry, lambda: directory.flannel("10.5.0.0-20", FLANNELS), monkeypatch)
    with pytest.raises(LeaseError, match=r"10\.99\.0\.99 holds 10\.5\.0\.0/20"):
        await registry.reserve("node1", [ip_network("10.5.1.0/24")])


async def test_a_node_whose_own_lease_goes_while_it_asks_again_gets_one_all_the_same(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = directory.client()
    before = await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])

    def lose() -> None:
        directory.delete("10.5.1.0-24")
        directory.flannel("10.5.1.0-24", FLANNELS)

    meanwhile(registry, lose, monkeypatch)
    after = await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    assert disjoint([*before.subnets, *after.subnets])


async def test_a_lease_that_another_takes_during_its_renewal_is_lost(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = directory.client()
    lease = await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    meanwhile(registry, lambda: directory.flannel("10.5.1.0-24", FLANNELS), monkeypatch)
    with pytest.raises(LeaseError, match="lost"):
        await registry.renew(lease)
    assert directory.subnets == {"10.5.1.0-24": FLANNELS}


async def test_a_lease_is_not_given_by_a_configuration_that_has_just_changed(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = directory.client()
    other = CONFIG.replace("10.5.0.0/16", "10.6.0.0/16")
    meanwhile(registry, lambda: directory.configure(other), monkeypatch)
    lease = await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    assert lease.subnets == (ip_network("10.6.1.0/24"),)


async def test_a_renewal_is_in_nobodys_way(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = directory.client()
    directory.flannel("10.5.9.0-24", FLANNELS)
    meanwhile(registry, lambda: directory.flannel("10.5.9.0-24", FLANNELS), monkeypatch)
    read, reads = registry._read_all, list[int]()

    async def counting() -> Contents:
        reads.append(1)
        return await read()

    monkeypatch.setattr(registry, "_read_all", counting)
    await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    assert len(reads) == 1


async def test_a_configuration_is_not_written_over_a_node_that_joins_meanwhile(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = directory.client()
    basis = (await registry.snapshot()).revision
    meanwhile(registry, lambda: directory.flannel("10.5.9.0-24", FLANNELS), monkeypatch)
    with pytest.raises(RegistryConflict):
        await registry.configure(DUAL, basis)
    assert await registry.configuration() == CONFIG


async def test_a_configuration_is_not_written_over_one_whose_node_has_left(directory: Directory) -> None:
    registry = directory.client()
    lease = await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    basis = (await registry.snapshot()).revision
    await registry.release(lease)
    with pytest.raises(RegistryConflict):
        await registry.configure(DUAL, basis)


async def test_a_configuration_is_written_where_only_a_lease_was_renewed(directory: Directory) -> None:
    registry = directory.client()
    lease = await registry.acquire("node1", "vxlan", [reach("10.99.0.1")])
    basis = (await registry.snapshot()).revision
    await registry.renew(lease)
    await registry.configure(DUAL, basis)
    assert await registry.configuration() == DUAL
