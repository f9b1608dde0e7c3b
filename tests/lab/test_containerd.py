"""Pods that a real runtime starts: containerd, asked as a kubelet asks it, on a node of a lab."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def machine(configurations: Path | None = None) -> Iterator[Machine]:
    """Two nodes with a pod each, and on node1 containerd, which reads the agent's own configuration, or another."""
    missing = [name for name in ("loopback", "portmap") if not (REFERENCE / name).exists()]
    if missing:
        pytest.skip(f"the reference plugins are not installed: {missing}")
    with standing(network({"Type": "vxlan"})) as lab:
        within = ("lab", "exec", "--name", lab.lab.name, "node1", "--")
        run(*within, "cp", str(REFERENCE / "loopback"), str(REFERENCE / "portmap"), "/opt/cni/bin/")
        run(*within, "cp", "/opt/cni/bin/nankeen", "/opt/cni/bin/flannel")
        with containerd(lab.lab, "node1", *(() if configurations is None else (configurations,))) as runtime:
            yield Machine(lab, runtime)


@pytest.fixture(scope="module", params=["nankeen", "flannel"])
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """With the agent's own configuration list, and with flannel's."""
    directory = tmp_path_factory.mktemp("net.d")
    (directory / "10-flannel.conflist").write_text(json.dumps(FLANNELS_LIST))
    with machine(directory if request.param == "flannel" else None) as found:
        yield found


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


@pytest.mark.parametrize("node", ["nankeen"], indirect=True)
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


def test_what_a_machine_left_that_lost_its_power_is_taken_back(node: Machine) -> None:
    before = node.left()
    sandboxes = [node.runtime.run() for _ in range(2)]
    node.runtime.kill()
    assert any(what.startswith("file") for what in node.left() - before)
    node.runtime.start()
    for sandbox in sandboxes:
        node.runtime.remove(sandbox)
    assert node.left() == before
