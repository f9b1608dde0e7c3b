"""What single pods have on a lab's node: files, devices, rules of the packet filter. After the last there is none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from bench.process import run
from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink import link
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.lab import LabNode

_DIRECTORIES = ("var/lib/cni", "run/nankeen/ports")
_NO_PODS = re.compile(r"lock|last_reserved_ip\.\d+")
"""Files of host-local's store that are about all pods."""
_OF_A_POD = re.compile(r"\b10\.244\.\d+\.\d+\b(?![./])|\bfd00:10:244:[0-9a-f:]+(?![0-9a-f:/])|CNI-DN-")
"""What a rule names that is about one pod: its address, or the chain that portmap makes for it."""


def of_pods(node: LabNode) -> frozenset[str]:
    """All of it, and the node's own devices besides; pods' addresses are those of labs. Raises `NankeenError`."""
    return frozenset((*_files(node.directory), *_devices(node), *_rules(node)))


def _files(directory: Path) -> Iterator[str]:
    for top in _DIRECTORIES:
        for path in (directory / top).rglob("*"):
            if path.is_file() and not _NO_PODS.fullmatch(path.name):
                yield f"file {path.relative_to(directory)}"


def _devices(node: LabNode) -> Iterator[str]:
    with Namespace.open(node.namespaces.network) as namespace, NetlinkSocket(namespace) as there:
        for kind, body in there.dump(link.dump()):
            if kind == link.RTM_NEWLINK:
                yield f"device {link.index_and_name(body)[1]}"


def _rules(node: LabNode) -> Iterator[str]:
    rules = run(("ip", "netns", "exec", node.namespaces.network.name, "nft", "--stateless", "list", "ruleset"))
    for line in rules.splitlines():
        if _OF_A_POD.search(line):
            yield f"rule {line.strip()}"
