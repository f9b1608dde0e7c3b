"""Packets that go nowhere, one of each kind: counted by reason, told where one may be told, and seen in /metrics."""

from __future__ import annotations

import socket
import subprocess
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from nankeen.agent.metrics import exposition, of_data_path
from nankeen.kernel.namespace import entered
from nankeen.model.packet import IPv4, IPv6, Protocol, Udp, encode
from nankeen.tunnel.control import Change, Configure, Done
from tests.kernel.tunnel.traffic import datagrams, receiver, send_datagrams, sender
from tests.kernel.tunnel.world import inside, lease, subnet, underlay

if TYPE_CHECKING:
    from tests.kernel.tunnel.world import Pair, Site

STRANGER = 9
"""The last number of an underlay address that no node has."""


def drops(site: Site, besides: str = "no peer has the destination") -> dict[str, int]:
    """By reason, as the process and the agent's metrics tell. Of what nobody has there are always a few: a node tells
    routers on its tunnel which multicast groups it is in (RFC 3810).
    """
    report = site.report()
    told = exposition([lambda: of_data_path(report)]).decode()
    for reason, count in report.drops.items():
        assert f'nankeen_tunnel_drops_total{{reason="{reason}"}} {count:.1f}' in told
    return {reason: count for reason, count in report.drops.items() if reason != besides}


def packet(source: str, destination: str) -> bytes:
    if ":" in source:
        return encode((IPv6(ip_address(source), ip_address(destination), Protocol.UDP), Udp(1, 9)), bytes(50))  # type: ignore[arg-type]  # of one family
    return encode((IPv4(ip_address(source), ip_address(destination), Protocol.UDP), Udp(1, 9)), bytes(50))  # type: ignore[arg-type]  # as above


def inject(pair: Pair, datagram: bytes, version: int = 4, sender: int = 2) -> None:
    """Sends node1 a datagram from an underlay address, and something right after it; returns when that has come."""
    node = pair.two.node
    if sender != 2:
        node.run(f"ip address add {underlay(sender, version)}/{24 if version == 4 else 64} dev eth0")
    with entered(node.namespace):
        made = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    with made:
        made.bind((underlay(sender, version), 0))
        made.sendto(datagram, (underlay(1, version), 8285))
    marker = datagrams([10])
    assert send_datagrams(pair.two.pod, pair.one.pod, inside(1, version=version), marker) == marker


POD1, POD2, POD3 = inside(1), inside(2), inside(3)
POD1_IPV6, POD2_IPV6 = inside(1, version=6), inside(2, version=6)


@pytest.mark.parametrize(
    "datagram, reason",
    [
        (b"", "malformed"),
        (b"garbage", "malformed"),
        (b"\x15" + packet(POD2, POD1)[1:], "malformed"),
        (packet(POD2, POD1)[:-1], "truncated"),
        (packet(POD3, POD1), "with a source of another node"),
        (packet(POD1, POD1), "with a source of this node"),
        (packet(underlay(1), POD1), "with a source of this node"),
        (packet(POD2, POD3), "for another node"),
    ],
    ids=["empty", "garbage", "version 1", "cut", "another node's", "our pod's", "our node's", "for another node"],
)
def test_what_a_peer_must_not_send_is_counted_by_reason(carried: Pair, datagram: bytes, reason: str) -> None:
    carried.one.configure(lease(2), lease(3))
    inject(carried, datagram)
    assert drops(carried.one) == {reason: 1}


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
def test_what_a_stranger_sends_is_counted_as_his(carried: Pair, version: int) -> None:
    datagram = packet(POD2, POD1) if version == 4 else packet(POD2_IPV6, POD1_IPV6)
    inject(carried, datagram, version, STRANGER)
    assert drops(carried.one) == {"from an unknown peer": 1}


@pytest.mark.parametrize("version, told", [(4, "Net Unreachable"), (6, "No route")], ids=["IPv4", "IPv6"])
def test_who_sends_to_a_subnet_that_nobody_has_is_told(carried: Pair, version: int, told: str) -> None:
    before = carried.one.report().drops.get("no peer has the destination", 0)
    site = carried.one
    assert told in _ping(site, "-W", "9", inside(77, version=version))
    assert drops(site, besides="")["no peer has the destination"] > before


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
def test_who_sends_with_too_few_hops_is_told_by_the_tunnels_end(carried: Pair, version: int) -> None:
    said = _ping(carried.one, "-W", "9", "-t", "2", inside(2, version=version))
    assert f"From {inside(1, 0, version=version)} " in said
    assert drops(carried.one) == {"TTL exceeded": 1}


def _ping(site: Site, *words: str) -> str:
    """What a ping says that nobody answers."""
    done = subprocess.run(
        ["ip", "netns", "exec", site.pod.name, "ping", "-n", "-c", "1", *words],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    return done.stdout


def test_what_the_underlay_has_no_way_for_is_counted_with_the_kernels_words(carried: Pair) -> None:
    carried.one.node.run(f"ip route add unreachable {underlay(2)}/32")
    _ping(carried.one, "-W", "1", POD2)
    assert drops(carried.one) == {"underlay: No route to host": 1}


def test_what_comes_while_the_device_is_down_is_counted_with_the_kernels_words(carried: Pair) -> None:
    carried.one.node.run("ip link set flannel0 down")
    with sender(carried.two.pod, POD1) as sending:
        sending.sendto(b"x", (POD1, 9))
    _await_malformed(carried)
    assert drops(carried.one)["device: Input/output error"] == 1


def _await_malformed(pair: Pair) -> None:
    """Sends node1 what is no packet; when that is counted, all that came before it is."""
    with entered(pair.two.node.namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((underlay(2), 0))
        made.sendto(b"marker", (underlay(1), 8285))
    while "malformed" not in pair.one.report().drops:
        pass  # each look is a turn of the process's loop


def test_a_family_that_the_underlay_does_not_carry_is_counted(carried: Pair) -> None:
    both = carried.one.settings(lease(2))
    assert carried.one.ask(Configure(replace(both, sockets=both.sockets[:1]))) == Done()
    _ping(carried.one, "-W", "1", POD2_IPV6)
    assert drops(carried.one) == {"no underlay for IPv6": 1}


def test_packets_are_counted_by_peer_to_the_octet_and_go_on_being_when_it_has_gone(carried: Pair) -> None:
    site = carried.one
    with receiver(carried.two.pod, POD2) as receiving, sender(site.pod, POD2) as sending:
        for _ in range(10):
            sending.sendto(bytes(72), receiving.getsockname())
        assert {receiving.recv(100) for _ in range(10)} == {bytes(72)}
    assert (site.report().peers["node2"].sent_packets, site.report().peers["node2"].sent_bytes) == (10, 1000)
    assert carried.two.report().peers["node1"].received_bytes == 1000
    gone = [site.settings(lease(2)).peers[0].subnet]
    assert str(gone[0]) == subnet(2)
    assert site.ask(Change("flannel0", removed=tuple(gone))) == Done()
    report = site.report()
    told = exposition([lambda: of_data_path(report)]).decode()
    assert 'nankeen_tunnel_sent_packets_total{peer="node2"} 10.0' in told
    assert 'nankeen_tunnel_sent_bytes_total{peer="node2"} 1000.0' in told
