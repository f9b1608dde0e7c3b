"""What happened between two snapshots of a registry, and hearing of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from nankeen.inspect import news
from nankeen.inspect.news import Event, events, follow
from nankeen.model.errors import RegistryError
from nankeen.model.lease import Endpoint, Lease, Offer, Reach
from nankeen.model.netconf import NetworkConfig
from nankeen.registry import Snapshot
from nankeen.registry.sqlite import SqliteRegistry, create

TEXT = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
CONFIG = NetworkConfig.parse(TEXT)
REACH = Reach(ip_address("192.0.2.1"), '{"VNI":1}')
LEASE = Lease("node1", "vxlan", (Endpoint(ip_network("10.5.1.0/24"), REACH),), 1000.0)


def snapshot(*leases: Lease, **rejected: str) -> Snapshot:
    return Snapshot(CONFIG, {lease.node: lease for lease in leases}, 1, rejected)


def at(subnet: str, address: str = "192.0.2.1") -> Lease:
    return replace(LEASE, endpoints=(Endpoint(ip_network(subnet), Reach(ip_address(address), REACH.data)),))


@pytest.mark.parametrize(
    "after, what, detail",
    [
        (at("10.5.2.0/24"), "moved", "from 10.5.1.0/24 at 192.0.2.1 to 10.5.2.0/24 at 192.0.2.1"),
        (at("10.5.1.0/24", "192.0.2.9"), "moved", "from 10.5.1.0/24 at 192.0.2.1 to 10.5.1.0/24 at 192.0.2.9"),
        (replace(LEASE, backend="host-gw"), "changed", "from vxlan to host-gw"),
        (replace(LEASE, offers=(Offer("ipip", (None,)),)), "changed", "from vxlan to vxlan, ipip"),
        (
            replace(LEASE, endpoints=(Endpoint(LEASE.subnets[0], Reach(REACH.address)),)),
            "changed",
            "other data for vxlan",
        ),
        (replace(LEASE, expires=2000.0), "renewed", ""),
        (replace(LEASE, expires=None), "renewed", ""),
    ],
)
def test_a_lease_that_is_another_is_told_by_what_matters_most(after: Lease, what: str, detail: str) -> None:
    (event,) = events(snapshot(LEASE), snapshot(after))
    assert (event.what, event.node, event.lease, event.detail) == (what, "node1", after, detail)


def test_who_joins_and_who_leaves_is_told_in_the_order_of_names() -> None:
    second, third = replace(LEASE, node="node2"), replace(LEASE, node="node3")
    assert list(events(snapshot(LEASE, third), snapshot(second, third))) == [
        Event("left", "node1", LEASE),
        Event("joined", "node2", second),
    ]


def test_nothing_is_told_of_two_that_are_alike() -> None:
    assert not list(events(snapshot(LEASE), snapshot(replace(LEASE))))


def test_entries_that_are_rejected_and_no_longer_are_told() -> None:
    assert list(events(snapshot(old="rust"), snapshot(new="rust"))) == [
        Event("rejected", "new", detail="rust"),
        Event("cleared", "old", detail="nothing of it is rejected any more"),
    ]
    assert list(events(snapshot(old="rust"), snapshot(old="dust"))) == [Event("rejected", "old", detail="dust")]


def test_another_configuration_is_told_without_its_secrets() -> None:
    text = '{"Network":"10.5.0.0/16","Backend":{"Type":"ipsec","PSK":"hidden"},"Fallbacks":[{"Type":"vxlan"}]}'
    after = replace(snapshot(), config=NetworkConfig.parse(text))
    assert list(events(snapshot(), after)) == [Event("configured", detail="10.5.0.0/16 by ipsec, vxlan")]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[SqliteRegistry]:
    create(tmp_path / "registry.db", TEXT)
    made = SqliteRegistry(tmp_path / "registry.db")
    yield made
    made.close()


async def test_a_renewal_is_heard_by_who_wants_to(registry: SqliteRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "LOOK_SECONDS", 0.01)
    lease = await registry.acquire("node1", "vxlan", [REACH])
    async with aclosing(follow(registry, renewals=True)) as snapshots:
        before = await anext(snapshots)
        renewed = await registry.renew(lease)
        async for after in snapshots:
            if found := list(events(before, after)):
                break
    assert found == [Event("renewed", "node1", renewed)]


async def test_who_wants_renewals_hears_at_once_of_all_else(
    registry: SqliteRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news, "LOOK_SECONDS", 3600)
    async with aclosing(follow(registry, renewals=True)) as snapshots:
        before = await anext(snapshots)
        lease = await registry.acquire("node1", "vxlan", [REACH])
        async for after in snapshots:
            if after.leases:
                break
    assert list(events(before, after)) == [Event("joined", "node1", lease)]


@pytest.mark.parametrize("renewals", [False, True])
async def test_a_registry_that_goes_away_is_told(registry: SqliteRegistry, tmp_path: Path, *, renewals: bool) -> None:
    async with aclosing(follow(registry, renewals=renewals)) as snapshots:
        await anext(snapshots)
        (tmp_path / "registry.db").unlink()
        with pytest.raises(RegistryError, match="does not exist"):
            await _drained(snapshots)


async def _drained(snapshots: AsyncGenerator[Snapshot, None]) -> None:
    async for _ in snapshots:
        pass
