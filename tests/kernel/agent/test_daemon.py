"""The agent from outside: what it does to the kernel, and what it leaves alone."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from nankeen.agent.instep import check
from nankeen.kernel.monitor import Event, Monitor
from nankeen.model.state import Address, Link, State
from nankeen.registry.sqlite import SqliteRegistry

if TYPE_CHECKING:
    from tests.kernel.agent.conftest import Node


def fabric(node: Node) -> str:
    """What an engineer sees of the fabric."""
    return node.net.run("ip route show dev flannel.1")


async def test_a_node_joins_and_is_ready_with_its_peers_programmed(node: Node) -> None:
    peer = await node.join(2)
    status = await node.start()
    assert (status.backend, status.mtu, status.peers) == ("vxlan", 1450, 1)
    assert f"{peer.subnets[0]} via {peer.subnets[0][0]} onlink" in fabric(node)
    assert (node.directory / "flannel/subnet.env").read_text() == (
        "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.2.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"
    )
    assert (node.directory / "conf/10-nankeen.conflist").exists()
    assert (node.directory / "bin/nankeen").stat().st_mode & 0o777 == 0o755


async def test_peers_that_join_and_leave_are_followed(node: Node) -> None:
    await node.start()
    second, third = await node.join(2), await node.join(3)
    await node.until(lambda status: status.peers == 2)
    assert fabric(node).count("onlink") == 2
    await node.leave(second)
    await node.until(lambda status: status.peers == 1)
    assert str(third.subnets[0]) in fabric(node)
    assert str(second.subnets[0]) not in fabric(node) + node.net.run("ip neigh") + node.net.run("bridge fdb")


def touches(event: Event, stood: State) -> bool:
    """Whether somebody touched what stood: a carrier may come late, a link-local address is settled after that, and
    what the kernel learns comes and goes.
    """
    if event.kind is Link or (isinstance(event.object, Address) and event.object.interface.is_link_local):
        return False
    return event.object is not None and stood.get(event.object.identity) is not None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_an_agent_that_starts_where_one_ran_before_changes_nothing(node: Node, number: signal.Signals) -> None:
    await node.join(2)
    await node.start()
    stood = node.net.observe()
    assert await node.stop(number) == (0 if number is signal.SIGTERM else -signal.SIGKILL)
    assert node.net.observe() == stood
    with Monitor(node.net.namespace) as monitor:
        await node.start()
        node.net.run("ip address add 127.0.0.9/8 dev lo")  # news of our own, so that there is some to wait for
        seen: list[Event] = []
        async with asyncio.timeout(10):
            async for batch in monitor.batches():
                seen += [event for event in batch if event.device == "lo" or touches(event, stood)]
                if seen:
                    break
    assert {event.device for event in seen} == {"lo"}
    assert len(node.net.observe()) == len(stood) + 1
    assert " start: " not in node.log.split("stopped" if number is signal.SIGTERM else "ready")[-1]


async def test_a_peer_that_left_while_the_agent_was_down_is_removed(node: Node) -> None:
    left, stayed = await node.join(2), await node.join(3)
    await node.start()
    await node.stop(signal.SIGKILL)
    await node.leave(left)
    joined = await node.join(4)
    await node.start()
    assert str(stayed.subnets[0]) in fabric(node)
    assert fabric(node).count("onlink") == 2
    assert joined.subnets == left.subnets
    assert "dst 192.168.0.12 " not in node.net.run("bridge fdb")


@pytest.mark.parametrize(
    "damage",
    [
        "ip link delete flannel.1",
        "ip link set flannel.1 down",
        "ip link delete cni0",
        "ip route flush dev flannel.1",
        "ip neigh flush dev flannel.1 nud permanent",
        "bridge fdb del 02:00:00:00:00:02 dev flannel.1 dst 192.168.0.12",
        "ip address flush dev cni0",
        "sysctl -qw net.ipv4.ip_forward=0",
    ],
)
async def test_what_somebody_else_destroys_is_put_right(node: Node, damage: str) -> None:
    await node.join(2)
    await node.start()
    registry = SqliteRegistry(node.registry_file)
    snapshot = await registry.snapshot()
    registry.close()
    assert check("node1", "eth0", snapshot, node.net.namespace) == ()
    node.net.run(damage)
    await node.until(lambda status: status.repaired > 0)
    assert check("node1", "eth0", snapshot, node.net.namespace) == ()


async def test_the_same_node_gets_its_subnet_again(node: Node) -> None:
    first = await node.start()
    await node.stop()
    assert (await node.start()).subnets == first.subnets


async def test_a_changed_configuration_is_taken_on(node: Node) -> None:
    await node.join(2)
    await node.start()
    registry = SqliteRegistry(node.registry_file)
    await registry.set_config('{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","VNI":7}}')
    async with asyncio.timeout(20):
        async for snapshot in registry.watch():
            if snapshot.leases["node1"].offers:
                break
    assert "flannel.7:" in node.net.run("ip link")
    assert fabric(node).count("onlink") == 1  # the peer has not moved yet
    await node.join(2, vni=7)
    async with asyncio.timeout(20):
        async for snapshot in registry.watch():
            if not snapshot.leases["node1"].offers:
                break
    registry.close()
    async with asyncio.timeout(10):
        while "flannel.1:" in node.net.run("ip link"):
            await node.until(lambda status: status.ready)
    assert node.net.run("ip route show dev flannel.7").count("onlink") == 1


async def test_a_changed_underlay_address_is_announced(node: Node) -> None:
    await node.start()
    node.net.run("ip address del 192.168.0.11/24 dev eth0")
    await node.until(lambda status: not status.ready)
    node.net.run("ip address add 192.168.0.99/24 dev eth0")
    registry = SqliteRegistry(node.registry_file)
    async with asyncio.timeout(20):
        async for snapshot in registry.watch():
            if str(snapshot.leases["node1"].endpoints[0].reach.address) == "192.168.0.99":
                break
    registry.close()
    await node.until(lambda status: status.ready)
    assert "local 192.168.0.99" in node.net.run("ip -details link show flannel.1")


async def test_an_agent_without_a_registry_says_so_and_goes_on_when_it_is_there(node: Node) -> None:
    node.registry_file.rename(node.directory / "hidden.db")
    starting = asyncio.create_task(node.start())
    waiting = await node.until(lambda status: not status.ready and "registry.db" in status.reason)
    assert waiting.peers == 0
    (node.directory / "hidden.db").rename(node.registry_file)
    assert (await starting).ready
