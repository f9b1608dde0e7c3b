"""A fabric of many nodes of which one is there: the leases of the others, and the node whose agent follows them."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Self

from asyncinotify import Inotify, Mask

from bench.cluster import namespace
from bench.process import ROOT, run, running
from nankeen.agent import status
from nankeen.kernel.namespace import NAMED, Namespace, entered
from nankeen.kernel.netlink import route
from nankeen.kernel.netlink.socket import split
from nankeen.model.errors import NankeenError
from nankeen.model.lease import LEASE_SECONDS, Endpoint, Lease
from nankeen.model.lease import Reach as NodeReach
from nankeen.model.state import PROTOCOL_BOOT

CONFIG = '{"Network": "10.0.0.0/8", "SubnetLen": 24, "Backend": {"Type": "vxlan"}}'
_FIRST_SUBNET = int(ip_address("10.0.16.0"))
_FIRST_ADDRESS = int(ip_address("192.168.1.0"))
_PATIENCE = 60.0
"""Seconds in which an agent must have all its routes."""
_SO_RCVBUFFORCE = 33
_BUFFER = 64 << 20
_RTMGRP_IPV4_ROUTE = 0x40


def lease(number: int) -> Lease:
    """That of the node of this number, from 0."""
    mac = (0x0242_0000_0000 + number).to_bytes(6).hex(":")
    reach = NodeReach(ip_address(_FIRST_ADDRESS + number), f'{{"VNI":1,"VtepMAC":"{mac}"}}')
    subnet = ip_network((_FIRST_SUBNET + (number << 8), 24))
    return Lease(f"peer{number}", "vxlan", (Endpoint(subnet, reach),), time.time() + LEASE_SECONDS)


@dataclass(frozen=True, slots=True)
class Home:
    """A node that stands: its network namespace with an underlay, and its files."""

    name: str
    directory: Path

    @contextmanager
    def agent(self, registry: str) -> Iterator[subprocess.Popen[str]]:
        """Its agent, as a process of its own. Raises `NankeenError` with its last words where it does not end well."""
        places = {
            "--subnet-file": "subnet.env",
            "--status-file": "status.json",
            "--lease-file": "leases.json",
            "--socket": "cni.sock",
            "--cni-bin-dir": "bin",
            "--cni-conf-dir": "net.d",
            "--cni-data-dir": "cni",
        }
        files = [word for flag, name in places.items() for word in (flag, str(self.directory / name))]
        options = ("--registry", registry, "--node-name", "node1", "--iface", "eth0")
        program = ("env", f"PYTHONPATH={ROOT / 'src'}", sys.executable, "-P", "-m", "nankeen", "agent")
        command = ("ip", "netns", "exec", self.name, *program, *options, *files)
        with open(self.directory / "agent.log", "w") as log, running(command, log=log) as process:
            yield process

    def await_ready(self, pid: int) -> None:
        """Returns when the agent of that number has programmed all peers. Raises `NankeenError`."""
        file = self.directory / "status.json"
        deadline = time.monotonic() + _PATIENCE
        with Inotify(sync_timeout=1) as inotify:
            inotify.add_watch(self.directory, Mask.MOVED_TO)
            while not ((told := status.read(file)) and told.ready and told.pid == pid):
                inotify.sync_get()
                if time.monotonic() > deadline:
                    raise self.complaint("is not ready")

    def complaint(self, what: str) -> NankeenError:
        """An error with what the agent said last."""
        return NankeenError(f"{what}: {(self.directory / 'agent.log').read_text()[-500:]}", where="agent")


@contextmanager
def home(directory: Path) -> Iterator[Home]:
    """A node in a namespace of its own. Needs root."""
    with namespace() as node:
        run(("ip", "-n", node, "link", "add", "eth0", "type", "veth", "peer", "name", "port1"))
        run(("ip", "-n", node, "link", "set", "port1", "up"))
        run(("ip", "-n", node, "address", "add", "192.168.0.11/16", "dev", "eth0"))
        run(("ip", "-n", node, "link", "set", "eth0", "up"))
        run(("ip", "-n", node, "link", "set", "lo", "up"))
        yield Home(node, directory)


class RouteNews:
    """The kernel's news of routes to peers, in a node's namespace, from the moment it is made."""

    def __init__(self, node: Home) -> None:
        with Namespace.open(NAMED / node.name) as there, entered(there):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._node = node
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._socket.bind((0, _RTMGRP_IPV4_ROUTE))
        self._socket.settimeout(_PATIENCE)

    def await_added(self, count: int) -> float:
        """When the last of that many more was there, as of `time.perf_counter`. Raises `NankeenError`."""
        return self._await(route.RTM_NEWROUTE, count)

    def await_removed(self, count: int) -> float:
        """When the last of that many was gone, as of `time.perf_counter`. Raises `NankeenError`."""
        return self._await(route.RTM_DELROUTE, count)

    def _await(self, wanted: int, count: int) -> float:
        left = count
        while left > 0:
            try:
                data = self._socket.recv(1 << 20)
            except TimeoutError:
                raise self._node.complaint(f"{left} of {count} routes have not changed") from None
            left -= sum(kind == wanted and _is_to_peer(body) for kind, _, _, _, body in split(data))
        return time.perf_counter()

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_to_peer(body: bytes) -> bool:
    """Whether a route message (struct rtmsg, linux/rtnetlink.h) is about a /24 of ours, and not of the kernel's own."""
    return body[1] == 24 and body[5] == PROTOCOL_BOOT
