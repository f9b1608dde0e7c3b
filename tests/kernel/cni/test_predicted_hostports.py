"""Host ports as forwarding predicts them, from nothing but what the kernels hold, beside what really happens."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from ipaddress import ip_address

import pytest

from nankeen.forwarding import Cause, Delivered, Dropped, datagram, reply_to, walk
from nankeen.kernel.program import find
from nankeen.kernel.world import survey
from nankeen.model.address import Family
from tests.kernel.cni.runtime import Runtime
from tests.kernel.conftest import Net
from tests.kernel.pods.traffic import NODE, connect_outside, exchange, open_socket

pytestmark = [
    pytest.mark.parametrize("contents", ["python"], indirect=True),  # which twin asks makes no difference here
    pytest.mark.skipif(find("nft") is None, reason="the program nft is not installed"),
]
PORTS = [
    {"hostPort": 8080, "containerPort": 53, "protocol": "udp"},
    {"hostPort": 8081, "containerPort": 53, "protocol": "udp", "hostIP": "192.168.50.1"},
    {"hostPort": 8081, "containerPort": 53, "protocol": "udp", "hostIP": "fd50::1"},
]


@pytest.mark.parametrize("family", list(Family), ids=str)
async def test_what_is_predicted_of_a_host_port_is_what_happens(
    runtime: Runtime, node: Net, make_net: Callable[[], Net], family: Family
) -> None:
    outside, pod, other = make_net(), make_net(), make_net()
    connect_outside(node, outside)
    result = await runtime.add(pod, {"runtimeConfig": {"portMappings": PORTS}})
    await runtime.add(other)
    own = result["ips"][family is Family.IPV6]["address"].split("/")[0]
    nets = {"outside": outside, "node": node, "pod": pod, "other": other}
    unspecified = ip_address("0.0.0.0" if family is Family.IPV4 else "::")  # noqa: S104
    asked = [
        ("outside", NODE[family], 8080),
        ("outside", NODE[family], 8081),
        ("pod", NODE[family], 8080),
        ("other", NODE[family], 8081),
        ("node", NODE[family], 8080),
        ("node", own, 53),
        *([("node", "127.0.0.1", 8080)] if family is Family.IPV4 else []),
    ]
    for place, to, port in asked:
        seen = exchange(nets[place], to, port, pod, 53)
        world = survey({name: net.namespace for name, net in nets.items()})
        walked = walk(world, datagram(unspecified, ip_address(to), port), place)
        assert isinstance(walked.end, Delivered), (place, to, walked.end)
        assert (walked.end.host, str(walked.last.ip.source)) == ("pod", seen)
        answer = walk(world, reply_to(walked), "pod", walked.connections)
        assert isinstance(answer.end, Delivered), (place, to, answer.end)
        assert (answer.end.host, str(answer.last.ip.source)) == (place, to)
    unmapped = walk(world, datagram(unspecified, ip_address(NODE[family]), 8082), "outside")
    assert isinstance(unmapped.end, Delivered)
    assert unmapped.end.host == "node"  # where it is refused, if nobody listens


async def test_where_localhost_is_not_let_out_that_is_predicted(
    runtime: Runtime, node: Net, make_net: Callable[[], Net]
) -> None:
    pod = make_net()
    await runtime.add(pod, {"runtimeConfig": {"portMappings": PORTS}})
    node.run("sysctl -qw net.ipv4.conf.cni0.route_localnet=0")
    with (
        closing(open_socket(node, Family.IPV4, socket.SOCK_DGRAM)) as asking,
        pytest.raises(OSError, match="Invalid argument"),
    ):
        asking.sendto(b"question", ("127.0.0.1", 8080))
    world = survey({"node": node.namespace, "pod": pod.namespace})
    walked = walk(world, datagram(ip_address(0), ip_address("127.0.0.1"), 8080), "node")
    assert isinstance(walked.end, Dropped)
    assert walked.end.cause is Cause.MARTIAN_SOURCE
