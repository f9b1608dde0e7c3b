"""Peers that come and go, few and many, while packets flow: nothing is lost of those that stay."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from bench.meter import Meter, traffic
from nankeen.model.lease import Endpoint, Lease, Reach
from nankeen.model.tunnel import TunnelPeer
from nankeen.tunnel.client import Client
from nankeen.tunnel.control import Change, Settings
from tests.kernel.tunnel.world import lease

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractAsyncContextManager

    from tests.kernel.tunnel.world import Pair

MANY = 5_000


def flowing(pair: Pair) -> AbstractAsyncContextManager[Meter]:
    """Numbered packets between the pods, both ways in both families."""
    return traffic((pair.one.end(version), pair.two.end(version)) for version in (4, 6))


def strangers(count: int) -> Iterable[Lease]:
    """Leases of nodes that are not there."""
    for number in range(count):
        subnet = ip_network(((172 << 24) + (16 << 16) + (number << 8), 24))
        yield Lease(f"absent{number}", "", (Endpoint(subnet, Reach(ip_address((198 << 24) + (18 << 16) + number))),))


def of_many(pair: Pair) -> Settings:
    """What an agent tells of a cluster of so many nodes."""
    return pair.one.settings(lease(2), *strangers(MANY - 1))


def lost(meter: Meter) -> list[str]:
    return [str(loss) for loss in meter.losses]


async def test_peers_change_under_traffic_and_nothing_is_lost(carried: Pair) -> None:
    others = [TunnelPeer("flannel0", item.subnet, item.reach.address, 8285, one.node)
              for one in strangers(100) for item in one.endpoints]  # fmt: skip
    client = await Client.connect(carried.one.socket)
    async with flowing(carried) as meter:
        for peer in others:
            await client.change(Change("flannel0", added=(peer,)))
            await meter.passed(8)
        for peer in others:
            await client.change(Change("flannel0", removed=(peer.subnet,)))
        await client.configure(carried.one.settings(lease(2)))
        await meter.passed(100)
    client.close()
    assert lost(meter) == []


async def test_thousands_of_peers_are_told_under_traffic_and_nothing_is_lost(carried: Pair) -> None:
    settings = of_many(carried)
    client = await Client.connect(carried.one.socket)
    async with flowing(carried) as meter:
        for _ in range(2):
            await client.configure(settings)
            await meter.passed(100)
    assert lost(meter) == []
    report = await client.report()
    assert len(report.peers) == MANY
    assert report.peers["node2"].sent_packets > 200
    client.close()


async def test_who_is_no_peer_any_more_gets_nothing_and_is_let_in_no_more(carried: Pair) -> None:
    client = await Client.connect(carried.one.socket)
    async with flowing(carried) as meter:
        await meter.passed(40)
        await client.configure(carried.one.settings())
        before = await client.report()
        await meter.passed(400)
        after = await client.report()
    assert before.peers == after.peers
    assert before.peers["node2"].sent_packets > 0
    for reason in ("from an unknown peer", "no peer has the destination"):
        assert after.drops[reason] > before.drops.get(reason, 0)
    client.close()
