"""What those hear who watch over an agent: probes, collectors, and the service manager."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nankeen.kernel.namespace import entered

if TYPE_CHECKING:
    from tests.kernel.agent.conftest import Node

PORT = 8081


def get(node: Node, path: str) -> tuple[int, str]:
    """What a client on the node is answered."""
    connection = HTTPConnection("127.0.0.1", PORT, timeout=20)
    with entered(node.net.namespace):
        connection.connect()
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


@pytest.fixture
def probed(node: Node) -> Node:
    node.underlay += ("--healthz-ip=127.0.0.1", f"--healthz-port={PORT}")
    return node


async def test_a_node_is_ready_for_probes_when_its_peers_are_programmed(probed: Node) -> None:
    peer = await probed.join(2)
    hidden = probed.registry_file.rename(probed.directory / "hidden.db")
    starting = asyncio.create_task(probed.start())
    await probed.until(lambda status: not status.ready and "registry.db" in status.reason)
    assert await asyncio.to_thread(get, probed, "/healthz") == (200, "flanneld is running\n")
    status, text = await asyncio.to_thread(get, probed, "/readyz")
    assert status == 503
    assert text.startswith("flanneld is not ready yet: ")
    assert "registry.db" in text
    hidden.rename(probed.registry_file)
    await starting
    assert await asyncio.to_thread(get, probed, "/readyz") == (200, "flanneld is ready\n")
    assert str(peer.subnets[0]) in probed.net.run("ip route show dev flannel.1")
    assert (probed.directory / "flannel/subnet.env").exists()


async def test_a_node_that_lost_its_underlay_says_so_to_probes(probed: Node) -> None:
    await probed.start()
    probed.net.run("ip address del 192.168.0.11/24 dev eth0")
    await probed.until(lambda status: not status.ready)
    status, text = await asyncio.to_thread(get, probed, "/readyz")
    assert (status, "eth0" in text) == (503, True)


async def test_metrics_follow_the_agent(probed: Node) -> None:
    await probed.start()
    await probed.join(2)
    await probed.until(lambda status: status.peers == 1)
    status, text = await asyncio.to_thread(get, probed, "/metrics")
    lines = text.splitlines()
    assert status == 200
    assert {"nankeen_ready 1.0", "nankeen_peers 1.0", "nankeen_leases_rejected 0.0"} <= {*lines}
    assert any(line.startswith("nankeen_lease_expiry_timestamp_seconds ") for line in lines)


async def test_an_agent_without_the_port_answers_nobody(node: Node) -> None:
    await node.start()
    assert f":{PORT}" not in node.net.run("ss -Hltn")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(get, node, "/healthz")


async def test_a_port_that_is_taken_ends_the_agent_with_the_reason(probed: Node) -> None:
    with entered(probed.net.namespace):
        taken = socket.create_server(("127.0.0.1", PORT))
    with taken:
        assert await (await probed.launch()).wait() == 1
    assert f"critical agent: 127.0.0.1:{PORT}: cannot answer probes there: Address already in use" in probed.log


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """The socket of a service manager, which the agent is told of. Abstract names belong to a network namespace."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@nankeen{tmp_path}"
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with entered(node.net.namespace):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with listener:
        listener.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        listener.setblocking(False)
        yield listener


async def heard(manager: socket.socket) -> AsyncIterator[str]:
    """Each datagram."""
    loop = asyncio.get_running_loop()
    while True:
        async with asyncio.timeout(20):
            yield (await loop.sock_recv(manager, 65536)).decode()


async def test_the_service_manager_hears_of_the_start_when_the_node_has_its_routes(
    node: Node, manager: socket.socket
) -> None:
    peer = await node.join(2)
    starting = asyncio.create_task(node.start())
    async for datagram in heard(manager):
        if "READY=1" in datagram.splitlines():
            break
    assert f"STATUS=ready: {(await starting).subnets[0]} by vxlan, peers: 1" in datagram
    assert str(peer.subnets[0]) in node.net.run("ip route show dev flannel.1")
    assert (node.directory / "flannel/subnet.env").exists()
    await node.leave(peer)
    async for datagram in heard(manager):
        if "peers: 0" in datagram:
            break
    assert "READY=1" not in datagram
    stopping = asyncio.create_task(node.stop(signal.SIGTERM))
    async for datagram in heard(manager):
        if datagram == "STOPPING=1":
            break
    assert await stopping == 0
