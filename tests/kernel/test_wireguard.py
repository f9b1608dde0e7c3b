"""WireGuard on a real kernel, as far as it has it."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import TYPE_CHECKING

import pytest

from nankeen.kernel import ability
from nankeen.kernel.apply import apply
from nankeen.model.address import IPNetwork
from nankeen.model.diff import Claim, diff
from nankeen.model.secret import Secret
from nankeen.model.state import Address, Device, Link, Route, State
from nankeen.model.wireguard import KeyPair, SocketAddress, WireguardDevice, WireguardPeer

if TYPE_CHECKING:
    from tests.kernel.conftest import Net

NETWORK = ip_network("10.5.0.0/16")
CLAIM = Claim(frozenset({"flannel-wg"}), frozenset({NETWORK}))
KEYS = KeyPair.of(Secret(bytes(range(32))))
LINK = Link("flannel-wg", Device("wireguard"), 1420)
DEVICE = WireguardDevice("flannel-wg", 51820, KEYS.public, KEYS.private)
ROUTE = Route(NETWORK, "flannel-wg")


def peer(number: int, psk: Secret | None = None) -> WireguardPeer:
    key = KeyPair.of(Secret(number.to_bytes(32, "big"))).public
    address = ip_address("10.99.0.0") + number
    return WireguardPeer("flannel-wg", key, SocketAddress(address, 51820), frozenset({subnet(number)}), psk, 25)


def subnet(number: int) -> IPNetwork:
    return ip_network((int(NETWORK.network_address) + 256 * number, 24))


def fabric(*peers: WireguardPeer) -> State:
    return State([LINK, DEVICE, Address("flannel-wg", ip_interface("10.5.1.0/32")), ROUTE, *peers])


def reconcile(net: Net, desired: State) -> list[str]:
    changes = diff(desired, net.observe(), CLAIM)
    assert apply(net.socket, changes, net.namespace) == []
    return [str(change) for change in changes]


@pytest.fixture
def able(net: Net) -> Net:
    if not ability.can_make(net.socket, "wireguard"):
        pytest.skip("this kernel has no WireGuard")
    return net


def test_a_fabric_is_made_and_stands(able: Net) -> None:
    desired = fabric(peer(2, Secret(b"p" * 32)), peer(3))
    assert len(reconcile(able, desired)) == 6
    assert reconcile(able, desired) == []
    assert able.run("ip route show root 10.5.0.0/16") == "10.5.0.0/16 dev flannel-wg scope link \n"


def test_a_peer_that_left_or_changed_its_key_is_taken_out_of_the_device(able: Net) -> None:
    reconcile(able, fabric(peer(2), peer(3)))
    assert [line[0] for line in reconcile(able, fabric(peer(2), peer(4)))] == ["+", "-"]
    assert reconcile(able, fabric(peer(2), peer(4))) == []


def test_a_device_that_stands_is_taken_over_with_its_peers(able: Net) -> None:
    able.run("ip link add flannel-wg type wireguard")
    reconcile(able, fabric(peer(2)))
    index = able.socket.index("flannel-wg")
    other = WireguardDevice("flannel-wg", 51830, KEYS.public, KEYS.private)
    changed = State([other if item == DEVICE else item for item in fabric(peer(2))])
    assert [line[0] for line in reconcile(able, changed)] == ["~"]
    assert able.socket.index("flannel-wg") == index


def test_many_peers_are_programmed_and_taken_down(able: Net) -> None:
    peers = [peer(number) for number in range(2, 250)]
    reconcile(able, fabric(*peers))
    assert reconcile(able, fabric(*peers)) == []
    assert len(reconcile(able, fabric())) == len(peers)


def test_a_kernel_without_wireguard_says_so_of_everything_that_needs_it(net: Net) -> None:
    if ability.can_make(net.socket, "wireguard"):
        pytest.skip("this kernel has WireGuard")
    refused = apply(net.socket, diff(State([LINK, DEVICE, peer(2)]), net.observe(), CLAIM), net.namespace)
    assert {refusal.change.object for refusal in refused} == {LINK, DEVICE, peer(2)}
    lack = "the kernel has no wireguard: load the module `wireguard`, or choose another backend"
    assert [refusal.reason for refusal in refused][:3] == [lack] * 3
