"""The world that the packets of these tests cross."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from nankeen.model.address import Family
from tests.kernel.firewall.world import World, build_node, subnet, underlay

if TYPE_CHECKING:
    from tests.kernel.conftest import Net


@pytest.fixture
def world(make_net: Callable[[], Net]) -> Iterator[World]:
    found = World()
    for name in ("lan", "node1", "node2", "pod1", "pod2"):
        found.nets[name] = net = make_net()
        net.run("sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0")
        net.run("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0")
    lan = found.nets["lan"]
    lan.run("ip link add br0 type bridge")
    lan.run("ip link set br0 up")
    for number in (1, 2):
        build_node(found, number)
    for family in Family:
        lan.run(f"ip address add {underlay(9, family)}/{24 if family is Family.IPV4 else 64} dev br0")
        for number in (1, 2):  # all by node1, so that it forwards from outside to the pods of another node
            lan.run(f"ip route add {subnet(number, family)} via {underlay(1, family)}")
    yield found
    for opened in found.filters.values():
        opened.close()
