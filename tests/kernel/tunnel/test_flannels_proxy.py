"""Beside a node that moves one packet per system call, as flannel's proxy does: neither can tell the difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench import proxy
from nankeen.kernel import tun
from tests.kernel.tunnel.traffic import bulk, datagrams, send_datagrams
from tests.kernel.tunnel.world import NETWORKS, Pair, build, inside, lease, subnet, underlay

if TYPE_CHECKING:
    from tests.kernel.conftest import Net


@pytest.fixture
def mixed(make_net: Callable[[], Net], tmp_path: Path) -> Iterator[Pair]:
    """node1 is ours, and node2 flannel's."""
    if tun.obstacle():
        pytest.skip("needs /dev/net/tun")
    pair = build(make_net, tmp_path, versions=(4,))
    one, two = (
        proxy.Site(site.node.name, IPv4Address(underlay(site.number)), IPv4Network(subnet(site.number)))
        for site in pair.sites
    )
    pair.one.start()
    pair.one.configure(lease(2, (4,)))
    with proxy.compiled() as program, proxy.proxy(program, IPv4Network(NETWORKS[4]), two, [one]):
        yield pair
    pair.one.close()


def test_tcp_arrives_as_it_was_sent_both_ways(mixed: Pair) -> None:
    bulk(mixed.one.pod, mixed.two.pod, inside(2))
    bulk(mixed.two.pod, mixed.one.pod, inside(1))
    counters = mixed.one.report().peers["node2"]
    assert counters.sent_bytes > 8 << 20
    assert counters.received_bytes > 8 << 20


def test_datagrams_arrive_one_by_one_as_they_were_sent(mixed: Pair) -> None:
    sent = datagrams([0, 1, 100, *[1200] * 60, 1444])
    assert send_datagrams(mixed.one.pod, mixed.two.pod, inside(2), sent) == sent
    assert send_datagrams(mixed.two.pod, mixed.one.pod, inside(1), sent) == sent


def test_a_packet_loses_a_hop_where_it_is_sent_and_at_flannels_end_also_where_it_comes_in(mixed: Pair) -> None:
    """And two more by the nodes, which forward it. What `ping` tells is of the answer."""
    assert "ttl=61 " in mixed.one.pod.run(f"ping -n -c 1 -W 9 {inside(2)}")
    assert "ttl=60 " in mixed.two.pod.run(f"ping -n -c 1 -W 9 {inside(1)}")
