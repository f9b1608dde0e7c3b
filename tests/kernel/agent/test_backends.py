"""The agent with backends that need more than the kernel's tables."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from nankeen.kernel.ability import can_make
from nankeen.registry.sqlite import SqliteRegistry

if TYPE_CHECKING:
    from tests.kernel.agent.conftest import Node


async def configure(node: Node, backend: str) -> None:
    registry = SqliteRegistry(node.registry_file)
    await registry.set_config(f'{{"Network":"10.244.0.0/16","Backend":{backend}}}')
    registry.close()


@pytest.mark.parametrize("kind", ["ipip", "wireguard"])
async def test_a_backend_that_the_kernel_lacks_is_named_with_its_module(node: Node, kind: str) -> None:
    if can_make(node.net.socket, kind):
        pytest.skip(f"this kernel has {kind}")
    await configure(node, f'{{"Type":"{kind}"}}')
    starting = asyncio.create_task(node.start())
    status = await node.until(lambda status: kind in status.reason)
    assert status.reason == f"the kernel has no {kind}: load the module `{kind}`, or choose another backend"
    await configure(node, '{"Type":"vxlan"}')
    assert (await starting).backend == "vxlan"


async def test_a_node_goes_by_a_fallback_where_its_kernel_lacks_the_first_backend(node: Node) -> None:
    if can_make(node.net.socket, "wireguard"):
        pytest.skip("this kernel has wireguard")
    registry = SqliteRegistry(node.registry_file)
    await registry.set_config(
        '{"Network":"10.244.0.0/16","Backend":{"Type":"wireguard"},"Fallbacks":[{"Type":"vxlan"}]}'
    )
    registry.close()
    await node.join(2)
    status = await node.start()
    assert (status.backend, status.peers) == ("vxlan", 1)
    assert "the node goes without wireguard" in node.log


async def test_the_extensions_commands_run_once_for_each_peer_and_again_when_it_goes(node: Node) -> None:
    told = node.directory / "told"
    script = node.directory / "tell"
    script.write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
    script.chmod(0o755)
    await configure(
        node,
        f'{{"Type":"extension","PostStartupCommand":"{script} start $SUBNET",'
        f'"SubnetAddCommand":"{script} add $SUBNET $PUBLIC_IP","SubnetRemoveCommand":"{script} remove $SUBNET"}}',
    )
    peer = await node.join(2, backend="extension", data='""')
    await node.start()
    own = next(line.split()[1] for line in told.read_text().splitlines() if line.startswith("start"))
    expected = [f"start {own}", f"add {peer.subnets[0]} 192.168.0.12"]
    assert told.read_text().splitlines() == expected
    await node.stop()
    await node.start()
    assert told.read_text().splitlines() == expected
    await node.leave(peer)
    await node.until(lambda status: status.peers == 0)
    async with asyncio.timeout(10):
        while not told.read_text().endswith(f"remove {peer.subnets[0]}\n"):  # noqa: ASYNC110  (told in a file only)
            await asyncio.sleep(0.02)


async def test_a_route_backend_leaves_the_underlay_to_others(node: Node) -> None:
    await configure(node, '{"Type":"host-gw"}')
    node.net.run("ip route add 10.244.77.0/24 via 192.168.0.77")
    await node.join(2, backend="host-gw", data=None)
    status = await node.start()
    assert (status.peers, status.mtu) == (1, 1500)
    routes = node.net.run("ip route")
    assert "via 192.168.0.12 dev eth0 proto 110" in routes
    assert "10.244.77.0/24 via 192.168.0.77 dev eth0" in routes


async def test_a_configuration_that_cannot_be_followed_leaves_the_node_as_it_is(node: Node) -> None:
    if can_make(node.net.socket, "wireguard"):
        pytest.skip("this kernel has wireguard")
    await node.join(2)
    await node.start()
    await configure(node, '{"Type":"wireguard"}')
    status = await node.until(lambda status: bool(status.pending))
    assert status.pending == "the kernel has no wireguard: load the module `wireguard`, or choose another backend"
    await node.join(3)
    status = await node.until(lambda status: status.peers == 2)
    assert (status.ready, status.backend) == (True, "vxlan")
    node.net.run("ip link delete flannel.1")
    await node.until(lambda status: status.repaired > 0)
    await configure(node, '{"Type":"vxlan","VNI":7}')
    await node.until(lambda status: not status.pending)
    assert "flannel.7:" in node.net.run("ip link")
