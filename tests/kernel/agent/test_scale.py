"""One agent in a fabric of 1,000 simulated peers: all that is true of three is true of these."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

import pytest

from nankeen.agent.instep import check
from nankeen.kernel.monitor import Monitor
from nankeen.model.lease import Endpoint, Lease, Reach
from nankeen.model.leasevalue import encode, key
from nankeen.model.state import ForwardingEntry, Neighbour, Route
from nankeen.registry.sqlite import SqliteRegistry

if TYPE_CHECKING:
    from tests.kernel.agent.conftest import Node

PEERS = 1000


def lease(number: int) -> Lease:
    """That of the peer of this number, from 0."""
    data = f'{{"VNI":1,"VtepMAC":"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"}}'
    subnet = IPv4Network((int(IPv4Address("10.244.64.0")) + (number << 4), 28))
    return Lease(f"peer{number}", "vxlan", (Endpoint(subnet, Reach(IPv4Address("192.168.4.0") + number, data)),))


@pytest.fixture
async def crowded(node: Node) -> Node:
    """The node, in a registry with all those peers and before its agent starts."""
    registry = SqliteRegistry(node.registry_file)
    await registry.set_config('{"Network":"10.244.0.0/16","SubnetLen":28,"Backend":{"Type":"vxlan"}}')
    registry.close()
    rows = [(peer.node, key(peer.subnets), encode(peer)) for peer in map(lease, range(PEERS))]
    with closing(sqlite3.connect(node.registry_file)) as table, table:
        table.executemany("INSERT INTO lease (node, key, value) VALUES (?, ?, ?)", rows)
    return node


def programmed(node: Node) -> tuple[int, int, int]:
    """How many routes, neighbours and forwarding entries the fabric's device has."""
    counts = dict.fromkeys((Route, Neighbour, ForwardingEntry), 0)
    for item in node.net.observe():
        if isinstance(item, Route | Neighbour | ForwardingEntry) and item.device == "flannel.1":
            counts[type(item)] += 1
    return counts[Route], counts[Neighbour], counts[ForwardingEntry]


async def test_a_thousand_peers_are_programmed_followed_and_repaired(crowded: Node) -> None:
    node = crowded
    status = await node.start()
    assert (status.peers, status.rejected, status.refused) == (PEERS, {}, ())
    assert programmed(node) == (PEERS, PEERS, PEERS)

    registry = SqliteRegistry(node.registry_file)
    try:
        await registry.release(lease(500))
        await node.until(lambda status: status.peers == PEERS - 1)
        assert programmed(node) == (PEERS - 1, PEERS - 1, PEERS - 1)
        assert node.net.run(f"ip route show {lease(500).subnets[0]}") == ""

        newcomer = await registry.acquire("newcomer", "vxlan", [lease(PEERS).endpoints[0].reach], lease(500).subnets)
        await node.until(lambda status: status.peers == PEERS)
        assert programmed(node) == (PEERS, PEERS, PEERS)
        assert newcomer.subnets == lease(500).subnets
        snapshot = await registry.snapshot()
    finally:
        registry.close()
    assert check("node1", "eth0", snapshot, node.net.namespace) == ()

    node.net.run("ip route flush dev flannel.1")
    await node.until(lambda status: status.repaired >= PEERS)
    assert check("node1", "eth0", snapshot, node.net.namespace) == ()


async def test_an_agent_that_starts_among_a_thousand_peers_again_touches_none(crowded: Node) -> None:
    node = crowded
    await node.start()
    stood = node.net.observe()
    await node.stop()
    with Monitor(node.net.namespace) as news:
        await node.start()
        node.net.run("ip route add 10.9.9.0/24 dev lo")  # to know when all news before it has been heard
        seen = set()
        async with asyncio.timeout(20):
            async for events in news.batches():
                seen |= {event.device for event in events if event.kind in (Route, Neighbour)}
                if "lo" in seen:
                    break
    assert "flannel.1" not in seen
    assert {item for item in stood if item.device == "flannel.1"} <= set(node.net.observe())
