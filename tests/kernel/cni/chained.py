"""A chain of plugins, executed as a runtime's library does (CNI 1.1.0, section 3)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kernel.conftest import Net
from tests.unit.cni.conftest import Client, Executed

REFERENCE = Path("/usr/lib/cni")
"""Where Debian's containernetworking-plugins puts the reference plugins."""


@dataclass(frozen=True)
class Chain:
    """A network of several plugins, each found in the first directory that has it."""

    directories: Sequence[Path]
    document: Mapping[str, Any]
    runtime: Mapping[str, Any]
    """What the runtime has for those that list it as a capability."""

    async def add(self, pod: Net) -> Any:  # noqa: ANN401  (a result)
        """The last member's result, each asserted to succeed."""
        result = None
        for plugin in self.document["plugins"]:
            done = await self.execute("ADD", pod, plugin, result)
            assert done.status == 0, (plugin["type"], done.output, done.errors)
            result = json.loads(done.output)
        return result

    async def check(self, pod: Net, result: object) -> list[str]:
        """What each member that complains says."""
        done = [await self.execute("CHECK", pod, plugin, result) for plugin in self.document["plugins"]]
        return [json.loads(item.output)["msg"] for item in done if item.status]

    async def delete(self, pod: Net, result: object = None) -> None:
        for plugin in reversed(self.document["plugins"]):
            done = await self.execute("DEL", pod, plugin, result)
            assert (done.status, done.output) == (0, b""), plugin["type"]

    async def execute(self, verb: str, pod: Net, plugin: Mapping[str, Any], result: object) -> Executed:
        wanted = [key for key, is_wanted in plugin.get("capabilities", {}).items() if is_wanted]
        given = {key: self.runtime[key] for key in wanted if key in self.runtime}
        members = {**plugin, "name": self.document["name"], "cniVersion": self.document["cniVersion"]}
        members.pop("capabilities", None)
        members |= {"runtimeConfig": given} if given else {}
        members |= {"prevResult": result} if result is not None else {}
        path = next(path for item in self.directories if (path := item / plugin["type"]).exists())
        return await Client(path, path).run(
            json.dumps(members).encode(),
            CNI_COMMAND=verb,
            CNI_CONTAINERID=pod.name,
            CNI_NETNS=f"/run/netns/{pod.name}",
            CNI_IFNAME="eth0",
            CNI_PATH=":".join(map(str, self.directories)),
            PATH="/usr/sbin:/usr/bin:/sbin:/bin",
        )
