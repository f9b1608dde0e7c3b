"""Two nodes and a LAN that is also a host of its own, with pods, VXLAN and both families:

pod1 ── cni0 node1 eth0 ── br0 lan (outside) ── eth0 node2 cni0 ── pod2
"""

from __future__ import annotations

import socket
import struct
from contextlib import closing
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Self

import pytest

from nankeen.backend import Node, Underlay
from nankeen.backend.traffic import TrafficOptions, desired_firewall
from nankeen.kernel.firewall import PacketFilter
from nankeen.kernel.namespace import entered
from nankeen.model.address import Family
from nankeen.model.firewall import Firewall
from nankeen.model.lease import Endpoint, Lease, Reach

if TYPE_CHECKING:
    from tests.kernel.conftest import Net

NETWORKS = (ip_network("10.244.0.0/16"), ip_network("fd44::/48"))
PORT = 8472
ECHO = 5555
TUNNELS = ("flannel-v6.1", "flannel.1")
BOTH = pytest.mark.parametrize("family", list(Family), ids=str)


def underlay(number: int, family: Family) -> str:
    """An address on the LAN: nodes have 1 and 2, the outside host 9."""
    return f"192.168.50.{number}" if family is Family.IPV4 else f"fd50::{number}"


def subnet(number: int, family: Family) -> str:
    return f"10.244.{number}.0/24" if family is Family.IPV4 else f"fd44:0:0:{number}::/64"


def inside(number: int, host: int, family: Family) -> str:
    """An address in a node's pod subnet: 0 is the VTEP's, 1 the gateway's, 5 the pod's."""
    return str(ip_network(subnet(number, family))[host])


def vtep_mac(number: int, family: Family) -> str:
    return f"02:00:00:00:{family.value:02x}:{number:02x}"


def lease(number: int) -> Lease:
    endpoints = (
        Endpoint(ip_network(subnet(number, family)), Reach(ip_address(underlay(number, family)))) for family in Family
    )
    return Lease(f"node{number}", "vxlan", tuple(endpoints))


def firewall(number: int = 1, peers: tuple[int, ...] = (2,), *, protect: bool = True, **options: object) -> Firewall:
    """What that node's packet filter shall hold."""
    node = Node(
        f"node{number}",
        Underlay("eth0", 1500, tuple(ip_address(underlay(number, family)) for family in Family)),
        NETWORKS,
        tuple(ip_network(subnet(number, family)) for family in Family),
    )
    return desired_firewall(
        node,
        map(lease, peers),
        ports=[PORT] if protect else [],
        tunnels=TUNNELS,
        bridge="cni0",
        options=TrafficOptions(**options),  # type: ignore[arg-type]  # by name, as the tests give them
    )


@dataclass
class Receiver:
    """A socket that tells who sent what."""

    socket: socket.socket

    def next(self) -> tuple[str, bytes]:
        """The next datagram's source address, and its payload."""
        data, source = self.socket.recvfrom(65536)
        return source[0], data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


@dataclass
class World:
    """The namespaces, by the names in the picture."""

    nets: dict[str, Net] = field(default_factory=dict)
    filters: dict[str, PacketFilter] = field(default_factory=dict)

    def udp(self, where: str, family: Family, address: str = "", port: int = 0) -> socket.socket:
        """A socket in a namespace, bound; it fails a test rather than wait for ever."""
        kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
        with entered(self.nets[where].namespace):
            made = socket.socket(kind, socket.SOCK_DGRAM)
        made.settimeout(10)
        made.bind((address, port))
        return made

    def listen(self, where: str, family: Family, port: int = ECHO, address: str = "") -> Receiver:
        return Receiver(self.udp(where, family, address, port))

    def send(self, where: str, to: str, data: bytes, *, port: int = ECHO, source: str = "") -> None:
        """One datagram, in a flow of its own."""
        family = Family.IPV4 if ip_address(to).version == 4 else Family.IPV6
        with closing(self.udp(where, family, source)) as made:
            made.sendto(data, (to, port))

    def source_seen(self, sender: str, to: str, at: str, *, source: str = "") -> str:
        """The source address that the receiver sees of a datagram."""
        with self.listen(at, Family.IPV4 if ip_address(to).version == 4 else Family.IPV6) as receiver:
            self.send(sender, to, b"who am I", source=source)
            seen, data = receiver.next()
            assert data == b"who am I"
            return seen

    def filter(self, node: str = "node1") -> PacketFilter:
        if node not in self.filters:
            self.filters[node] = PacketFilter(self.nets[node].namespace)
        return self.filters[node]


def frame(number: int, family: Family) -> bytes:
    """A VXLAN packet's payload (RFC 7348 §5), forged: for the node of that number, from a pod that does not exist."""
    source, to = ip_address(inside(9, 9, family)).packed, ip_address(inside(number, 1, family)).packed
    data = b"forged"
    length = 8 + len(data)
    pseudo = source + to + struct.pack("!HH", 17, length)
    udp = struct.pack("!HHH", 7, ECHO, length)
    udp += struct.pack("!H", _checksum(pseudo + udp + b"\0\0" + data)) + data
    if family is Family.IPV4:
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 1, 0, 64, 17, 0) + source + to
        header = header[:10] + struct.pack("!H", _checksum(header)) + header[12:]
    else:
        header = struct.pack("!IHBB", 6 << 28, length, 17, 64) + source + to
    mac = bytes.fromhex(vtep_mac(number, family).replace(":", ""))
    kind = b"\x08\x00" if family is Family.IPV4 else b"\x86\xdd"
    return struct.pack("!II", 0x08 << 24, 1 << 8) + mac + b"\x02\0\0\0\0\x99" + kind + header + udp


def _checksum(data: bytes) -> int:
    data += bytes(len(data) & 1)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def plug(world: World, one: str, device: str, other: str, port: str) -> None:
    world.nets[one].run(f"ip link add {device} type veth peer name {port} netns {world.nets[other].name}")
    world.nets[one].run(f"ip link set {device} up")
    world.nets[other].run(f"ip link set {port} up")


def build_node(world: World, number: int) -> None:
    name, net = f"node{number}", world.nets[f"node{number}"]
    other = 3 - number
    plug(world, name, "eth0", "lan", f"to{number}")
    world.nets["lan"].run(f"ip link set to{number} master br0")
    net.run("ip link add cni0 type bridge")
    net.run("ip link set cni0 up")
    plug(world, f"pod{number}", "eth0", name, "veth0")
    net.run("ip link set veth0 master cni0")
    net.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    for family, device in zip(Family, ("flannel.1", "flannel-v6.1"), strict=True):
        length = ip_network(subnet(number, family)).prefixlen
        net.run(f"ip address add {underlay(number, family)}/{24 if family is Family.IPV4 else 64} dev eth0")
        net.run(f"ip address add {inside(number, 1, family)}/{length} dev cni0")
        local = underlay(number, family)
        net.run(f"ip link add {device} type vxlan id 1 dev eth0 local {local} dstport {PORT} nolearning")
        net.run(f"ip link set {device} address {vtep_mac(number, family)}")
        net.run(f"ip address add {inside(number, 0, family)} dev {device}")
        net.run(f"ip link set {device} up")
        base, mac = inside(other, 0, family), vtep_mac(other, family)
        net.run(f"ip route add {subnet(other, family)} via {base} dev {device} onlink")
        net.run(f"ip neigh add {base} lladdr {mac} dev {device} nud permanent")
        net.run(f"bridge fdb append {mac} dev {device} dst {underlay(other, family)} self permanent")
        pod = world.nets[f"pod{number}"]
        pod.run(f"ip address add {inside(number, 5, family)}/{length} dev eth0")
        pod.run(f"ip -{family.value} route add default via {inside(number, 1, family)}")
