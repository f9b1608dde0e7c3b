"""etcd as flannel's nodes see it, and they as we do: keys and values to the letter, names, reservations, renewals."""

from __future__ import annotations

import json
import time
from contextlib import aclosing
from ipaddress import ip_network
from typing import Any

import pytest

from nankeen.model.errors import LeaseError
from nankeen.model.lease import Offer
from nankeen.registry.etcd_layout import KEPT
from nankeen.registry.etcdrpc import rpc_pb2 as rpc
from tests.unit.registry.conftest import CONFIG, DUAL, reach
from tests.unit.registry.etcdserver import Directory

ONE = [reach("10.99.0.1")]
TWO = [reach("10.99.0.2")]
DATA = '{"VNI":1,"VtepMAC":"3e:6d:0f:c1:4e:b2"}'
FLANNELS = f'{{"PublicIP":"10.99.0.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{DATA}}}'
RESERVED = '{"PublicIP":"10.99.0.1","PublicIPv6":null}'
IPV6 = '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00:5::/48","Backend":{"Type":"vxlan"}}'
WIDE = '{"PublicIP":"10.99.0.9","PublicIPv6":null,"BackendType":"vxlan"}'


async def test_a_lease_stands_under_flannels_key_to_the_letter(directory: Directory) -> None:
    await directory.client().acquire("node1", "vxlan", ONE)
    assert directory.subnets == {"10.5.1.0-24": FLANNELS}


async def test_a_lease_without_data_has_no_word_for_it(directory: Directory) -> None:
    await directory.client().acquire("node1", "host-gw", [reach("10.99.0.1", None)])
    expected = '{"PublicIP":"10.99.0.1","PublicIPv6":null,"BackendType":"host-gw"}'
    assert directory.subnets == {"10.5.1.0-24": expected}


async def test_both_families_stand_under_one_key(directory: Directory) -> None:
    directory.configure(DUAL)
    await directory.client().acquire("node1", "vxlan", [reach("10.99.0.1"), reach("fd99::1")])
    expected = (
        '{"PublicIP":"10.99.0.1","PublicIPv6":"fd99::1","BackendType":"vxlan",'
        f'"BackendData":{DATA},"BackendV6Data":{DATA}}}'
    )
    assert directory.subnets == {"10.5.1.0-24&fc00:5:0:1::-64": expected}


async def test_ipv6_alone_stands_under_a_key_that_flannel_passes_over(directory: Directory) -> None:
    directory.configure(IPV6)
    await directory.client().acquire("node1", "vxlan", [reach("fd99::1")])
    await directory.client().acquire("node2", "vxlan", [reach("fd99::2")])
    assert list(directory.subnets) == ["fc00:5:0:1::-64", "fc00:5:0:2::-64"]


async def test_a_lease_hangs_on_an_etcd_lease_of_a_day_with_its_name(directory: Directory) -> None:
    before = time.time()
    lease = await directory.client().acquire("node1", "vxlan", ONE)
    [name] = directory.server.leases(directory.prefix + "/nodes/").values()
    assert directory.leases == {"10.5.1.0-24": name}
    told = json.loads(directory.server.ctl("lease", "timetolive", f"{name:x}", "--write-out=json"))
    assert told["granted-ttl"] == 86400
    assert lease.expires is not None
    assert before + 86400 <= lease.expires <= time.time() + 86400


async def test_a_node_of_flannels_is_known_by_its_public_address(directory: Directory) -> None:
    directory.flannel("10.5.7.0-24", FLANNELS)
    snapshot = await directory.client().snapshot()
    [(name, lease)] = snapshot.leases.items()
    assert (name, lease.node, lease.subnets) == ("10.99.0.1", "10.99.0.1", (ip_network("10.5.7.0/24"),))
    assert lease.endpoints[0].reach == ONE[0]


async def test_a_node_that_moves_from_flannel_keeps_its_subnet_by_its_public_address(directory: Directory) -> None:
    directory.flannel("10.5.7.0-24", FLANNELS)
    lease = await directory.client().acquire("node1", "vxlan", ONE)
    assert lease.subnets == (ip_network("10.5.7.0/24"),)
    assert list((await directory.client().snapshot()).leases) == ["node1"]


async def test_a_node_that_moves_back_to_flannel_is_known_by_its_address_again(directory: Directory) -> None:
    await directory.client().acquire("node1", "vxlan", ONE)
    directory.flannel("10.5.1.0-24", FLANNELS)
    assert list((await directory.client().snapshot()).leases) == ["10.99.0.1"]


async def test_a_note_that_outlived_its_lease_does_not_name_whoever_took_the_subnet(directory: Directory) -> None:
    registry = directory.client()
    lease = await registry.acquire("node1", "vxlan", ONE)
    directory.delete("10.5.1.0-24")
    directory.flannel("10.5.1.0-24", FLANNELS.replace("10.99.0.1", "10.99.0.2"))
    assert list((await registry.snapshot()).leases) == ["10.99.0.2"]
    with pytest.raises(LeaseError, match="node1"):
        await registry.renew(lease)
    assert (await registry.acquire("node1", "vxlan", ONE)).subnets != lease.subnets


async def test_a_lease_of_another_name_is_not_taken_over_by_its_address(directory: Directory) -> None:
    other = await directory.client().acquire("node1", "vxlan", ONE)
    assert (await directory.client().acquire("node2", "vxlan", ONE)).subnets != other.subnets


async def test_a_lease_of_flannels_that_does_not_fit_goes_when_its_node_has_another(directory: Directory) -> None:
    directory.flannel("10.6.7.0-24", FLANNELS)
    await directory.client().acquire("node1", "vxlan", ONE)
    assert list(directory.subnets) == ["10.5.1.0-24"]
    assert list(directory.names) == ["10.5.1.0-24"]


@pytest.mark.parametrize("renews", [False, True])
async def test_a_reservation_that_an_administrator_made_stays_one(directory: Directory, renews: bool) -> None:  # noqa: FBT001
    directory.reserve("10.5.50.0-24", RESERVED)
    registry = directory.client()
    lease = await registry.acquire("node1", "vxlan", ONE)
    if renews:
        lease = await registry.renew(lease)
    assert (lease.subnets, lease.expires) == ((ip_network("10.5.50.0/24"),), None)
    assert directory.leases == {"10.5.50.0-24": 0}


async def test_a_reservation_of_an_administrator_is_told_as_one(directory: Directory) -> None:
    directory.reserve("10.5.50.0-24", RESERVED)
    snapshot = await directory.client().snapshot()
    assert (snapshot.leases, snapshot.rejected) == ({}, {})
    assert snapshot.reservations == {"10.99.0.1": (ip_network("10.5.50.0/24"),)}


async def test_a_released_lease_leaves_the_reservation_it_made_use_of(directory: Directory) -> None:
    directory.reserve("10.5.1.0-24", RESERVED)
    registry = directory.client()
    await registry.release(await registry.acquire("node1", "vxlan", ONE))
    assert directory.subnets == {"10.5.1.0-24": KEPT.decode()}
    assert (await registry.acquire("node2", "vxlan", TWO)).subnets != (ip_network("10.5.1.0/24"),)
    assert (await registry.acquire("node1", "vxlan", ONE)).subnets == (ip_network("10.5.1.0/24"),)


async def test_flannel_leaves_a_reserved_subnet_alone_and_sends_nothing_there(directory: Directory) -> None:
    await directory.client().reserve("node1", [ip_network("10.5.1.0/24")])
    assert directory.subnets == {"10.5.1.0-24": '{"PublicIP":"0.0.0.0","PublicIPv6":null}'}
    assert directory.leases == {"10.5.1.0-24": 0}


async def test_a_start_on_a_reservation_that_reads_the_same_writes_nothing(directory: Directory) -> None:
    await directory.client().reserve("node1", [ip_network("10.5.50.0/24")])
    before = await directory.client().acquire("node1", "vxlan", ONE)
    revision = directory.server.revision
    registry = directory.client()
    assert await registry.acquire("node1", "vxlan", ONE) == before
    assert directory.server.revision == revision
    async with aclosing(registry.watch()) as watch:
        assert (await anext(watch)).leases == {"node1": before}


async def test_a_lease_becomes_a_reservation_and_a_lease_again_where_it_stands(directory: Directory) -> None:
    registry = directory.client()
    lease = await registry.acquire("node1", "vxlan", ONE)
    await registry.reserve("node1", lease.subnets)
    assert directory.leases == {"10.5.1.0-24": 0}
    assert (await registry.snapshot()).leases["node1"].expires is None
    await registry.reserve("node1", [])
    assert directory.leases["10.5.1.0-24"] != 0
    assert directory.subnets == {"10.5.1.0-24": FLANNELS}


async def test_a_node_keeps_the_reserved_part_of_a_lease_that_has_another_part(directory: Directory) -> None:
    directory.configure(DUAL)
    registry = directory.client()
    await registry.reserve("node1", [ip_network("10.5.50.0/24")])
    lease = await registry.acquire("node1", "vxlan", [reach("10.99.0.1"), reach("fd99::1")])
    assert lease.subnets[0] == ip_network("10.5.50.0/24")
    assert lease.expires is not None
    await registry.release(lease)
    assert list(directory.subnets) == ["10.5.50.0-24"]


async def test_a_start_leaves_no_etcd_lease_behind(directory: Directory) -> None:
    await directory.client().acquire("node1", "vxlan", ONE)
    before = directory.server.ctl("lease", "list")
    await directory.client().acquire("node1", "vxlan", ONE)
    await directory.client().acquire("node1", "host-gw", TWO)
    assert directory.server.ctl("lease", "list") == before


async def test_a_lease_that_cannot_be_had_leaves_no_etcd_lease_behind(directory: Directory) -> None:
    before = directory.server.ctl("lease", "list")
    directory.configure(CONFIG.replace('"Backend"', '"SubnetMin":"10.5.1.0","SubnetMax":"10.5.1.0","Backend"'))
    directory.reserve("10.5.1.0-24", WIDE)
    with pytest.raises(LeaseError, match="used up"):
        await directory.client().acquire("node1", "vxlan", ONE)
    assert directory.server.ctl("lease", "list") == before


async def test_a_renewed_lease_hangs_on_a_new_etcd_lease(directory: Directory) -> None:
    registry = directory.client()
    lease = await registry.acquire("node1", "vxlan", ONE)
    before = directory.leases
    renewed = await registry.renew(lease)
    assert directory.leases != before
    assert directory.subnets == {"10.5.1.0-24": FLANNELS}
    assert renewed.expires is not None
    assert lease.expires is not None
    assert renewed.expires >= lease.expires


async def test_a_late_renewal_neither_takes_the_subnet_from_another_nor_brings_the_lease_back(
    directory: Directory,
) -> None:
    late, other = directory.client(lease_seconds=1), directory.client()
    lease = await late.acquire("node1", "vxlan", ONE)
    async with aclosing(other.watch()) as snapshots:
        async for snapshot in snapshots:
            if not snapshot.leases:
                break
    with pytest.raises(LeaseError, match="lost"):
        await late.renew(lease)
    taken = await other.acquire("node2", "vxlan", TWO, lease.subnets)
    with pytest.raises(LeaseError, match="lost"):
        await late.renew(lease)
    assert (await other.snapshot()).leases == {"node2": taken}


async def test_the_other_backends_of_a_node_are_told_beside_what_flannel_reads(directory: Directory) -> None:
    registry = directory.client()
    lease = await registry.acquire("node1", "vxlan", ONE, offers=[Offer("host-gw", (None,))])
    assert directory.subnets == {"10.5.1.0-24": f'{FLANNELS[:-1]},"Offers":[{{"BackendType":"host-gw"}}]}}'}
    assert (await registry.snapshot()).leases == {"node1": lease}


@pytest.mark.parametrize(
    "name, value, reason",
    [
        ("10.5.9.0-24", '{"PublicIP":', "not JSON"),
        ("10.5.9.0-24", "{}", "PublicIP"),
        ("10.5.9.0-24", '{"PublicIP":"0.0.0.0"}', "PublicIP"),
        ("10.5.9.1-24", FLANNELS, "not the key of a lease"),
        ("..", FLANNELS, "not the key of a lease"),
        ("a/b", FLANNELS, "not the key of a lease"),
        ("10.5.9.0-24\x1b[2J", FLANNELS, "not the key of a lease"),
    ],
)
async def test_a_damaged_entry_is_rejected_with_its_reason_and_disturbs_nobody(
    directory: Directory, name: str, value: str, reason: str
) -> None:
    registry = directory.client()
    await registry.acquire("node1", "vxlan", ONE)
    async with aclosing(registry.watch()) as watch:
        before = await anext(watch)
        directory.flannel(name, value)
        after = await anext(watch)
        [(key, told)] = after.rejected.items()
        assert reason in told
        assert key.isprintable()
        assert after.leases["node1"] is before.leases["node1"]
        assert (await directory.client().acquire("node2", "vxlan", TWO)).node == "node2"
        directory.delete(name)
        assert not (await anext(watch)).rejected or not (await anext(watch)).rejected


@pytest.mark.parametrize("note", ["{", "[]", '{"Node":7}', '{"Node":"node1","Expires":"x"}', "\xff"])
async def test_a_damaged_note_leaves_the_lease_to_its_address(directory: Directory, note: str) -> None:
    registry = directory.client()
    transaction = rpc.TxnRequest(
        success=[
            rpc.RequestOp(
                request_put=rpc.PutRequest(key=f"{directory.prefix}/{where}/10.5.9.0-24".encode(), value=value)
            )
            for where, value in (("subnets", FLANNELS.encode()), ("nodes", note.encode("latin-1")))
        ]
    )
    await registry._client.transact(transaction)
    assert list((await registry.snapshot()).leases) == ["10.99.0.1"]


@pytest.mark.parametrize("name", ["", "\x1b[2J", "x" * 300])
async def test_a_note_with_no_name_of_a_node_rejects_the_lease_alone(directory: Directory, name: str) -> None:
    registry = directory.client()
    await registry.acquire("node2", "vxlan", TWO)
    await registry._writer.write(registry._read_all, lambda _: _plan("10.5.9.0-24", FLANNELS.encode(), name))
    snapshot = await registry.snapshot()
    assert list(snapshot.leases) == ["node2"]
    assert "no name of a node" in snapshot.rejected["10.5.9.0-24"]


async def test_a_second_lease_under_the_name_of_a_node_is_rejected_alone(directory: Directory) -> None:
    registry = directory.client()
    lease = await registry.acquire("node1", "vxlan", ONE)
    await registry._writer.write(registry._read_all, lambda _: _plan("10.5.0.0-24", FLANNELS.encode(), "node1"))
    snapshot = await registry.snapshot()
    assert snapshot.leases == {"node1": lease}
    assert "leases 10.5.1.0/24 already" in snapshot.rejected["10.5.0.0-24"]


async def test_whoever_writes_many_leases_under_the_name_of_a_node_does_not_keep_it_from_a_lease(
    directory: Directory,
) -> None:
    registry = directory.client()
    for number in range(100):
        request = _plan(f"10.6.{number}.0-24", FLANNELS.encode(), "node1").request(registry._layout, 0, None)
        await registry._client.transact(request)
    lease = await registry.acquire("node1", "vxlan", ONE)
    assert lease.subnets == (ip_network("10.5.1.0/24"),)


def _plan(key: str, value: bytes, node: str) -> Any:  # noqa: ANN401
    from nankeen.registry.etcd_transaction import Plan, Put

    return Plan((Put(key, value, node, is_kept=True),))


async def test_a_start_is_one_read_of_everything_and_one_watch_and_waiting_writes_nothing(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2, 6):
        await directory.client().acquire(f"node{number}", "vxlan", [reach(f"10.99.0.{number}")])
    registry, asked = directory.client(), list[str]()
    for name in ("range", "transact", "grant", "keep_alive", "revoke", "watch"):
        _count(registry._client, name, asked, monkeypatch)
    revision = directory.server.revision
    await registry.config()
    await registry.acquire("node1", "vxlan", ONE)
    async with aclosing(registry.watch()) as watch:
        assert len((await anext(watch)).leases) == 5
    assert asked == ["transact", "range", "grant", "transact", "watch"]  # the first reads one key: the configuration
    assert directory.server.revision == revision + 1


def _count(client: object, name: str, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    method = getattr(client, name)

    def counting(*words: Any) -> Any:  # noqa: ANN401
        asked.append(name)
        return method(*words)

    monkeypatch.setattr(client, name, counting)


async def test_a_renewal_is_one_write_and_wakes_nobody(directory: Directory) -> None:
    registry = directory.client()
    lease = await registry.acquire("node1", "vxlan", ONE)
    async with aclosing(directory.client().watch()) as watch:
        before = await anext(watch)
        revision = directory.server.revision
        await registry.renew(lease)
        assert directory.server.revision == revision + 1
        await registry.acquire("node2", "vxlan", TWO)
        after = await anext(watch)
    assert list(after.leases) == ["node1", "node2"]
    assert after.leases["node1"] is before.leases["node1"]


@pytest.mark.parametrize("before", ["", "10.5.7.0-24", "10.6.7.0-24"])
@pytest.mark.parametrize("is_reserved", [False, True])
async def test_what_is_known_after_an_acquisition_is_what_a_read_finds(
    directory: Directory,
    before: str,
    is_reserved: bool,  # noqa: FBT001
) -> None:
    directory.flannel("10.5.9.0-24", FLANNELS.replace("10.99.0.1", "10.99.0.9"))
    if before and is_reserved:
        directory.reserve(before, RESERVED)
    elif before:
        directory.flannel(before, FLANNELS)
    registry = directory.client()
    await registry.acquire("node1", "vxlan", ONE)
    assert registry._known is not None
    assert registry._known.contents == await registry._read_all()


async def test_the_first_snapshot_of_a_watch_knows_what_was_just_acquired(directory: Directory) -> None:
    registry = directory.client()
    for number in range(5):
        lease = await registry.acquire("node1", "vxlan", [reach(f"10.99.0.{number + 1}")])
        async with aclosing(registry.watch()) as watch:
            assert (await anext(watch)).leases["node1"].endpoints == lease.endpoints
