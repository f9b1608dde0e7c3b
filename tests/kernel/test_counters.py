"""What a namespace counts of packets that go no further."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from nankeen.inspect.inet import INET
from nankeen.kernel.counters import discards, more
from nankeen.kernel.namespace import entered
from nankeen.model.address import Family
from tests.kernel.conftest import Net


def test_a_packet_that_a_host_has_no_route_for_is_counted_in_that_namespace(make_net: Callable[[], Net]) -> None:
    here, there = make_net(), make_net()
    for net in (here, there):  # by IPv6 hosts ask of themselves for neighbours and groups, and that is counted too
        net.run("sysctl -qw net.ipv6.conf.default.disable_ipv6=1")
    here.run(f"ip link add va type veth peer name vb netns {there.name}")
    for net, device, address in ((here, "va", "10.9.9.1/24"), (there, "vb", "10.9.9.2/24")):
        net.run(f"ip address add {address} dev {device}")
        net.run(f"ip link set {device} up")
    here.run("ip route add 10.8.0.0/16 via 10.9.9.2")
    there.run("sysctl -qw net.ipv4.ip_forward=1")
    before = [discards(net.namespace) for net in (here, there)]
    send(here)
    grown = [more(old, discards(net.namespace)) for old, net in zip(before, (here, there), strict=True)]
    assert grown == [{}, {"IpExtInNoRoutes": 1}]


def send(net: Net) -> None:
    """One datagram to nowhere; the answer, that there is no route, is awaited."""
    with entered(net.namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
        mouth.setsockopt(INET[Family.IPV4].level, INET[Family.IPV4].recverr, 1)
        mouth.connect(("10.8.0.1", 9))
        mouth.settimeout(5)
        mouth.send(b"")
        with pytest.raises(OSError, match="Network is unreachable"):
            mouth.recv(1)


def test_what_did_not_grow_is_not_told() -> None:
    assert more({"IpInNoRoutes": 1, "IpInDiscards": 2}, {"IpInNoRoutes": 1, "IpInDiscards": 3}) == {"IpInDiscards": 1}
