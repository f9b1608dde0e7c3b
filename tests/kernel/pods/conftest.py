"""A node with its bridge, which the test runs on, and pods' namespaces beside it."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network

import pytest

from nankeen.kernel.apply import apply_or_raise
from nankeen.kernel.namespace import entered
from nankeen.model.address import IPNetwork
from nankeen.model.diff import diff
from nankeen.pods.network import PodNetwork, bridge_state
from tests.kernel.conftest import Net

V4: IPNetwork = ip_network("10.5.34.0/24")
V6: IPNetwork = ip_network("fc00:5:0:60::/64")
NETWORK = PodNetwork((V4, V6), 1450, (ip_network("10.5.0.0/16"), ip_network("fc00:5::/48")))


@pytest.fixture
def node(make_net: Callable[[], Net]) -> Iterator[Net]:
    """A node with both families; the test itself runs in its namespace, as an agent does."""
    node = make_net()
    bridge = bridge_state(NETWORK.subnets, NETWORK.mtu)
    apply_or_raise(node.socket, diff(bridge, node.observe()), node.namespace)
    with entered(node.namespace):
        yield node


@pytest.fixture
def pod(make_net: Callable[[], Net]) -> Net:
    """A pod's namespace as a runtime makes it: empty, and here even its loopback is down."""
    pod = make_net()
    pod.run("ip link set lo down")
    return pod


def ping(source: Net, destination: str) -> bool:
    """Whether an echo request (RFC 792, RFC 4443) from inside `source` is answered."""
    four = ip_address(destination).version == 4
    family, protocol = (socket.AF_INET, socket.IPPROTO_ICMP) if four else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    request, reply = (8, 0) if four else (128, 129)
    identifier = os.getpid() & 0xFFFF
    with entered(source.namespace), socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        raw.settimeout(5)
        # A sum of zeros over the rest makes the checksum of IPv4; that of IPv6 is the kernel's.
        checksum = 0xFFFF - (request * 256 + identifier) % 0xFFFF
        raw.sendto(struct.pack("!BBHHH", request, 0, checksum, identifier, 0), (destination, 0))
        while True:
            try:
                packet = raw.recv(2048)
            except TimeoutError:
                return False
            kind, _, _, heard, _ = struct.unpack_from("!BBHHH", packet, (packet[0] & 15) * 4 if four else 0)
            if (kind, heard) == (reply, identifier):
                return True
