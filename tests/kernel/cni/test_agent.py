"""What a real agent installs for the runtime, and when."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from tests.kernel.agent.conftest import Node, node
from tests.unit.cni.conftest import Client

__all__ = ["node"]


async def ask(node: Node, verb: str, program: str = "nankeen", **config: Any) -> tuple[int, Any]:  # noqa: ANN401
    """How the installed executable exits, and what it prints."""
    client = Client(node.directory / "bin" / program, node.directory / "run/cni.sock")
    document = {"cniVersion": "1.1.0", "name": "cbr0", "type": program, **config}
    environment = {"CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_PATH": str(node.directory / "bin")}
    done = await client.run(json.dumps(document).encode(), CNI_COMMAND=verb, **environment)
    return done.status, json.loads(done.output) if done.output else None


def installed(node: Node) -> list[str]:
    return sorted(path.name for name in ("bin", "conf") for path in (node.directory / name).iterdir())


async def test_a_node_without_a_lease_invites_no_pods_and_can_still_take_them_back(node: Node) -> None:
    await node.start()
    assert installed(node) == ["10-nankeen.conflist", "nankeen"]
    assert await ask(node, "STATUS") == (0, None)
    await node.stop()
    assert installed(node) == ["10-nankeen.conflist", "nankeen"]  # a restart is no reason
    os.truncate(node.registry_file, 0)
    (node.directory / "leases.json").unlink(missing_ok=True)
    await node.launch()
    told = await node.until(lambda status: not status.ready and status.reason != "starting")
    assert installed(node) == ["nankeen"]
    status, error = await ask(node, "STATUS")
    assert (status, error["code"]) == (1, 50)
    assert error["msg"] == f"the node has no pod network yet: {told.reason}"
    assert await ask(node, "DEL") == (0, None)
    await node.stop(signal.SIGKILL)
    status, error = await ask(node, "STATUS")
    assert (status, error["code"]) == (1, 50)
    assert error["details"] == f"the agent said last: {told.reason}"


async def test_an_agent_in_flannels_place_serves_flannels_configuration(node: Node) -> None:
    node.underlay = (*node.underlay, "--cni-as=flannel,bandwidth")
    await node.start()
    assert installed(node) == ["10-nankeen.conflist", "bandwidth", "flannel", "nankeen"]
    places = {"subnetFile": str(node.directory / "flannel/subnet.env"), "dataDir": str(node.directory / "kept")}
    assert await ask(node, "STATUS", "flannel", **places) == (0, None)
    status, error = await ask(node, "CHECK", "flannel", prevResult={}, **places)
    assert (status, error["code"]) == (1, 4)  # it names no namespace
    assert await ask(node, "DEL", "flannel", **places) == (0, None)
