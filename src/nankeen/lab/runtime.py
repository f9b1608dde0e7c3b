"""What a container runtime does with CNI: it finds the network configuration list and executes its plugins in a chain.

CNI specification 1.1.0, section 3 "Execution of network configurations". It runs inside the node that the pod is on.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nankeen.lab.capabilities import granted
from nankeen.lab.lab import LabPod
from nankeen.model.errors import LabError

CONFIG_DIRECTORY = Path("/etc/cni/net.d")
PLUGIN_DIRECTORY = Path("/opt/cni/bin")
INTERFACE = "eth0"
DEADLINE = 30.0
"""Seconds that a plugin has to answer."""

Document = Mapping[str, Any]
Command = Literal["ADD", "DEL"]


@dataclass(frozen=True, slots=True)
class NetworkList:
    """A network configuration list: what plugins to execute, in what order."""

    name: str
    version: str
    plugins: tuple[Document, ...]

    @classmethod
    def parse(cls, text: str, where: str) -> NetworkList:
        """From a `.conflist`. Raises `LabError`."""
        try:
            fields = json.loads(text)
            return cls(fields["name"], fields["cniVersion"], tuple(fields["plugins"]))
        except (ValueError, KeyError, TypeError) as error:
            raise LabError(f"this is no network configuration list: {error!r}", where=where) from error


def find_network(directory: Path = CONFIG_DIRECTORY) -> NetworkList | None:
    """The node's network configuration list, the first by name. None while its agent is not ready."""
    found = sorted(directory.glob("*.conflist"))
    return NetworkList.parse(found[0].read_text(), str(found[0])) if found else None


def attach(network: NetworkList, pod: LabPod) -> Document:
    """ADD by each plugin in turn; what the last one answers is the result.

    Raises `LabError`, also where none of them is capable of what the pod asks for.
    """
    for name in json.loads(pod.asked):
        if not any(granted({name: None}, plugin) for plugin in network.plugins):
            raise LabError(f"no plugin of its chain has the capability {name}", where=f"network {network.name}")
    result: Document | None = None
    for plugin in network.plugins:
        result = _execute("ADD", network, plugin, pod, result)
    if result is None:
        raise LabError("its chain of plugins gives no result", where=f"network {network.name}")
    return result


def detach(network: NetworkList, pod: LabPod) -> None:
    """DEL by each plugin, last first. Raises `LabError`."""
    previous = json.loads(pod.result) if pod.result else None
    for plugin in reversed(network.plugins):
        _execute("DEL", network, plugin, pod, previous)


def addresses(result: Document) -> list[str]:
    """The pod's addresses with their prefix lengths, out of a result."""
    return [entry["address"] for entry in result.get("ips", [])]


def _execute(
    command: Command, network: NetworkList, plugin: Document, pod: LabPod, previous: Document | None
) -> Document | None:
    config = {**plugin, "cniVersion": network.version, "name": network.name}
    if previous is not None:
        config["prevResult"] = previous
    if given := granted(json.loads(pod.asked), plugin):
        config["runtimeConfig"] = given
    executable = PLUGIN_DIRECTORY / plugin["type"]
    where = f"{command} of {pod.name} by {executable}"
    try:
        process = subprocess.run(
            [executable],
            input=json.dumps(config).encode(),
            env=_environment(command, pod),
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )
    except OSError as error:
        raise LabError(f"cannot be executed: {error.strerror}", where=where) from error
    except subprocess.TimeoutExpired:
        raise LabError(f"no answer within {DEADLINE:g} s", where=where) from None
    if process.returncode != 0:
        raise LabError(_complaint(process.stdout, process.stderr), where=where)
    return json.loads(process.stdout) if command == "ADD" else None


def _environment(command: Command, pod: LabPod) -> dict[str, str]:
    kubernetes = {
        "IgnoreUnknown": "1",
        "K8S_POD_NAMESPACE": "default",
        "K8S_POD_NAME": pod.name,
        "K8S_POD_INFRA_CONTAINER_ID": pod.sandbox,
    }
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": pod.sandbox,
        "CNI_NETNS": str(pod.namespaces.network),
        "CNI_IFNAME": INTERFACE,
        "CNI_ARGS": ";".join(f"{key}={value}" for key, value in kubernetes.items()),
        "CNI_PATH": str(PLUGIN_DIRECTORY),
    }


def _complaint(output: bytes, errors: bytes) -> str:
    """A plugin's error in words: the specification's error document, or whatever it left."""
    try:
        document = json.loads(output)
        return f"{document['msg']}: {document['details']}" if document.get("details") else str(document["msg"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return " ".join((output + errors).decode(errors="replace").split()) or "failed without a word"
