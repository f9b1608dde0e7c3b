"""`--ip-blackhole-route`: packets for pods that are not there go nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nankeen.registry.sqlite import SqliteRegistry

if TYPE_CHECKING:
    from tests.kernel.agent.conftest import Node

DUAL = '{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd44::/48","Backend":{"Type":"host-gw"}}'


def blackholes(node: Node) -> list[str]:
    lines = (
        node.net.run("ip -4 route show type blackhole") + node.net.run("ip -6 route show type blackhole")
    ).splitlines()
    return [" ".join(line.replace(" dev lo", "").replace(" pref medium", "").split()) for line in lines]


@pytest.fixture
async def dual(node: Node) -> Node:
    registry = SqliteRegistry(node.registry_file)
    await registry.set_config(DUAL)
    registry.close()
    node.net.run("ip address add fd50::11/64 dev eth0 nodad")
    return node


async def test_the_nodes_subnets_have_one_which_comes_back_and_goes(dual: Node) -> None:
    plain = dual.underlay
    dual.underlay += ("--ip-blackhole-route",)
    status = await dual.start()
    wanted = [f"blackhole {subnet} proto 110 metric 32767" for subnet in status.subnets]
    assert blackholes(dual) == wanted
    for subnet in status.subnets:
        dual.net.run(f"ip route del blackhole {subnet} metric 32767")
        repaired = status.repaired
        status = await dual.until(lambda status, before=repaired: status.repaired > before)  # type: ignore[misc]
    assert blackholes(dual) == wanted
    await dual.stop()
    dual.underlay = plain
    await dual.start()
    assert blackholes(dual) == []


async def test_pods_that_are_there_are_reached(node: Node) -> None:
    node.underlay += ("--ip-blackhole-route",)
    status = await node.start()
    pod = status.subnets[0].replace(".0/24", ".7")
    assert "dev cni0" in node.net.run(f"ip route get {pod}")
