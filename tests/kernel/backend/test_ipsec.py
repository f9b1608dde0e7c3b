"""The IPsec backend's state on a real kernel: what stands is left alone, what left is removed, and nothing leaks."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest

from nankeen.backend import Node, Underlay, claim, open_backend
from nankeen.kernel import xfrm
from nankeen.kernel.apply import apply
from nankeen.kernel.observe import observe
from nankeen.model.diff import diff
from nankeen.model.errors import KernelError
from nankeen.model.lease import Endpoint, Lease, Reach
from nankeen.model.netconf import BackendConfig

if TYPE_CHECKING:
    from tests.kernel.conftest import Net

BACKEND = open_backend(BackendConfig("ipsec", {"PSK": "no-one-else-knows-" * 6}))
NODE = Node(
    "node1",
    Underlay("eth0", 1500, (ip_address("10.99.0.1"),)),
    (ip_network("10.5.0.0/16"),),
    (ip_network("10.5.1.0/24"),),
)


def peer(number: int, address: str = "") -> Lease:
    reach = Reach(ip_address(address or f"10.99.0.{number}"))
    return Lease(f"node{number}", "ipsec", (Endpoint(ip_network(f"10.5.{number}.0/24"), reach),))


@pytest.fixture
def node(net: Net) -> Net:
    try:
        xfrm.observe(net.socket)
    except KernelError as error:
        pytest.skip(str(error))
    net.run("ip link add eth0 type bridge")
    net.run("ip address add 10.99.0.1/24 dev eth0")
    net.run("ip link set eth0 up")
    return net


def reconcile(net: Net, *peers: Lease) -> list[str]:
    ours = claim(BACKEND, NODE)
    changes = diff(BACKEND.state(NODE, peers), observe(net.socket, policies=ours.policies), ours)
    assert apply(net.socket, changes, net.namespace) == []
    return [str(change)[0] for change in changes]


def test_a_peer_is_protected_before_it_is_routed_and_an_agent_that_starts_again_changes_nothing(node: Net) -> None:
    assert reconcile(node, peer(2)) == ["+"] * 4
    assert node.run("ip route show root 10.5.0.0/16") == "10.5.2.0/24 via 10.99.0.2 dev eth0 proto 110 onlink \n"
    assert node.run("ip xfrm policy").count("reqid 11 mode tunnel") == 3
    assert reconcile(node, peer(2)) == []


def test_a_peer_that_left_while_the_agent_was_down_is_removed_whole(node: Net) -> None:
    reconcile(node, peer(2), peer(3))
    assert reconcile(node, peer(3)) == ["-"] * 4
    assert "10.5.2.0" not in node.run("ip route") + node.run("ip xfrm policy")


def test_the_last_peer_leaves_nothing_either(node: Net) -> None:
    reconcile(node, peer(2))
    reconcile(node)
    assert "10.5." not in node.run("ip route") + node.run("ip xfrm policy")


def test_a_peer_that_moved_is_followed_in_place(node: Net) -> None:
    reconcile(node, peer(2))
    assert reconcile(node, peer(2, "10.99.0.7")) == ["~"] * 4
    assert "10.99.0.2" not in node.run("ip route") + node.run("ip xfrm policy")
