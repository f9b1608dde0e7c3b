"""Desired state on a real kernel, read back with the tools an engineer would use."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import TYPE_CHECKING

import pytest

from nankeen.kernel.apply import apply, apply_or_raise
from nankeen.model.address import HardwareAddress
from nankeen.model.diff import Claim, diff
from nankeen.model.errors import KernelError
from nankeen.model.state import Address, Bridge, ForwardingEntry, Link, Neighbour, Object, Route, State, Sysctl, Vxlan

if TYPE_CHECKING:
    from tests.kernel.conftest import Net

OUR_MAC = HardwareAddress.parse("02:00:00:00:00:01")
PEER_MAC = HardwareAddress.parse("02:00:00:00:00:02")
CLAIM = Claim(
    frozenset({"flannel.1", "flannel-v6.1"}), frozenset({IPv4Network("10.5.0.0/16"), IPv6Network("fc00:5::/48")})
)
SYSCTLS = ("net/ipv6/conf/flannel.1/accept_ra", "net/ipv6/conf/flannel-v6.1/accept_dad", "net/ipv4/ip_forward")


def fabric() -> State:
    """One peer of either family over VXLAN, as flannel makes it."""
    peer4, peer6 = IPv4Address("10.5.59.0"), IPv6Address("fc00:5:0:21::")
    return State([
        Link("flannel.1", Vxlan(1, "eth0", IPv4Address("10.99.0.1")), 1450, OUR_MAC, txqlen=0),
        Link("flannel-v6.1", Vxlan(1, "eth0", IPv6Address("fd99::1")), 1430, OUR_MAC, txqlen=0),
        Sysctl("net/ipv6/conf/flannel.1/accept_ra", "0"),
        Sysctl("net/ipv6/conf/flannel-v6.1/accept_dad", "0"),
        Sysctl("net/ipv4/ip_forward", "1"),
        Address("flannel.1", IPv4Interface("10.5.34.0/32")),
        Address("flannel-v6.1", IPv6Interface("fc00:5:0:60::/128")),
        Neighbour("flannel.1", peer4, PEER_MAC),
        ForwardingEntry("flannel.1", PEER_MAC, IPv4Address("10.99.0.2")),
        Route(IPv4Network("10.5.59.0/24"), "flannel.1", peer4, onlink=True),
        Neighbour("flannel-v6.1", peer6, PEER_MAC),
        ForwardingEntry("flannel-v6.1", PEER_MAC, IPv6Address("fd99::2")),
        Route(IPv6Network("fc00:5:0:21::/64"), "flannel-v6.1", peer6, onlink=True),
    ])  # fmt: skip


@pytest.fixture
def node(net: Net) -> Net:
    """A namespace with an underlay interface."""
    net.run("ip link add eth0 type bridge")
    net.run("ip address add 10.99.0.1/24 dev eth0")
    net.run("ip address add fd99::1/64 dev eth0 nodad")
    net.run("ip link set eth0 up")
    return net


def reconcile(node: Net, desired: State) -> list[str]:
    """Makes the kernel equal to `desired`; returns what had to change."""
    changes = diff(desired, node.observe(*SYSCTLS), CLAIM)
    assert apply(node.socket, changes, node.namespace) == []
    return [str(change) for change in changes]


def test_a_fabric_looks_to_ip_and_bridge_as_flannels_does(node: Net) -> None:
    reconcile(node, fabric())
    link = node.run("ip -details link show flannel.1")
    assert "flannel.1: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue state UNKNOWN" in link
    assert (
        "vxlan id 1 local 10.99.0.1 dev eth0 srcport 0 0 dstport 8472 nolearning ttl auto ageing 300 "
        "udpcsum noudp6zerocsumtx noudp6zerocsumrx"
    ) in link
    assert "qlen" not in link
    assert "vxlan id 1 local fd99::1 dev eth0" in node.run("ip -details link show flannel-v6.1")
    assert "inet 10.5.34.0/32 scope global flannel.1" in node.run("ip address show dev flannel.1")
    assert "inet6 fc00:5:0:60::/128 scope global \n" in node.run("ip address show dev flannel-v6.1")
    assert node.run("ip route show root 10.5.0.0/16") == ("10.5.59.0/24 via 10.5.59.0 dev flannel.1 onlink \n")
    assert "fc00:5:0:21::/64 via fc00:5:0:21:: dev flannel-v6.1 metric 1024 onlink" in node.run("ip -6 route show")
    assert node.run("ip neigh show dev flannel.1 nud permanent") == "10.5.59.0 lladdr 02:00:00:00:00:02 PERMANENT \n"
    assert "02:00:00:00:00:02 dst 10.99.0.2 self permanent\n" in node.run("bridge fdb show dev flannel.1")
    assert node.run("sysctl -n net.ipv4.ip_forward") == "1\n"


def test_a_state_that_stands_is_left_alone(node: Net) -> None:
    assert reconcile(node, fabric())
    assert reconcile(node, fabric()) == []


@pytest.mark.parametrize(
    "damage",
    [
        "ip link delete flannel.1",
        "ip link set flannel.1 down",
        "ip link set flannel.1 mtu 1400",
        "ip link set flannel.1 address 02:00:00:00:00:99",
        "ip address delete 10.5.34.0/32 dev flannel.1",
        "ip route delete 10.5.59.0/24",
        "ip route replace 10.5.59.0/24 via 10.99.0.7 dev eth0",
        "ip neigh delete 10.5.59.0 dev flannel.1",
        "ip neigh replace 10.5.59.0 lladdr 02:00:00:00:00:77 dev flannel.1 nud permanent",
        "bridge fdb delete 02:00:00:00:00:02 dev flannel.1 dst 10.99.0.2",
        "bridge fdb replace 02:00:00:00:00:02 dev flannel.1 dst 10.99.0.9",
        "ip -6 route delete fc00:5:0:21::/64",
        "ip link delete flannel-v6.1",
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl -qw net/ipv6/conf/flannel.1/accept_ra=1",
    ],
)
def test_damage_is_repaired(node: Net, damage: str) -> None:
    reconcile(node, fabric())
    node.run(damage)
    assert reconcile(node, fabric()) != []
    assert reconcile(node, fabric()) == []


@pytest.mark.parametrize(
    "stray",
    [
        "ip route add 10.5.77.0/24 via 10.5.77.0 dev flannel.1 onlink",
        "ip neigh add 10.5.77.0 lladdr 02:00:00:00:00:77 dev flannel.1 nud permanent",
        "bridge fdb append 02:00:00:00:00:77 dev flannel.1 dst 10.99.0.7",
        "ip address add 10.5.77.0/32 dev flannel.1",
    ],
)
def test_what_a_former_peer_left_on_our_device_is_removed(node: Net, stray: str) -> None:
    reconcile(node, fabric())
    node.run(stray)
    assert len(reconcile(node, fabric())) == 1
    assert "77" not in node.run("ip route") + node.run("ip neigh") + node.run("bridge fdb show dev flannel.1")


@pytest.mark.parametrize(
    "foreign,look",
    [
        ("ip route add 192.168.77.0/24 via 10.5.59.0 dev flannel.1 onlink", "ip route"),
        ("ip route add 10.5.88.0/24 via 10.99.0.7", "ip route"),
        ("ip address add 192.168.77.1/32 dev flannel.1", "ip address"),
        ("ip link add flannel.2 type vxlan id 2 dstport 8472", "ip link"),
        ("ip neigh add 10.99.0.7 lladdr 02:00:00:00:00:77 dev eth0 nud permanent", "ip neigh"),
    ],
)
def test_what_is_not_ours_is_never_touched(node: Net, foreign: str, look: str) -> None:
    reconcile(node, fabric())
    node.run(foreign)
    before = node.run(look)
    assert reconcile(node, fabric()) == []
    reconcile(node, State())
    assert set(before.splitlines()) >= {line for line in node.run(look).splitlines() if "77" in line or "88" in line}


def test_a_device_of_another_kind_in_our_place_is_replaced_with_all_that_hangs_on_it(node: Net) -> None:
    node.run("ip link add flannel.1 type vxlan id 7 dstport 4789")
    reconcile(node, fabric())
    assert "vxlan id 1 " in node.run("ip -details link show flannel.1")
    assert reconcile(node, fabric()) == []


def test_the_empty_state_leaves_nothing_of_ours(node: Net) -> None:
    reconcile(node, fabric())
    reconcile(node, State())
    assert "flannel" not in node.run("ip link") + node.run("ip route") + node.run("ip -6 route")


def test_removing_what_has_gone_already_is_no_failure(node: Net) -> None:
    reconcile(node, fabric())
    changes = diff(State(), node.observe(*SYSCTLS), CLAIM)
    node.run("ip link delete flannel.1")
    assert apply(node.socket, changes, node.namespace) == []


def test_one_refused_change_does_not_keep_the_others_from_being_made(node: Net) -> None:
    impossible = Route(IPv4Network("10.5.80.0/24"), "eth0", IPv4Address("172.16.0.9"))
    refused = apply(node.socket, diff(fabric() | State([impossible]), node.observe(*SYSCTLS), CLAIM), node.namespace)
    assert [refusal.change.object for refusal in refused] == [impossible]
    assert "invalid gateway" in refused[0].reason
    assert reconcile(node, fabric()) == []


def test_what_hangs_on_a_device_that_is_not_there_is_refused_by_name(node: Net) -> None:
    with pytest.raises(KernelError, match="there is no device eth9"):
        apply_or_raise(node.socket, diff(State([Address("eth9", IPv4Interface("10.0.0.1/24"))]), node.observe()))


def test_a_thousand_peers_are_programmed_and_taken_down(node: Net) -> None:
    peers: list[Object] = []
    for number in range(1000):
        base = IPv4Address("10.5.0.0") + 64 * number
        mac = HardwareAddress((0x02_00_00_00_00_00 + number).to_bytes(6, "big"))
        peers += [
            Neighbour("flannel.1", base, mac),
            ForwardingEntry("flannel.1", mac, IPv4Address("172.16.0.0") + number),
            Route(IPv4Network((int(base), 26)), "flannel.1", base, onlink=True),
        ]
    link = Link("flannel.1", Vxlan(1, "eth0", IPv4Address("10.99.0.1")), 1450)
    assert len(reconcile(node, State([link, *peers]))) == 3001
    assert reconcile(node, State([link, *peers])) == []
    assert len(reconcile(node, State([link]))) == 3000


def test_a_bridge_with_its_gateway_address_has_a_broadcast_address_too(node: Net) -> None:
    reconcile(node, State([Link("cni0", Bridge(), 1450), Address("cni0", IPv4Interface("10.5.34.1/24"))]))
    assert "inet 10.5.34.1/24 brd 10.5.34.255 scope global cni0" in node.run("ip address show dev cni0")
