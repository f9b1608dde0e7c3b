"""Containers on Docker's own bridge, which has the node's subnet: plain network namespaces, no CNI."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from ipaddress import ip_interface
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nankeen.cli import main
from nankeen.kernel.namespace import entered
from nankeen.registry.sqlite import create
from tests.kernel.agent.conftest import CONFIG, Node

if TYPE_CHECKING:
    from tests.kernel.conftest import Net


class Host:
    """A node whose containers are Docker's, and one of these."""

    def __init__(self, node: Node, container: Net, capsys: pytest.CaptureFixture[str]) -> None:
        self.node, self.container, self._capsys = node, container, capsys
        self.address = ""
        """The container's."""

    def build(self) -> None:
        """What Docker makes of its options: a bridge, and a container on it whose gateway that is."""
        capsys = self._capsys
        capsys.readouterr()
        assert main(["docker-opts", "-c", "-d", "-", "-f", str(self.node.directory / "flannel/subnet.env")]) == 0
        options = dict(re.findall(r"--([a-z-]+)=([^ \"]+)", capsys.readouterr().out))
        bridge = ip_interface(options["bip"])
        self.address = str(bridge.ip + 1)
        run, inside = self.node.net.run, self.container.run
        run("ip link add docker0 type bridge")
        run(f"ip address add {bridge} dev docker0")
        mtu, name = options["mtu"], self.container.name
        run(f"ip link add veth0 mtu {mtu} type veth peer name eth0 mtu {mtu} netns {name}")
        run("ip link set veth0 master docker0 up")
        run(f"ip link set docker0 mtu {mtu} up")
        inside(f"ip address add {self.address}/{bridge.network.prefixlen} dev eth0")
        inside("ip link set eth0 up")
        inside(f"ip route add default via {bridge.ip}")


@pytest.fixture
async def hosts(
    make_net: Callable[[], Net], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[tuple[Host, Host]]:
    """Two nodes on one cable, with one registry."""
    create(tmp_path / "registry.db", CONFIG)
    first, second = make_net(), make_net()
    first.run(f"ip link add eth0 type veth peer name eth0 netns {second.name}")
    found = []
    for number, net in enumerate((first, second), 1):
        net.run(f"ip address add 192.168.0.1{number}/24 dev eth0")
        net.run("ip link set eth0 up")
        directory = tmp_path / f"node{number}"
        directory.mkdir()
        node = Node(net, directory, underlay=("--iface", "eth0", "--cni=false", "--ip-masq"), name=f"node{number}")
        node.registry_file = tmp_path / "registry.db"
        found.append(Host(node, make_net(), capsys))
    yield found[0], found[1]
    for host in found:
        if host.node.process is not None and host.node.process.returncode is None:
            await host.node.stop(signal.SIGKILL)


def met(client: Net, server: Net, address: str) -> str:
    """Connects by TCP; returns the address that the server sees the client have."""
    with entered(server.namespace):
        listener = socket.create_server((address, 5555))
    with listener, entered(client.namespace), closing(socket.create_connection((address, 5555), timeout=20)):
        listener.settimeout(20)
        connection, (seen, _) = listener.accept()
        connection.close()
    return str(seen)


async def test_containers_on_dockers_bridge_are_in_the_pod_network(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    for host in hosts:
        await host.node.start()
        host.build()
    async with asyncio.TaskGroup() as tasks:
        for host in hosts:
            tasks.create_task(host.node.until(lambda status: status.peers == 1))
    assert met(one.container, two.container, two.address) == one.address
    assert met(two.container, one.container, one.address) == two.address
    assert met(one.node.net, two.container, two.address).startswith("10.244.")
    assert met(one.container, two.node.net, "192.168.0.12") == "192.168.0.11"  # outside: masqueraded
    one.container.run(f"ping -c 1 -W 5 -M do -s {1450 - 28} {two.address}")


async def test_without_cni_there_is_no_bridge_of_ours_and_no_plugin(hosts: tuple[Host, Host]) -> None:
    node = hosts[0].node
    node.net.run("ip link add cni0 type bridge")  # somebody else's, say flannel's plugin's
    await node.start()
    assert "cni0" in node.net.run("ip link")
    assert "cni0" not in node.net.run("ip address show up")
    assert node.net.run("sysctl -n net.ipv4.ip_forward") == "1\n"
    assert not (node.directory / "conf").exists()
    assert not (node.directory / "bin").exists()
