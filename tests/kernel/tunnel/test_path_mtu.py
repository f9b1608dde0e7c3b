"""An underlay that carries less than its interfaces promise: senders learn what fits, and TCP goes on with that."""

from __future__ import annotations

import errno
import re
import socket
from typing import TYPE_CHECKING

import pytest

from tests.kernel.tunnel.traffic import bulk, sender
from tests.kernel.tunnel.world import inside, underlay

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kernel.conftest import Net
    from tests.kernel.tunnel.world import Pair, Site

CASES = pytest.mark.parametrize("version, mtu, fits", [(4, 1300, 1272), (6, 1400, 1352)], ids=["IPv4", "IPv6"])
_IP_MTU_DISCOVER, _PMTUDISC_DO, _IP_RECVERR, _IP_MTU, _IPV6_MTU = 10, 2, 11, 14, 24  # linux/in.h, linux/in6.h


def narrow(pair: Pair, version: int, mtu: int) -> None:
    """The way from node1 to node2 carries packets of so many octets, outer ones."""
    pair.one.node.run(f"ip -{version} route add {underlay(2, version)} dev eth0 mtu {mtu}")


def known(site: Site, version: int) -> int | None:
    """The path MTU that the pod has learnt of the way to the other pod."""
    found = re.search(r"mtu (\d+)", site.pod.run(f"ip -{version} route get {inside(3 - site.number, version=version)}"))
    return int(found[1]) if found else None


@CASES
def test_the_sender_of_what_does_not_fit_is_told_what_does(carried: Pair, version: int, mtu: int, fits: int) -> None:
    narrow(carried, version, mtu)
    with sender(carried.one.pod, inside(2, version=version)) as sending:
        level = socket.IPPROTO_IP if version == 4 else socket.IPPROTO_IPV6
        if version == 4:
            sending.setsockopt(level, _IP_MTU_DISCOVER, _PMTUDISC_DO)
            sending.setsockopt(level, _IP_RECVERR, 1)
        sending.connect((inside(2, version=version), 9))
        sending.send(bytes(1400))
        with pytest.raises(OSError, match="Message too long") as raised:
            sending.recv(1)
        assert raised.value.errno == errno.EMSGSIZE
        assert sending.getsockopt(level, _IP_MTU if version == 4 else _IPV6_MTU) == fits
    assert carried.one.report().drops["too big"] == 1


@CASES
def test_tcp_adapts(carried: Pair, version: int, mtu: int, fits: int) -> None:
    narrow(carried, version, mtu)
    bulk(carried.one.pod, carried.two.pod, inside(2, version=version))
    assert known(carried.one, version) == fits
    bulk(carried.two.pod, carried.one.pod, inside(1, version=version))
    assert carried.one.report().drops["too big"] > 0


@CASES
def test_a_router_on_the_way_that_carries_less_is_believed(
    pair: Pair, make_net: Callable[[], Net], version: int, mtu: int, fits: int
) -> None:
    """Its ICMP error is for the node, and says nothing to the pod: whose next packet is answered by us."""
    put_between(pair, make_net(), version, mtu)
    pair.carry()
    bulk(pair.one.pod, pair.two.pod, inside(2, version=version))
    assert known(pair.one, version) == fits
    assert pair.one.report().drops["too big"] > 0


def put_between(pair: Pair, router: Net, version: int, mtu: int) -> None:
    """A router in the middle of the cable, which answers to both ends for the other, and has a narrow way to node2."""
    two = pair.two.node
    router.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0")
    two.run(f"ip link set eth0 name near netns {router.name}")
    router.run(f"ip link add far type veth peer name eth0 netns {two.name}")
    two.run("ip link set eth0 up")
    two.run(f"ip address add {underlay(2)}/24 dev eth0")
    two.run(f"ip address add {underlay(2, 6)}/64 dev eth0")
    for device, number, other, options in (("near", 1, 2, ""), ("far", 2, 1, f" mtu {mtu}")):
        router.run(f"ip link set {device} up")
        router.run(f"ip -{version} route add {underlay(number, version)} dev {device}{options}")
        if version == 4:
            router.run(f"sysctl -qw net.ipv4.conf.{device}.proxy_arp=1")
        else:
            router.run(f"sysctl -qw net.ipv6.conf.{device}.proxy_ndp=1")
            router.run(f"ip -6 neighbour add proxy {underlay(other, 6)} dev {device}")
    router.run(f"ip address add {underlay(254, version)}/{32 if version == 4 else 128} dev near")
