from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from nankeen.model.diff import Claim, diff
from nankeen.model.errors import InputError
from nankeen.model.secret import Secret
from nankeen.model.state import Device, Link, Route, State
from nankeen.model.wireguard import KeyPair, PublicKey, SocketAddress, WireguardDevice, WireguardPeer, parse_secret

KEY = PublicKey(bytes(range(32)))
NETWORK = ip_network("10.5.0.0/16")
OURS = Claim(frozenset({"flannel-wg"}), frozenset({NETWORK}))
LINK = Link("flannel-wg", Device("wireguard"), 1420)
DEVICE = WireguardDevice("flannel-wg", 51820, KEY, Secret(b"s" * 32))
PEER = WireguardPeer(
    "flannel-wg",
    PublicKey(b"2" * 32),
    SocketAddress(ip_address("10.99.0.2"), 51820),
    frozenset({ip_network("10.5.2.0/24")}),
)


def told(desired: State, observed: State) -> list[str]:
    return [str(change) for change in diff(desired, observed, OURS)]


def test_a_secret_is_told_by_no_text_of_what_holds_it() -> None:
    secret = Secret(b"very-secret-indeed-very-secret-in")
    peer = replace(PEER, preshared_key=secret)
    state = State([replace(DEVICE, private_key=secret), peer])
    texts = [str(secret), repr(secret), f"{secret}", str(peer), repr(peer), repr(state), repr(KeyPair(secret, KEY))]
    texts += [str(change) for change in diff(state, State([PEER]), OURS)]
    assert not [text for text in texts if "very" in text or secret.octets.hex() in text]
    assert "preshared-key (hidden)" in str(peer)


def test_keys_are_read_and_written_in_base64() -> None:
    text = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    assert PublicKey.parse(text) == KEY
    assert str(KEY) == text
    assert parse_secret(text) == Secret(KEY.octets)


@pytest.mark.parametrize("text", ["", "AAEC", "A" * 43 + "=", f"{KEY}\n", "é" * 44])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no public key of WireGuard"):
        PublicKey.parse(text)


def test_a_secret_that_is_none_is_not_told_by_an_error() -> None:
    assert parse_secret("secret, but in no base64") is None
    assert parse_secret("c2hvcnQ=") is None


def test_a_generated_key_is_its_own_pair_again() -> None:
    pair = KeyPair.generate()
    assert KeyPair.of(pair.private) == pair
    assert KeyPair.generate() != pair


def test_objects_are_told_as_wg_is_given_them() -> None:
    assert str(DEVICE) == "wg flannel-wg listen-port 51820 public-key AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    far = replace(PEER, endpoint=SocketAddress(ip_address("fd99::2"), 7), keepalive=25)
    assert str(far).endswith(" endpoint [fd99::2]:7 persistent-keepalive 25 allowed-ips 10.5.2.0/24")


def test_a_device_comes_before_what_it_is_set_to_and_its_peers_and_routes_last() -> None:
    desired = State([Route(NETWORK, "flannel-wg"), PEER, DEVICE, LINK])
    assert [type(change.object) for change in diff(desired, State(), OURS)] == [
        Link, WireguardDevice, WireguardPeer, Route,
    ]  # fmt: skip
    assert told(desired, desired) == []


def test_what_leaves_takes_its_peers_with_it_and_a_device_that_goes_takes_all() -> None:
    assert told(State([LINK, DEVICE]), State([LINK, DEVICE, PEER])) == [f"- {PEER}"]
    assert told(State(), State([LINK, DEVICE, PEER])) == [f"- {LINK}"]


def test_a_device_of_another_kind_in_its_place_is_remade_with_all_that_belongs_to_it() -> None:
    desired = State([LINK, DEVICE, PEER])
    changes = diff(desired, State([Link("flannel-wg", Device("dummy"), 1420)]), OURS)
    assert [str(change)[0] for change in changes] == ["~", "+", "+"]


def test_a_peer_whose_key_changed_leaves_nothing_behind() -> None:
    renewed = replace(PEER, public_key=PublicKey(b"3" * 32))
    assert told(State([LINK, renewed]), State([LINK, PEER])) == [f"+ {renewed}", f"- {PEER}"]


def test_the_port_and_the_key_are_compared_but_never_the_private_key() -> None:
    assert DEVICE.satisfied_by(replace(DEVICE, private_key=None))
    assert not DEVICE.satisfied_by(replace(DEVICE, listen_port=1))
    assert not DEVICE.satisfied_by(replace(DEVICE, public_key=None))
    assert replace(DEVICE, public_key=None).satisfied_by(DEVICE)


def test_an_endpoint_that_the_kernel_has_followed_a_living_peer_to_is_left_alone() -> None:
    roamed = replace(PEER, endpoint=SocketAddress(ip_address("192.0.2.7"), 4711))
    assert not PEER.satisfied_by(roamed)
    assert PEER.satisfied_by(replace(roamed, alive=True))
    assert not PEER.satisfied_by(replace(roamed, alive=True, keepalive=25))
