"""The underlay as a kernel has it, and how an agent follows it: without a restart, or losing what still works."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from ipaddress import ip_address, ip_interface
from typing import TYPE_CHECKING

from asyncinotify import Inotify, Mask

from nankeen.agent.instep import check
from nankeen.kernel.monitor import Monitor
from nankeen.model.lease import Lease, Reach
from nankeen.model.state import Address, AddressFlag, Link, Route
from nankeen.registry import Snapshot
from nankeen.registry.sqlite import SqliteRegistry

if TYPE_CHECKING:
    from tests.kernel.agent.conftest import Node
    from tests.kernel.conftest import Net

VETH = "ip link add eth0 type veth peer name far"


async def registered(node: Node, wanted: Callable[[Snapshot], bool]) -> Snapshot:
    """The registry, as soon as it is what is wanted."""
    registry = SqliteRegistry(node.registry_file)
    try:
        async with asyncio.timeout(20):
            async for snapshot in registry.watch():
                if wanted(snapshot):
                    return snapshot
    finally:
        registry.close()
    raise AssertionError("the registry has closed")


def address(snapshot: Snapshot) -> str:
    """What node1 advertises."""
    return str(snapshot.leases["node1"].endpoints[0].reach.address)


async def in_step(node: Node) -> None:
    """Returns once the kernel is what the leases ask for."""
    snapshot = await registered(node, lambda _: True)
    with Monitor(node.net.namespace) as monitor:
        async with asyncio.timeout(20):
            batches = monitor.batches()
            while check("node1", "eth0", snapshot, node.net.namespace):
                await anext(batches)


async def logged(node: Node, line: str) -> None:
    """Returns once the agent has said it."""
    with Inotify() as inotify:
        inotify.add_watch(node.directory / "log", Mask.MODIFY)
        async with asyncio.timeout(20):
            while line not in node.log:
                await inotify.get()


def test_flags_and_carriers_and_routes_of_several_next_hops_are_observed(net: Net) -> None:
    for command in (
        VETH,
        "ip address add 192.168.0.11/24 dev eth0",
        "ip address add 192.168.0.12/24 dev eth0 valid_lft 600 preferred_lft 600",
        "ip address add 192.168.0.13/24 dev eth0 valid_lft 600 preferred_lft 0",
        "ip link set eth0 up",
    ):
        net.run(command)
    assert not _link(net, "eth0").carrier
    net.run("ip link set far up")
    assert _link(net, "eth0").carrier
    net.run("ip route add default nexthop via 192.168.0.1 dev eth0 nexthop via 192.168.0.2 dev eth0")
    observed = net.observe()
    assert {str(item) for item in observed.of(Address) if item.device == "eth0" and item.interface.version == 4} == {
        "inet 192.168.0.11/24 dev eth0",
        "inet 192.168.0.12/24 dev eth0 dynamic",
        "inet 192.168.0.13/24 dev eth0 dynamic deprecated",
    }
    assert "default nexthop several" in {str(route) for route in observed.of(Route)}


async def test_an_address_that_another_on_the_link_has_is_observed_as_such(net: Net) -> None:
    for command in (
        VETH,
        "ip link set far up",
        "ip link set eth0 up",
        "ip -6 address add fd00::1/64 dev far nodad",
    ):
        net.run(command)
    ours = Address("eth0", ip_interface("fd00::1/64"))
    with Monitor(net.namespace) as monitor:
        net.run("ip -6 address add fd00::1/64 dev eth0")
        async with asyncio.timeout(20):
            async for batch in monitor.batches():
                if any(_is_refused(event.object) for event in batch):
                    break
    found = net.observe().get(ours.identity)
    assert isinstance(found, Address)
    assert found.flags == AddressFlag.DADFAILED


def _is_refused(item: object) -> bool:
    return isinstance(item, Address) and item.flags is not None and AddressFlag.DADFAILED in item.flags


def _link(net: Net, name: str) -> Link:
    found = net.observe().get((Link, name))
    assert isinstance(found, Link)
    return found


async def test_a_link_that_goes_down_and_up_is_told_and_loses_nothing(node: Node) -> None:
    await node.join(2)
    await node.start()
    fabric = node.net.run("ip route show dev flannel.1")
    node.net.run("ip link set far down")
    await logged(node, "the underlay carries nothing: eth0 has no carrier")
    node.net.run("ip link set eth0 down")
    await logged(node, "the underlay carries nothing: eth0 is down")
    assert node.net.run("ip route show dev flannel.1") == fabric
    node.net.run("ip link set far up")
    node.net.run("ip link set eth0 up")
    await logged(node, "the underlay is back")
    await in_step(node)
    assert "joining again" not in node.log


async def test_routes_by_an_underlay_that_went_down_are_back_when_it_is(node: Node) -> None:
    registry = SqliteRegistry(node.registry_file)
    await registry.set_config('{"Network":"10.244.0.0/16","Backend":{"Type":"host-gw"}}')
    peer = await registry.acquire("node2", "host-gw", [Reach(ip_address("192.168.0.12"))])
    registry.close()
    await node.start()
    route = f"{peer.subnets[0]} via 192.168.0.12"
    assert route in node.net.run("ip route show dev eth0")
    node.net.run("ip link set eth0 down")
    await logged(node, "eth0 is down")
    node.net.run("ip link set eth0 up")
    await logged(node, "the underlay is back")
    await in_step(node)
    assert route in node.net.run("ip route show dev eth0")


async def test_a_link_that_was_deleted_and_made_again_is_taken_up_again(node: Node) -> None:
    peer = await node.join(2)
    await node.start()
    node.net.run("ip link delete eth0")
    waiting = await node.until(lambda status: not status.ready)
    assert waiting.reason == "interface eth0: there is no such interface; the interfaces are cni0"
    assert "10.244." in node.net.run("ip address show dev cni0")
    node.net.run(VETH)
    node.net.run("ip address add 192.168.0.11/24 dev eth0")
    node.net.run("ip link set far up")
    node.net.run("ip link set eth0 up")
    await node.until(lambda status: status.ready)
    await in_step(node)
    assert str(peer.subnets[0]) in node.net.run("ip route show dev flannel.1")


async def test_while_the_underlay_has_no_address_the_fabric_stands(node: Node) -> None:
    await node.join(2)
    await node.start()
    fabric = node.net.run("ip route show dev flannel.1")
    node.net.run("ip address del 192.168.0.11/24 dev eth0")
    waiting = await node.until(lambda status: not status.ready)
    assert waiting.reason == "interface eth0: it has no IPv4 address; give it one, or choose another interface"
    assert node.net.run("ip route show dev flannel.1") == fabric
    node.net.run("ip address add 192.168.0.11/24 dev eth0")
    await node.until(lambda status: status.ready)
    await in_step(node)


async def test_an_address_more_moves_nothing_until_the_one_in_use_goes(node: Node) -> None:
    await node.start()
    node.net.run("ip address add 192.168.0.5/24 dev eth0")
    node.net.run("ip link set cni0 down")  # something to put right, so that there is news to wait for
    await node.until(lambda status: status.repaired > 0)
    assert "joining again" not in node.log
    node.net.run("sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1")
    node.net.run("ip address del 192.168.0.11/24 dev eth0")
    await registered(node, lambda snapshot: address(snapshot) == "192.168.0.5")
    await in_step(node)


async def test_another_mtu_of_the_underlay_is_taken_over(node: Node) -> None:
    await node.start()
    node.net.run("ip link set eth0 mtu 1400")
    await node.until(lambda status: status.ready and status.mtu == 1350)
    await in_step(node)
    assert "mtu 1350" in node.net.run("ip link show flannel.1")
    assert "FLANNEL_MTU=1350" in (node.directory / "flannel/subnet.env").read_text()


async def test_a_node_behind_nat_advertises_one_address_and_binds_to_another(node: Node) -> None:
    node.net.run("ip route add default via 192.168.0.1")
    node.underlay = ("--public-ip", "203.0.113.7")
    await node.start()
    assert address(await registered(node, lambda _: True)) == "203.0.113.7"
    assert "local 192.168.0.11" in node.net.run("ip -details link show flannel.1")


async def test_nodes_that_advertise_one_address_are_told_apart_loudly(node: Node) -> None:
    await node.start()
    registry = SqliteRegistry(node.registry_file)
    data = json.dumps({"VNI": 1, "VtepMAC": "02:00:00:00:00:02"}, separators=(",", ":"))
    peer: Lease = await registry.acquire("node2", "vxlan", [Reach(ip_address("192.168.0.11"), data)])
    registry.close()
    told = await node.until(lambda status: bool(status.rejected))
    reason = "its address 192.168.0.11 is this node's own; give one of the two another by --iface or --public-ip"
    assert told.rejected == {peer.node: reason}
    assert f"error   agent: the lease of node2 is refused: {reason}" in node.log
