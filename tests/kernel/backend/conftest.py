"""Three nodes on real links: node1 and node2 on one, node3 behind a router.

    node1 ── eth0 ─┐
                   ├─ near [router] far ── eth0 ── node3
    node2 ── eth0 ─┘

Each node has the address of a pod on its loopback, so that a packet to it is delivered on the node.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest

from nankeen.backend import Backend, Node, Underlay, claim, open_backend
from nankeen.backend.admission import Admission, admit
from nankeen.backend.routing import RouteTable
from nankeen.kernel.apply import apply
from nankeen.model.address import HardwareAddress
from nankeen.model.diff import diff
from nankeen.model.gojson import JSON
from nankeen.model.lease import Endpoint, Lease
from nankeen.model.netconf import BackendConfig
from nankeen.model.state import Sysctl

if TYPE_CHECKING:
    from tests.kernel.conftest import Net

NETWORKS = (ip_network("10.5.0.0/16"), ip_network("fc00:5::/48"))
LINK = {1: 99, 2: 99, 3: 98}
"""The second number of a node's underlay address tells its link."""


@dataclass(frozen=True)
class Member:
    """A node of the fabric, with a backend and without an agent: the test says when it looks and acts."""

    number: int
    net: Net
    backend: Backend

    @property
    def node(self) -> Node:
        """The facts, as they are now."""
        addresses = (
            ip_address(f"10.{LINK[self.number]}.0.{self.number}"),
            ip_address(f"fd{LINK[self.number]}::{self.number}"),
        )
        subnets = ip_network(f"10.5.{self.number}.0/24"), ip_network(f"fc00:5:0:{self.number}::/64")
        hardware = {
            device: HardwareAddress(bytes([2, 0, 0, 0, family, self.number]))
            for family, device in ((4, "flannel.1"), (6, "flannel-v6.1"))
        }
        routes = RouteTable.of(self.net.observe(), besides=hardware)
        return Node(
            f"node{self.number}", Underlay("eth0", 1500, addresses), NETWORKS, subnets, (), hardware, routes
        )  # fmt: skip

    @property
    def lease(self) -> Lease:
        node = self.node
        ends = map(Endpoint, node.subnets, self.backend.reaches(node))
        return Lease(node.name, self.backend.announces, tuple(ends))

    def admission(self, leases: list[Lease]) -> Admission:
        return admit([self.backend], self.node, leases)

    def converge(self, leases: list[Lease]) -> list[str]:
        """Makes the kernel equal to what the leases ask for; returns what had to change."""
        desired = self.backend.state(self.node, self.admission(leases).peers)
        observed = self.net.observe(*(setting.path for setting in desired.of(Sysctl)))
        changes = diff(desired, observed, claim(self.backend, self.node))
        assert apply(self.net.socket, changes, self.net.namespace) == []
        return [str(change) for change in changes]

    def reaches(self, number: int) -> None:
        """A packet of either family goes to the other node's pod and one comes back; it fails where none does."""
        for pod in ("10.5.{}.2", "fc00:5:0:{}::2"):
            self.net.run(f"ping -n -c 1 -W 9 -I {pod.format(self.number)} {pod.format(number)}")

    def routes(self, number: int) -> list[str]:
        """How `ip route` prints the ways to another node's pods."""
        found = [
            self.net.run(f"ip route show 10.5.{number}.0/24"),
            self.net.run(f"ip -6 route show fc00:5:0:{number}::/64"),
        ]
        return [line.removesuffix(" pref medium").strip() for text in found for line in text.splitlines()]

    def tunnelled(self) -> int:
        """How many packets have come out of the node's tunnels."""
        counters = [f"/sys/class/net/{device}/statistics/rx_packets" for device in ("flannel.1", "flannel-v6.1")]
        return sum(int(self.net.run(f"cat {counter}")) for counter in counters)


@dataclass(frozen=True)
class Cluster:
    node1: Member
    node2: Member
    node3: Member

    @property
    def leases(self) -> list[Lease]:
        return [member.lease for member in (self.node1, self.node2, self.node3)]

    def converge(self) -> list[list[str]]:
        leases = self.leases
        return [member.converge(leases) for member in (self.node1, self.node2, self.node3)]


@pytest.fixture
def underlay(make_net: Callable[[], Net]) -> list[Net]:
    """The router, and the three nodes."""
    router, *nodes = (make_net() for _ in range(4))
    router.run("ip link add near type bridge mcast_snooping 0")
    router.run("ip link add far type bridge mcast_snooping 0")
    router.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    for name, link in (("near", 99), ("far", 98)):
        router.run(f"ip address add 10.{link}.0.254/24 dev {name}")
        router.run(f"ip address add fd{link}::fe/64 dev {name} nodad")
        router.run(f"ip link set {name} up")
    for number, net in enumerate(nodes, 1):
        link, bridge = LINK[number], "near" if LINK[number] == 99 else "far"
        router.run(f"ip link add port{number} type veth peer name eth0 netns {net.name}")
        router.run(f"ip link set port{number} master {bridge} up")
        net.run("sysctl -qw net.ipv6.conf.eth0.accept_dad=0")
        net.run(f"ip address add 10.{link}.0.{number}/24 dev eth0")
        net.run(f"ip address add fd{link}::{number}/64 dev eth0")
        net.run("ip link set eth0 up")
        net.run(f"ip route add default via 10.{link}.0.254")
        net.run(f"ip -6 route add default via fd{link}::fe")
        net.run(f"ip address add 10.5.{number}.2/32 dev lo")
        net.run(f"ip address add fc00:5:0:{number}::2/128 dev lo")
    return nodes


@pytest.fixture
def make_cluster(underlay: list[Net]) -> Callable[..., Cluster]:
    """Makes the nodes' part of a cluster of that backend with these options; nothing is in the kernel yet."""

    def make(backend: str, **options: JSON) -> Cluster:
        opened = open_backend(BackendConfig(backend, options))
        return Cluster(*(Member(number, net, opened) for number, net in enumerate(underlay, 1)))

    return make
