"""Two nodes and their pods over VXLAN, as lines.

pod1 ── veth1 cni0 node1 eth0 ── switch ── eth0 node2 cni0 veth1 ── pod2
pod3 ── veth3 ┘
"""

from __future__ import annotations

from nankeen.forwarding import Host, Port, Wire, World
from tests.unit.forwarding.lines import host


def node(number: int, family: int = 4) -> str:
    """A node's lines; what it knows of the other node is in there."""
    other = 3 - number
    if family == 4:
        return f"""
eth0: physical mtu 1500 address 02:00:00:00:00:0{number}
cni0: bridge mtu 1450 address 02:00:00:00:01:0{number}
flannel.1: vxlan id 1 local 192.168.0.1{number} mtu 1450 address 02:00:00:00:02:0{number}
veth1: veth mtu 1450 master cni0 address 02:00:00:00:03:0{number}
veth3: veth mtu 1450 master cni0 address 02:00:00:00:04:0{number}
inet 192.168.0.1{number}/24 dev eth0
inet 10.244.{number}.1/24 dev cni0
inet 10.244.{number}.0/32 dev flannel.1
10.244.{other}.0/24 via 10.244.{other}.0 dev flannel.1 onlink
10.244.{other}.0 dev flannel.1 lladdr 02:00:00:00:02:0{other} PERMANENT
02:00:00:00:02:0{other} dev flannel.1 dst 192.168.0.1{other} self permanent
net.ipv4.ip_forward = 1
"""
    return f"""
eth0: physical mtu 1500 address 02:00:00:00:00:0{number}
cni0: bridge mtu 1430 address 02:00:00:00:01:0{number}
flannel-v6.1: vxlan id 1 local fd01::{number} mtu 1430 address 02:00:00:00:02:0{number}
veth1: veth mtu 1430 master cni0 address 02:00:00:00:03:0{number}
veth3: veth mtu 1430 master cni0 address 02:00:00:00:04:0{number}
inet6 fd01::{number}/64 dev eth0
inet6 fd44:0:0:{number}::1/64 dev cni0
inet6 fd44:0:0:{number}::/128 dev flannel-v6.1
fd44:0:0:{other}::/64 via fd44:0:0:{other}:: dev flannel-v6.1 onlink
fd44:0:0:{other}:: dev flannel-v6.1 lladdr 02:00:00:00:02:0{other} PERMANENT
02:00:00:00:02:0{other} dev flannel-v6.1 dst fd01::{other} self permanent
net.ipv6.conf.all.forwarding = 1
"""


def pod(number: int, place: int, family: int = 4) -> str:
    """A pod's lines: its node's number, and its own in the subnet."""
    mtu = 1450 if family == 4 else 1430
    address = f"inet 10.244.{number}.{place}/24" if family == 4 else f"inet6 fd44:0:0:{number}::{place}/64"
    gateway = f"10.244.{number}.1" if family == 4 else f"fd44:0:0:{number}::1"
    return f"""
eth0: veth mtu {mtu} address 02:00:00:00:05:{number}{place}
{address} dev eth0
default via {gateway} dev eth0
"""


WIRES = (
    Wire((Port("pod1", "eth0"), Port("node1", "veth1"))),
    Wire((Port("pod3", "eth0"), Port("node1", "veth3"))),
    Wire((Port("pod2", "eth0"), Port("node2", "veth1"))),
    Wire((Port("node1", "eth0"), Port("node2", "eth0"))),
)


def cluster(family: int = 4, **others: Host) -> World:
    """The cluster, with other hosts in the place of some of its own."""
    hosts = {
        "node1": host("node1", node(1, family)),
        "node2": host("node2", node(2, family)),
        "pod1": host("pod1", pod(1, 5, family)),
        "pod2": host("pod2", pod(2, 5, family)),
        "pod3": host("pod3", pod(1, 7, family)),
    }
    return World.of((hosts | others).values(), WIRES)


def without(text: str, line: str) -> str:
    """The lines but those that begin so."""
    left = [each for each in text.split("\n") if not each.startswith(line)]
    assert len(left) < len(text.split("\n")), f"there is no such line: {line}"
    return "\n".join(left)
