"""A host outside, on the node's underlay, and conversations that show who reaches whom by which address.

outside 192.168.50.9, fd50::9 ── eth0 node 192.168.50.1, fd50::1 ── cni0 ── pods
"""

from __future__ import annotations

import socket
import struct
from contextlib import closing
from ipaddress import ip_address

from nankeen.kernel.namespace import entered
from nankeen.model.address import Family, family_of
from tests.kernel.conftest import Net

NODE = {Family.IPV4: "192.168.50.1", Family.IPV6: "fd50::1"}
OUTSIDE = {Family.IPV4: "192.168.50.9", Family.IPV6: "fd50::9"}
LOCALHOST = {Family.IPV4: "127.0.0.1", Family.IPV6: "::1"}
SECONDS = 5
"""How long a conversation that is to succeed may take."""
_DOMAINS = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}


def connect_outside(node: Net, outside: Net) -> None:
    """A wire between the two, with addresses of both families; the host outside has routes to the node's pods."""
    node.run(f"ip link add eth0 type veth peer name eth0 netns {outside.name}")
    for net, addresses in ((node, NODE), (outside, OUTSIDE)):
        net.run(f"ip address add {addresses[Family.IPV4]}/24 dev eth0")
        net.run(f"ip address add {addresses[Family.IPV6]}/64 dev eth0 nodad")
        net.run("ip link set eth0 up")
    outside.run(f"ip route add 10.5.34.0/24 via {NODE[Family.IPV4]}")
    outside.run(f"ip route add fc00:5:0:60::/64 via {NODE[Family.IPV6]}")


def open_socket(net: Net, family: Family, kind: socket.SocketKind, address: str = "", port: int = 0) -> socket.socket:
    """A bound socket in a namespace; it fails a test rather than wait for ever."""
    with entered(net.namespace):
        made = socket.socket(_DOMAINS[family], kind)
    made.settimeout(SECONDS)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, port))
    return made


def connect(client: Net, to: str, port: int, server: Net, server_port: int) -> str:
    """The source address that the server sees of a TCP connection, over which both sides have heard each other."""
    family = family_of(ip_address(to))
    with (
        closing(open_socket(server, family, socket.SOCK_STREAM, "", server_port)) as listener,
        closing(open_socket(client, family, socket.SOCK_STREAM)) as asking,
    ):
        listener.listen()
        asking.connect((to, port))
        answering, peer = listener.accept()
        with answering:
            asking.sendall(b"question")
            assert answering.recv(64) == b"question"
            answering.sendall(b"answer")
            assert asking.recv(64) == b"answer"
    return str(peer[0])


def refused(client: Net, to: str, port: int) -> bool:
    """Whether a TCP connection is refused at once, as by a host where nobody listens."""
    with closing(open_socket(client, family_of(ip_address(to)), socket.SOCK_STREAM)) as asking:
        try:
            asking.connect((to, port))
        except ConnectionRefusedError:
            return True
    return False


def exchange(client: Net, to: str, port: int, server: Net, server_port: int, source_port: int = 0) -> str:
    """The source address that the server sees of a UDP datagram, which is answered."""
    family = family_of(ip_address(to))
    with (
        closing(open_socket(server, family, socket.SOCK_DGRAM, "", server_port)) as answering,
        closing(open_socket(client, family, socket.SOCK_DGRAM, "", source_port)) as asking,
    ):
        asking.connect((to, port))
        asking.send(b"question")
        data, peer = answering.recvfrom(64)
        assert data == b"question"
        answering.sendto(b"answer", peer)
        assert asking.recv(64) == b"answer"
    return str(peer[0])


def send_frame(sender: Net, device: str, station: str, source: str, to: str, port: int) -> None:
    """One datagram in a frame to a station, whatever the sender's IP would say to it (RFC 791, RFC 768)."""
    data = b"martian"
    udp = struct.pack("!HHHH", 4000, port, 8 + len(data), 0) + data
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, socket.IPPROTO_UDP, 0)
    header = head + ip_address(source).packed + ip_address(to).packed
    total = sum(struct.unpack("!10H", header))
    header = header[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + header[12:]
    with entered(sender.namespace), closing(socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) as raw:
        raw.bind((device, 0))
        raw.send(bytes.fromhex(station.replace(":", "")) + b"\x02\0\0\0\0\x99\x08\0" + header + udp)


def station_of(net: Net, device: str) -> str:
    """A device's hardware address."""
    words = net.run(f"ip link show {device}").split()
    return words[words.index("link/ether") + 1]
