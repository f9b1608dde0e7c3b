"""A small pod network made by hand: two nodes and three pods, routed between the nodes as host-gw does."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from nankeen.inspect.party import Cluster, Kind, Party
from nankeen.inspect.survey import found_party
from nankeen.kernel import namespace
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.observe import observe
from nankeen.kernel.syscalls import CAP_SYS_ADMIN, has_capability
from nankeen.model.address import IPAddress

NODES = {"node1": 1, "node2": 2}
PODS = {"pod1": ("node1", 2), "pod2": ("node2", 2), "pod3": ("node1", 3)}


@dataclass
class HandMadeNetwork:
    """The names of its namespaces begin with a prefix of this process."""

    prefix: str

    def __call__(self, member: str, *commands: str) -> None:
        """Runs `ip` commands (ip-batch) in a member's namespace."""
        lines = "\n".join(commands).replace("@", self.prefix)
        subprocess.run(["ip", "-n", self.prefix + member, "-batch", "-"], input=lines, text=True, check=True)

    def execute(self, member: str, *command: str) -> None:
        """Runs any other command in a member's namespace."""
        subprocess.run(["ip", "netns", "exec", self.prefix + member, *command], check=True)

    def firewall(self, member: str, hook: str, rule: str) -> None:
        """Adds one nftables rule to a chain of that type and hook (`nat hook postrouting`)."""
        chain = f"add chain inet t c {{ type {hook} priority 0; }}"
        self.execute(member, "nft", f"add table inet t; {chain}; add rule inet t c {rule}")

    def cluster(self, **assigned: str) -> Cluster:
        """The parties as found; `assigned` gives a pod other addresses than the network's plan."""
        parties = []
        for node, number in NODES.items():
            given = [ip_address(f"192.168.0.1{number}"), ip_address(f"fd00:192:168::1{number}")]
            parties.append(self._party(node, Kind.NODE, given))
        for pod, (node, host) in PODS.items():
            number = NODES[node]
            planned = f"10.244.{number}.{host} fd00:10:244:{number}::{host}"
            given = [ip_address(text) for text in assigned.get(pod, planned).split()]
            parties.append(self._party(pod, Kind.POD, given))
        return Cluster("hand", tuple(parties))

    def _party(self, name: str, kind: Kind, given: Sequence[IPAddress]) -> Party:
        path = namespace.NAMED / (self.prefix + name)
        with namespace.Namespace.open(path) as there, NetlinkSocket(there) as socket:
            return found_party(name, kind, path, given, observe(socket))

    def build(self) -> None:
        for member in (*NODES, *PODS):
            namespace.create(self.prefix + member)
            self(member, "link set lo up")
        self("node1", "link add eth0 type veth peer name eth0 netns @node2")
        for node, number in NODES.items():
            self.execute(node, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
            self(
                node,
                f"addr add 192.168.0.1{number}/24 dev eth0",
                f"addr add fd00:192:168::1{number}/64 dev eth0 nodad",
                f"addr add fe80::1{number}/64 dev eth0 nodad",  # whence it asks for neighbours when it forwards
                "link set eth0 addrgenmode none up",
                "link add cni0 type bridge mcast_snooping 0",
                f"addr add 10.244.{number}.1/24 dev cni0",
                f"addr add fd00:10:244:{number}::1/64 dev cni0 nodad",
                "link set cni0 addrgenmode none up",
            )
        for node, other in (("node1", 2), ("node2", 1)):
            self(
                node,
                f"route add 10.244.{other}.0/24 via 192.168.0.1{other}",
                f"route add fd00:10:244:{other}::/64 via fd00:192:168::1{other}",
            )
        for pod, (node, host) in PODS.items():
            number = NODES[node]
            self(
                node,
                f"link add veth-{pod} type veth peer name eth0 netns @{pod}",
                f"link set veth-{pod} master cni0 up",
            )
            self(
                pod,
                "link set eth0 addrgenmode none up",
                f"addr add 10.244.{number}.{host}/24 dev eth0",
                f"addr add fd00:10:244:{number}::{host}/64 dev eth0 nodad",
                f"route add default via 10.244.{number}.1",
                f"route add default via fd00:10:244:{number}::1",
            )

    def remove(self) -> None:
        for member in (*PODS, *NODES):
            namespace.remove(self.prefix + member)


@pytest.fixture
def network() -> Iterator[HandMadeNetwork]:
    if not has_capability(CAP_SYS_ADMIN):
        pytest.skip("needs root: network namespaces are made")
    made = HandMadeNetwork(f"verify{os.getpid()}-")
    try:
        made.build()
        yield made
    finally:
        made.remove()
