"""A container runtime, as far as the plugin can tell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nankeen.pods.plugin import Plugin
from tests.kernel.conftest import Net
from tests.unit.cni.conftest import Client, Executed

BRIDGE_PLUGIN = Path("/usr/lib/cni/bridge")
"""The reference plugin, where Debian's containernetworking-plugins puts it."""

Config = Mapping[str, Any]


class Runtime:
    """A container runtime with one network."""

    def __init__(self, client: Client, plugin: Plugin, data: Path) -> None:
        self.client = client
        self.plugin = plugin
        self.addresses = data / "cbr0"
        self.config: dict[str, Any] = {"cniVersion": "1.1.0", "name": "cbr0", "type": "nankeen", "hairpinMode": True}

    async def execute(self, verb: str, pod: Net | None, config: Config | None = None, **changes: str) -> Executed:
        """Without a pod for what is about all of them."""
        environment = {"CNI_COMMAND": verb, "CNI_PATH": str(self.client.executable.parent)}
        if pod is not None:
            environment |= {"CNI_CONTAINERID": pod.name, "CNI_NETNS": f"/run/netns/{pod.name}", "CNI_IFNAME": "eth0"}
        document = {**self.config, **(config or {})}
        return await self.client.run(json.dumps(document).encode(), **(environment | changes))

    async def add(self, pod: Net, config: Config | None = None, **changes: str) -> Any:  # noqa: ANN401  (a result)
        done = await self.execute("ADD", pod, config, **changes)
        assert done.status == 0, done.output
        return json.loads(done.output)

    async def succeed(self, verb: str, pod: Net | None, config: Config | None = None, **changes: str) -> None:
        done = await self.execute(verb, pod, config, **changes)
        assert (done.status, done.output) == (0, b"")

    async def delete(self, pod: Net, config: Config | None = None) -> None:
        await self.succeed("DEL", pod, config)

    async def refusal(
        self, verb: str, pod: Net | None, config: Config | None = None, **changes: str
    ) -> tuple[int, str]:
        done = await self.execute(verb, pod, config, **changes)
        assert done.status == 1
        error = json.loads(done.output)
        return error["code"], error["msg"]

    def reserved(self) -> set[str]:
        """The names of the files that reserve an address."""
        names = {path.name for path in self.addresses.iterdir()} if self.addresses.is_dir() else set()
        return {name for name in names if name[0].isdigit() or ":" in name}


def veths(node: Net) -> list[str]:
    return [line.split("@")[0] for line in node.run("ip -brief link show type veth").splitlines()]
