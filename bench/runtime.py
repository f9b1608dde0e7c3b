"""What a container runtime does with a CNI network: executes the plugins of a list for one pod after another.

Run as a program inside a node (`python -m bench.runtime LIST DIRECTORY COUNT [--ports]`), it attaches that many pods to
the network of a configuration list, detaches them again, and prints the duration of each ADD in milliseconds as a JSON
array. One ADD is every executable of the list in turn, as CNI 1.0 §4 has it: each given the result of the one before.

With `--at-once` all pods are attached at the same time, then detached at the same time; it prints how long each of the
two took, in seconds. Afterwards nothing may be left of any pod.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nankeen.kernel import syscalls
from nankeen.kernel.namespace import current
from nankeen.model.errors import NankeenError

_FIRST_PORT = 20_000


@dataclass(frozen=True, slots=True)
class Attachment:
    """One pod that is attached: what CNI calls the container, and its network namespace."""

    container: str
    netns: str
    port: int | None
    """A host port that leads to it."""

    @property
    def mappings(self) -> list[Mapping[str, Any]]:
        """What the capability `portMappings` is given."""
        return [] if self.port is None else [{"hostPort": self.port, "containerPort": 8080, "protocol": "tcp"}]

    def environment(self, command: str, directory: str) -> dict[str, str]:
        """The variables of CNI 1.0 §2."""
        return {
            "PATH": os.environ["PATH"],
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": self.container,
            "CNI_NETNS": self.netns,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": directory,
        }


@dataclass(frozen=True, slots=True)
class Network:
    """A configuration list and the directory of its plugins."""

    list: Mapping[str, Any]
    directory: str

    def add(self, attachment: Attachment) -> dict[str, Any]:
        """Every plugin's ADD in turn; gives the last one's result."""
        result: dict[str, Any] = {}
        for plugin in self.list["plugins"]:
            result = json.loads(self._execute("ADD", plugin, attachment, result))
        return result

    def delete(self, attachment: Attachment, result: Mapping[str, Any]) -> None:
        """Every plugin's DEL, last to first."""
        for plugin in reversed(self.list["plugins"]):
            self._execute("DEL", plugin, attachment, result)

    def _execute(
        self, command: str, plugin: Mapping[str, Any], attachment: Attachment, previous: Mapping[str, Any]
    ) -> bytes:
        config = {"name": self.list["name"], "cniVersion": self.list["cniVersion"], **plugin}
        if previous:
            config["prevResult"] = previous
        if attachment.mappings and plugin.get("capabilities", {}).get("portMappings"):
            config["runtimeConfig"] = {"portMappings": attachment.mappings}
        done = subprocess.run(
            [f"{self.directory}/{plugin['type']}"],
            input=json.dumps(config).encode(),
            env=attachment.environment(command, self.directory),
            check=False,
            capture_output=True,
        )
        if done.returncode:
            raise NankeenError(f"{command} failed: {(done.stdout or done.stderr).decode()}", where=plugin["type"])
        return done.stdout


@contextmanager
def _pod_namespace() -> Iterator[str]:
    """The path of a new network namespace, while it lives."""
    with current() as home:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        try:
            made = current()
        finally:
            syscalls.setns(home.descriptor, syscalls.CLONE_NEWNET)
    with made:
        yield f"/proc/{os.getpid()}/fd/{made.descriptor}"


def _attachment(number: int, netns: str, *, ports: bool) -> Attachment:
    return Attachment(f"bench{os.getpid()}x{number}", netns, _FIRST_PORT + number if ports else None)


def durations(network: Network, count: int, *, ports: bool) -> list[float]:
    """How long each of `count` ADDs took, in milliseconds, on a node with no other pods."""
    taken = []
    for number in range(count):
        with _pod_namespace() as netns:
            attachment = _attachment(number, netns, ports=ports)
            begin = time.perf_counter()
            result = network.add(attachment)
            taken.append((time.perf_counter() - begin) * 1000)
            network.delete(attachment, result)
    return taken


def at_once(network: Network, count: int, *, ports: bool) -> tuple[float, float]:
    """How long `count` ADDs at the same time took, and then as many DELs, in seconds. Raises `NankeenError` where
    something is left.
    """
    before = len(socket.if_nameindex())
    with ExitStack() as pods, ThreadPoolExecutor(count) as crowd:
        attachments = [
            _attachment(number, pods.enter_context(_pod_namespace()), ports=ports) for number in range(count)
        ]
        begin = time.perf_counter()
        results = list(crowd.map(network.add, attachments))
        attached = time.perf_counter()
        list(crowd.map(network.delete, attachments, results))
        detached = time.perf_counter()
        left = len(socket.if_nameindex()) - before
    addresses = {address["address"] for result in results for address in result["ips"]}
    if len(addresses) < count:
        raise NankeenError(f"{count} pods have {len(addresses)} addresses", where="ADD")
    if left > 1:  # the bridge may be new
        raise NankeenError(f"{left} devices are left", where="DEL")
    return attached - begin, detached - attached


def main(words: Sequence[str] | None = None) -> None:
    """Measures one network and prints the durations."""
    parser = argparse.ArgumentParser(prog="bench.runtime", description="A runtime that only attaches pods.")
    parser.add_argument("list", type=Path, help="the network's configuration list")
    parser.add_argument("directory", help="where its plugins are")
    parser.add_argument("count", type=int)
    parser.add_argument("--ports", action="store_true", help="map a host port of its own for each pod")
    parser.add_argument("--at-once", action="store_true", help="all pods at the same time")
    asked = parser.parse_args(words)
    network = Network(json.loads(asked.list.read_text()), asked.directory)
    measure = at_once if asked.at_once else durations
    print(json.dumps(measure(network, asked.count, ports=asked.ports)))


if __name__ == "__main__":
    main()
