"""Packets of pods, carried by two real processes over a real underlay: what is sent arrives."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import pytest

from nankeen.tunnel.offload import SOL_UDP, UDP_SEGMENT
from tests.kernel.tunnel.traffic import bulk, datagrams, receiver, send_datagrams, sender
from tests.kernel.tunnel.world import inside, underlay

if TYPE_CHECKING:
    from tests.kernel.tunnel.world import Pair, Site

BOTH = pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])


def test_a_pods_packet_crosses_two_nodes_and_a_tunnel_which_are_three_hops(carried: Pair) -> None:
    for version in (4, 6):
        assert "ttl=61 " in carried.one.pod.run(f"ping -n -c 1 -W 9 {inside(2, version=version)}")


def test_all_offloads_of_this_kernel_are_in_use(carried: Pair) -> None:
    assert carried.one.report().path == "TUN TSO USO; IPv4 UDP GSO GRO; IPv6 UDP GSO GRO"


def test_a_bulk_of_tcp_arrives_as_it_was_sent_each_way_in_each_family(carried: Pair) -> None:
    for version in (4, 6):
        bulk(carried.one.pod, carried.two.pod, inside(2, version=version))
        bulk(carried.two.pod, carried.one.pod, inside(1, version=version))
    for site, peer in ((carried.one, "node2"), (carried.two, "node1")):
        counters = site.report().peers[peer]
        assert counters.sent_bytes > 16 << 20
        assert counters.received_bytes > 16 << 20
        assert dropped(site) == {}


@BOTH
def test_datagrams_of_every_size_arrive_whole_and_in_order(carried: Pair, version: int) -> None:
    largest = 1452 - (28 if version == 4 else 48)
    sent = datagrams([*range(100), *[1200] * 70, *range(largest - 30, largest + 1)])
    assert send_datagrams(carried.one.pod, carried.two.pod, inside(2, version=version), sent) == sent


@BOTH
def test_a_datagram_that_its_sender_fragments_arrives_whole(carried: Pair, version: int) -> None:
    sent = datagrams([1500, 20_000, 60_000])
    assert send_datagrams(carried.one.pod, carried.two.pod, inside(2, version=version), sent) == sent


@BOTH
def test_an_application_that_has_the_kernel_cut_its_datagrams_is_served(carried: Pair, version: int) -> None:
    """UDP_SEGMENT of the application's own comes to us as one packet with USO, and leaves as one."""
    for size in (1, 100, 1201, 1400):
        sent = datagrams([size] * (60_000 // max(size, 1000)) + [max(1, size - 1)])
        with receiver(carried.two.pod, inside(2, version=version)) as receiving:
            with sender(carried.one.pod, inside(2, version=version)) as sending:
                sending.setsockopt(SOL_UDP, UDP_SEGMENT, size)
                sending.sendto(b"".join(sent), receiving.getsockname())
            assert [receiving.recv(65_536) for _ in sent] == sent


@pytest.mark.parametrize("version, mtu, size", [(4, 1300, 1400), (6, 1290, 1200)], ids=["IPv4", "IPv6"])
def test_what_does_not_fit_the_underlay_and_may_be_fragmented_goes_in_outer_fragments(
    carried: Pair, version: int, mtu: int, size: int
) -> None:
    node = carried.one.node
    node.run(f"ip -{version} route add {underlay(2, version)} dev eth0 mtu {mtu}")
    with receiver(carried.two.pod, inside(2, version=version)) as receiving:
        with sender(carried.one.pod, inside(2, version=version)) as sending:
            if version == 4:
                sending.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER, IP_PMTUDISC_DONT (linux/in.h)
            (sent,) = datagrams([size])
            sending.sendto(sent, receiving.getsockname())
        assert receiving.recv(65_536) == sent
    assert _fragments(node.run(f"cat /proc/net/snmp{'6' if version == 6 else ''}"), version) == 2
    assert dropped(carried.one) == {}


def dropped(site: Site) -> dict[str, int]:
    """What was dropped, besides what the node tells routers on its tunnel of multicast groups (RFC 3810)."""
    return {reason: count for reason, count in site.report().drops.items() if reason != "no peer has the destination"}


def _fragments(counters: str, version: int) -> int:
    """How many fragments a node has made."""
    if version == 6:
        found = re.search(r"Ip6FragCreates\s+(\d+)", counters)
        assert found is not None
        return int(found[1])
    names, values = (line.split() for line in counters.splitlines() if line.startswith("Ip:"))
    return int(values[names.index("FragCreates")])
