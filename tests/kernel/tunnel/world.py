"""Two nodes with a pod each, the udp backend's devices as an agent makes them, and the real process on each node:

pod1 eth0 ── cni0 node1 eth0 ── eth0 node2 cni0 ── eth0 pod2
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from bench.meter import End
from nankeen.backend import Node, Underlay, claim
from nankeen.backend.udp import DEVICE, UdpBackend
from nankeen.kernel.apply import apply
from nankeen.kernel.namespace import NAMED
from nankeen.model.diff import diff
from nankeen.model.lease import Endpoint, Lease, Reach
from nankeen.model.state import State, Sysctl
from nankeen.tunnel.control import (
    LONGEST,
    Answer,
    Ask,
    Configure,
    Done,
    Report,
    Request,
    Settings,
    decode_answer,
    encode_request,
)
from tests.kernel.tunnel import lame

if TYPE_CHECKING:
    from tests.kernel.conftest import Net

SOURCE = Path(__file__).parents[3] / "src"
NETWORKS = {4: ip_network("10.244.0.0/16"), 6: ip_network("fd10:244::/48")}
BACKEND = UdpBackend()
_PATIENCE = 20.0
"""Seconds until a process that says nothing is given up."""
_RETRY_SECONDS = 0.01


def underlay(number: int, version: int = 4) -> str:
    return f"192.168.50.{number}" if version == 4 else f"fd50::{number}"


def subnet(number: int, version: int = 4) -> str:
    return f"10.244.{number}.0/24" if version == 4 else f"fd10:244:0:{number}::/64"


def inside(number: int, host: int = 2, version: int = 4) -> str:
    """An address in a node's subnet: 0 is the tunnel's, 1 the bridge's, 2 the pod's."""
    return str(ip_network(subnet(number, version))[host])


def lease(number: int, versions: Sequence[int] = (4, 6)) -> Lease:
    endpoints = (
        Endpoint(ip_network(subnet(number, version)), Reach(ip_address(underlay(number, version))))
        for version in versions
    )
    return Lease(f"node{number}", "", tuple(endpoints))


@dataclass
class Site:
    """A node, its pod, and what carries their packets."""

    number: int
    node: Net
    pod: Net
    socket: Path
    versions: Sequence[int] = (4, 6)
    """Of IP, that the cluster uses."""
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    """The last of them is the one at work."""

    def end(self, version: int = 4) -> End:
        """Where the pod's traffic comes from."""
        return End(f"pod{self.number}", NAMED / self.pod.name, ip_address(inside(self.number, version=version)))

    def desired(self, *peers: Lease) -> State:
        """What an agent would want."""
        addresses = tuple(ip_address(underlay(self.number, version)) for version in self.versions)
        node = Node(
            f"node{self.number}",
            Underlay("eth0", 1500, addresses),
            tuple(NETWORKS[version] for version in self.versions),
            tuple(ip_network(subnet(self.number, version)) for version in self.versions),
        )
        desired = BACKEND.state(node, peers)
        observed = self.node.observe(*(setting.path for setting in desired.of(Sysctl)))
        assert apply(self.node.socket, diff(desired, observed, claim(BACKEND, node)), self.node.namespace) == []
        return desired

    def settings(self, *peers: Lease) -> Settings:
        """The device made, and what the process is to be told of it and those peers."""
        settings = Settings.of(self.desired(*peers), DEVICE)
        assert settings is not None
        return settings

    def start(self, *lacks: lame.Lack) -> subprocess.Popen[str]:
        """Starts a process; returns when it listens. It goes without what it lacks, as on an older kernel."""
        program = [lame.__file__, *lacks, "--"] if lacks else ["-m", "nankeen.tunnel"]
        self.processes.append(self.launch(sys.executable, "-P", *program, "--socket", str(self.socket)))
        return self.await_answer(self.processes[-1])

    def launch(self, *words: str) -> subprocess.Popen[str]:
        """A process on the node."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.node.name, *words],
            env={**os.environ, "PYTHONPATH": f"{SOURCE}:{SOURCE.parent}"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def await_answer(self, process: subprocess.Popen[str]) -> subprocess.Popen[str]:
        """Returns when a process answers."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            with suppress(OSError):
                self.ask(Ask())
                return process
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(_RETRY_SECONDS)  # it is another process that goes on

    def configure(self, *peers: Lease) -> None:
        """Tells the process its peers, which it must take; returns when the kernel, too, has seen that it reads."""
        assert self.ask(Configure(self.settings(*peers))) == Done()
        while "NO-CARRIER" in self.node.run(f"ip link show {DEVICE}"):
            time.sleep(_RETRY_SECONDS)  # until then the device drops what is sent (linkwatch)

    def ask(self, request: Request) -> Answer:
        """What the process answers. Raises `OSError`."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_PATIENCE)
            connection.connect(str(self.socket))
            connection.sendall(encode_request(request))
            with connection.makefile("rb") as lines:
                return decode_answer(lines.readline(LONGEST))

    def report(self) -> Report:
        answer = self.ask(Ask())
        assert isinstance(answer, Report)
        return answer

    def close(self) -> None:
        """Ends what was started here."""
        for process in self.processes:
            process.kill()
            process.communicate()


@dataclass(frozen=True)
class Pair:
    """Two nodes that are each other's peers."""

    one: Site
    two: Site

    @property
    def sites(self) -> tuple[Site, Site]:
        return self.one, self.two

    @property
    def versions(self) -> Sequence[int]:
        return self.one.versions

    def carry(self, *lacks: lame.Lack) -> None:
        """Starts both processes, of which the first lacks something, and tells them of each other."""
        for site, peer in (self.sites, self.sites[::-1]):
            site.start(*(lacks if site is self.one else ()))
            site.configure(lease(peer.number, self.versions))


def build(make_net: Callable[[], Net], directory: Path, versions: Sequence[int] = (4, 6)) -> Pair:
    """The nodes and pods, with nothing that carries packets between them yet."""
    sites = [
        Site(number, make_net(), make_net(), directory / f"node{number}" / "tunnel.sock", versions)
        for number in (1, 2)
    ]  # fmt: skip
    one, two = sites
    for net in (one.node, one.pod, two.node, two.pod):
        net.run("sysctl -qw net.ipv6.conf.default.accept_dad=0")
    one.node.run(f"ip link add eth0 type veth peer name eth0 netns {two.node.name}")
    for site in sites:
        site.node.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        site.node.run(f"ip link add cni0 type veth peer name eth0 netns {site.pod.name}")
        mtu = BACKEND.mtu(Node("", Underlay("eth0", 1500, ()), tuple(NETWORKS[version] for version in versions)))
        for net, device in ((site.pod, "eth0"), (site.node, "cni0")):
            net.run(f"ip link set {device} up mtu {mtu}")
        site.node.run("ip link set eth0 up")
        for version in versions:
            _address(site, version)
    return Pair(one, two)


def _address(site: Site, version: int) -> None:
    length = ip_network(subnet(site.number, version)).prefixlen
    site.node.run(f"ip address add {underlay(site.number, version)}/{24 if version == 4 else 64} dev eth0")
    site.node.run(f"ip address add {inside(site.number, 1, version)}/{length} dev cni0")
    site.pod.run(f"ip address add {inside(site.number, 2, version)}/{length} dev eth0")
    site.pod.run(f"ip -{version} route add default via {inside(site.number, 1, version)}")
