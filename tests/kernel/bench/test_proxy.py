"""The proxy that the udp backend is held against does what flannel's does: packets as they are, a hop on each way."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

import pytest

from bench.proxy import DEVICE, PORT, Site, compiled, proxies, proxy
from nankeen.kernel.namespace import entered

if TYPE_CHECKING:
    from tests.kernel.conftest import Net

_IP_RECVERR = 11
NETWORK = IPv4Network("10.244.0.0/16")


def site(net: Net, number: int) -> Site:
    return Site(net.name, IPv4Address(f"192.168.0.{number}"), IPv4Network(f"10.244.{number}.0/24"))


@pytest.fixture
def cable(make_net: Callable[[], Net]) -> tuple[Net, Net]:
    """Two nodes with an underlay between them, and an address in each one's own subnet for a pod."""
    nets = make_net(), make_net()
    nets[0].run(f"ip link add eth0 type veth peer name eth0 netns {nets[1].name}")
    for number, net in enumerate(nets, 1):
        net.run(f"ip address add 192.168.0.{number}/24 dev eth0")
        net.run(f"ip address add 10.244.{number}.2/32 dev lo")
        net.run("ip link set eth0 up")
    return nets


@pytest.fixture
def nodes(cable: tuple[Net, Net]) -> Iterator[tuple[Net, Net]]:
    """Both with a proxy at work."""
    with proxies(NETWORK, [site(net, number) for number, net in enumerate(cable, 1)]):
        yield cable


def test_a_packet_crosses_and_has_lost_two_hops(nodes: tuple[Net, Net]) -> None:
    assert "ttl=62 " in nodes[0].run("ping -c 1 -W 5 -I 10.244.1.2 10.244.2.2")


def test_a_packet_of_the_inner_mtu_crosses_and_no_longer_one(nodes: tuple[Net, Net]) -> None:
    assert "mtu 1472" in nodes[0].run(f"ip link show {DEVICE}")
    nodes[0].run("ping -c 1 -W 5 -M do -s 1444 -I 10.244.1.2 10.244.2.2")
    with pytest.raises(AssertionError):
        nodes[0].run("ping -c 1 -W 1 -M do -s 1445 -I 10.244.1.2 10.244.2.2")


def test_who_sends_to_nobodys_subnet_is_told_if_his_node_listens_to_its_own_address(nodes: tuple[Net, Net]) -> None:
    nodes[0].run("sysctl -qw net.ipv4.conf.all.accept_local=1")  # else it drops the news, as it does with flannel's
    with entered(nodes[0].namespace):
        sender = _bound("10.244.1.2", 0)
    with sender:
        sender.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)  # ip(7): UDP does not tell of it otherwise
        sender.connect(("10.244.99.2", 9))
        sender.send(b"x")
        with pytest.raises(OSError, match="Network is unreachable"):
            sender.recv(1)


def test_a_datagram_is_one_raw_packet_whose_header_still_adds_up(cable: tuple[Net, Net]) -> None:
    with entered(cable[1].namespace):
        peer = _bound("192.168.0.2", PORT)
    with entered(cable[0].namespace):
        sender = _bound("10.244.1.2", 0)
    sites = [site(net, number) for number, net in enumerate(cable, 1)]
    with peer, sender, compiled() as program, proxy(program, NETWORK, sites[0], sites[1:]):
        sender.sendto(b"whole", ("10.244.2.2", 9))
        packet = peer.recv(2048)
    header = struct.unpack("!10H", packet[:20])
    assert (packet[8], packet[12:20], packet[28:]) == (63, bytes([10, 244, 1, 2, 10, 244, 2, 2]), b"whole")
    assert sum(header) % 0xFFFF == 0


def _bound(address: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, port))
    made.settimeout(5)
    return made
