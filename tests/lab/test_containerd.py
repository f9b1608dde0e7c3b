"""Pods that a real runtime starts: containerd, asked as a kubelet asks it, on a node of a lab."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.leftovers import of_pods
from nankeen.kernel.namespace import Namespace, entered
from tests.lab.cri import rpc_pb2 as rpc
from tests.lab.cri.containerd import Containerd, Sandbox, containerd
from tests.lab.standing import Standing, network, run, standing

REFERENCE = Path("/usr/lib/cni")
"""The reference plugins of Debian; a node that kubeadm made has them, too, in its own place."""
FLANNELS_LIST = {
    "name": "cbr0",
    "cniVersion": "0.3.1",
    "plugins": [
        {"type": "flannel", "delegate": {"hairpinMode": True, "isDefaultGateway": True}},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}
"""10-flannel.conflist as flannel ships it."""
OURS = "/opt/cni/bin/nankeen"
NANKEEN = pytest.param((False, {"loopback": OURS}), id="nankeen")
FLANNEL = pytest.param(
    (True, {"flannel": OURS, "loopback": str(REFERENCE / "loopback"), "portmap": str(REFERENCE / "portmap")}),
    id="flannel",
    marks=pytest.mark.skipif(not (REFERENCE / "portmap").exists(), reason="the reference plugins are not installed"),
)
STAND_INS = pytest.param((True, dict.fromkeys(("flannel", "loopback", "portmap"), OURS)), id="stand-ins")
"""Which list the runtime reads, flannel's or the agent's, and what it finds under the names of plugins."""
PORT = rpc.PortMapping(host_port=18080, container_port=7000)


@dataclass(frozen=True)
class Machine:
    """A node with a real runtime, in a lab."""

    lab: Standing
    runtime: Containerd

    def left(self) -> frozenset[str]:
        """Whatever a pod could leave on the node."""
        return of_pods(self.lab.node("node1"))

    def ping(self, sandbox: Sandbox, *others: Sandbox) -> None:
        """From inside a sandbox to others and to the lab's pods, in each family; fails where one does not answer."""
        pods = (address.ip for pod in self.lab.pods for address in pod.addresses)
        for address in (*pods, *(address for other in others for address in other.addresses)):
            self.runtime.execute(sandbox, "ping", "-c", "1", "-W", "5", str(address))

    def connection(self, port: int) -> socket.socket:
        """From the other node's pod to a TCP port of the node."""
        address = self.lab.node("node1").addresses[0].ip
        with Namespace.open(self.lab.lab.pod("pod2").namespaces.network) as namespace, entered(namespace):
            return socket.create_connection((str(address), port), timeout=5)


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Two nodes with a pod each, and on node1 containerd with these plugins and that configuration list."""
    flannels, plugins = request.param
    directory = tmp_path_factory.mktemp("net.d")
    (directory / "10-flannel.conflist").write_text(json.dumps(FLANNELS_LIST))
    with standing(network({"Type": "vxlan"})) as lab:
        for name, source in plugins.items():
            run("lab", "exec", "--name", lab.lab.name, "node1", "--", "cp", source, f"/opt/cni/bin/{name}")
        with containerd(lab.lab, "node1", directory if flannels else Path("/etc/cni/net.d")) as runtime:
            yield Machine(lab, runtime)


@pytest.mark.parametrize("node", [NANKEEN, FLANNEL, STAND_INS], indirect=True)
def test_pods_of_a_real_runtime_are_pods_like_others_and_leave_nothing(node: Machine) -> None:
    assert node.runtime.ready() == {"RuntimeReady": True, "NetworkReady": True}
    before = node.left()
    one, other = node.runtime.run(), node.runtime.run()
    for sandbox in (one, other):
        assert [address.version for address in sandbox.addresses] == [4, 6]
    node.ping(one, other)
    node.ping(other, one)
    assert [what.split()[0] for what in node.left() - before].count("device") == 2
    node.runtime.remove(one)
    node.ping(other)
    node.runtime.remove(other)
    assert node.left() == before


@pytest.mark.parametrize("node", [NANKEEN, FLANNEL, STAND_INS], indirect=True)
def test_a_host_port_leads_to_its_pod_as_long_as_that_lives(node: Machine) -> None:
    before = node.left()
    sandbox = node.runtime.run(PORT)
    node.runtime.execute(sandbox, "httpd", "-p", "7000", "-h", "/bin")
    assert any(what.startswith("rule") for what in node.left() - before)
    with node.connection(PORT.host_port) as connection:
        connection.sendall(b"GET /busybox HTTP/1.0\r\n\r\n")
        assert connection.recv(12).endswith(b" 200")
    node.runtime.remove(sandbox)
    with pytest.raises(ConnectionRefusedError):
        node.connection(PORT.host_port)
    assert node.left() == before


@pytest.mark.parametrize("node", [NANKEEN], indirect=True)
def test_a_pods_annotation_bounds_its_bandwidth(node: Machine) -> None:
    sandbox = node.runtime.run(annotations={"kubernetes.io/ingress-bandwidth": "8M"})
    assert "qdisc tbf 1: dev veth" in (told := node.lab.tool("node1", "tc qdisc show"))
    assert "rate 8Mbit" in told
    node.runtime.remove(sandbox)
    assert "tbf" not in node.lab.tool("node1", "tc qdisc show")


@pytest.mark.parametrize("node", [NANKEEN], indirect=True)
async def test_pods_that_start_while_the_agent_is_killed_have_their_network(node: Machine) -> None:
    before = node.left()
    ports = [rpc.PortMapping(host_port=18080 + number, container_port=7000) for number in range(6)]
    starting = [asyncio.create_task(asyncio.to_thread(node.runtime.run, port)) for port in ports]
    await node.lab.restart("node1", kill=True)
    sandboxes = await asyncio.gather(*starting)
    assert len({address for sandbox in sandboxes for address in sandbox.addresses}) == 12
    await asyncio.to_thread(node.ping, sandboxes[0], *sandboxes[1:])
    stopping = [asyncio.create_task(asyncio.to_thread(node.runtime.remove, sandbox)) for sandbox in sandboxes]
    await node.lab.restart("node1", kill=True)
    await asyncio.gather(*stopping)
    assert node.left() == before


@pytest.mark.parametrize("node", [NANKEEN, FLANNEL], indirect=True)
def test_what_a_machine_left_that_lost_its_power_is_taken_back(node: Machine) -> None:
    before = node.left()
    sandboxes = [node.runtime.run() for _ in range(2)]
    node.runtime.kill()
    assert any(what.startswith("file") for what in node.left() - before)
    node.runtime.start()
    for sandbox in sandboxes:
        node.runtime.remove(sandbox)
    assert node.left() == before
