"""Labs and bare network namespaces to measure in."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

from bench.process import NK, run
from nankeen.model.errors import NankeenError

_number = count(100)  # lower ones are those of labs that are built only to see how long it takes


@dataclass(frozen=True, slots=True)
class Lab:
    """A running lab, by its name."""

    name: str

    def inside(self, member: str, *command: str) -> tuple[str, ...]:
        """The command that runs another on a node or in a pod."""
        return (NK, "lab", "exec", "--name", self.name, member, "--", *command)

    def address(self, member: str) -> str:
        """The IPv4 address of a member's eth0."""
        return _address(run(self.inside(member, "ip", "-j", "-4", "address", "show", "dev", "eth0")))


def _address(listing: str) -> str:
    """The first address in what `ip -j address` prints."""
    [device] = json.loads(listing)
    return str(device["addr_info"][0]["local"])


@contextmanager
def lab(*, nodes: int, pods: int, backend: str = "vxlan") -> Iterator[Lab]:
    """A lab of this benchmark's own; several may stand at once."""
    name = f"bench-{os.getpid()}-{next(_number)}"
    run((NK, "lab", "up", "--name", name, "--nodes", str(nodes), "--pods", str(pods), "--backend", backend))
    try:
        yield Lab(name)
    finally:
        run((NK, "lab", "down", "--name", name))


@contextmanager
def wide_lab() -> Iterator[Lab]:
    """A lab of one node, whose subnet has room for a thousand pods."""
    name = f"bench-{os.getpid()}-{next(_number)}"
    network = {"Network": "10.244.0.0/16", "SubnetLen": 22, "Backend": {"Type": "vxlan"}}
    document = {"name": name, "topology": {"nodes": {"node1": {"kind": "node"}}}, "network": network}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(document, file)  # JSON is YAML, too
        file.flush()
        run((NK, "lab", "up", file.name))
    try:
        yield Lab(name)
    finally:
        run((NK, "lab", "down", "--name", name))


def need_root() -> None:
    """Raises `NankeenError` for other users: what a row is held against works outside of any user namespace."""
    if os.geteuid() != 0:
        raise NankeenError("what this is held against needs root", remedy="use sudo ./nk bench")


@contextmanager
def namespace() -> Iterator[str]:
    """A network namespace with loopback up, by its name. Needs root."""
    need_root()
    name = f"nankeen-bench-{os.getpid()}"
    run(("ip", "netns", "add", name))
    try:
        run(("ip", "-n", name, "link", "set", "lo", "up"))
        yield name
    finally:
        run(("ip", "netns", "delete", name))
