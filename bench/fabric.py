"""A fabric of many nodes of which one is there: a registry full of leases, and the node whose agent follows it."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
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
from nankeen.model.leasevalue import encode, key
from nankeen.model.state import PROTOCOL_BOOT
from nankeen.registry import sqlite
from nankeen.registry.doorbell import ring

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


def fill(path: Path, peers: int) -> None:
    """Makes a registry with that many nodes in it, in one transaction: one by one they would take minutes."""
    sqlite.create(path, CONFIG)
    rows = ((each.node, key(each.subnets), encode(each), each.expires) for each in map(lease, range(peers)))
    with closing(sqlite3.connect(path)) as table, table:
        table.executemany("INSERT INTO lease (node, key, value, expires) VALUES (?, ?, ?, ?)", rows)


def join(table: sqlite3.Connection, path: Path, number: int) -> float:
    """One more lease; returns when it began to be committed, as of `time.perf_counter`."""
    wanted = lease(number)
    row = (wanted.node, key(wanted.subnets), encode(wanted), wanted.expires)
    table.execute("BEGIN IMMEDIATE")
    table.execute("INSERT INTO lease (node, key, value, expires) VALUES (?, ?, ?, ?)", row)
    began = time.perf_counter()
    table.execute("COMMIT")
    ring(path)
    return began


@dataclass(frozen=True, slots=True)
class Home:
    """A node that stands: its network namespace with an underlay, and its files."""

    name: str
    directory: Path

    @property
    def registry(self) -> Path:
        return self.directory / "registry.db"

    @contextmanager
    def agent(self) -> Iterator[subprocess.Popen[str]]:
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
        registry = ("--registry", f"sqlite://{self.registry}", "--node-name", "node1", "--iface", "eth0")
        program = ("env", f"PYTHONPATH={ROOT / 'src'}", sys.executable, "-P", "-m", "nankeen", "agent")
        command = ("ip", "netns", "exec", self.name, *program, *registry, *files)
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
