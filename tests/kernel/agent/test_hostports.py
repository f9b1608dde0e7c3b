"""A real agent keeps the host ports that pods have: through its own restart, and whoever flushes the packet filter."""

from __future__ import annotations

import asyncio
import signal
from ipaddress import IPv4Interface
from typing import TYPE_CHECKING

import pytest

from nankeen.cni.request import Attachment
from nankeen.kernel.firewall import PacketFilterMonitor
from nankeen.kernel.program import find
from nankeen.model.hostport import PortMapping, Transport
from nankeen.pods.portstore import PodPorts, PortStore

if TYPE_CHECKING:
    from tests.kernel.agent.conftest import Node

pytestmark = pytest.mark.skipif(find("nft") is None, reason="the program nft is not installed")
POD = PodPorts(
    "cbr0",
    Attachment("c1", "eth0"),
    (IPv4Interface("10.244.0.2/24"),),
    (PortMapping(Transport.TCP, 8080, 80),),
    "cni0",
    "veth01234567",
)
ELEMENT = "tcp . 8080 : 10.244.0.2 . 80"


def table(node: Node) -> str:
    return node.net.run("nft --handle list table inet nankeen-ports")


async def test_ports_survive_the_agent_and_its_restart_and_are_not_even_touched(node: Node) -> None:
    PortStore(node.directory / "run/ports").write(POD)
    await node.start()
    before = table(node)
    assert ELEMENT in before
    assert "host ports: + table inet nankeen-ports" in node.log
    await node.stop(signal.SIGKILL)
    assert table(node) == before
    await node.start()
    assert table(node) == before
    assert node.net.run("sysctl -n net.ipv4.conf.cni0.route_localnet") == "1\n"


@pytest.mark.parametrize(
    "damage",
    [
        "nft flush ruleset",
        "nft delete table inet nankeen-ports",
        "nft flush chain inet nankeen-ports ports",
        "nft delete element inet nankeen-ports any4 { tcp . 8080 }",
        "nft add element inet nankeen-ports any4 { tcp . 9090 : 10.244.0.2 . 90 }",
    ],
)
async def test_whoever_takes_them_they_are_back(node: Node, damage: str) -> None:
    PortStore(node.directory / "run/ports").write(POD)
    await node.start()
    sound = node.net.run("nft list table inet nankeen-ports")
    with PacketFilterMonitor(node.net.namespace) as monitor:
        node.net.run(damage)
        async with asyncio.timeout(20):
            async for _ in monitor.changes():  # the damage is the first
                if sound in node.net.run("nft list ruleset"):
                    break


async def test_the_guards_own_table_is_written_anew_without_a_look_at_ports(node: Node) -> None:
    PortStore(node.directory / "run/ports").write(POD)
    node.underlay = (*node.underlay, "--ip-masq")
    await node.start()
    before = table(node)
    sound = node.net.run("nft list chain inet nankeen postrouting")
    with PacketFilterMonitor(node.net.namespace) as monitor:
        node.net.run("nft flush chain inet nankeen postrouting")
        async with asyncio.timeout(20):
            async for _ in monitor.changes():
                if node.net.run("nft list chain inet nankeen postrouting") == sound:
                    break
    assert table(node) == before
