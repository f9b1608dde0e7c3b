# ruff: noqa: ANN401  (pyroute2 has no types)
"""WireGuard's messages, read by another implementation (pyroute2), and back by our own parser."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.generic.wireguard import wgmsg

from nankeen.kernel.netlink import wireguard
from nankeen.kernel.netlink.generic import HEADER_LENGTH
from nankeen.kernel.netlink.message import HEADER, attribute, attributes, nested, string
from nankeen.model.address import IPNetwork
from nankeen.model.secret import Secret
from nankeen.model.wireguard import PublicKey, SocketAddress, WireguardDevice, WireguardPeer

FAMILY = 37
NOW = 1_800_000_000.0
GENL = bytes(HEADER_LENGTH)

octets = st.binary(min_size=32, max_size=32)
ports = st.integers(1, 65_535)
addresses = st.builds(IPv4Address, st.integers(1, 2**32 - 1)) | st.builds(IPv6Address, st.integers(1, 2**128 - 1))
networks: st.SearchStrategy[IPNetwork] = st.builds(
    lambda value, length: IPv4Network((value, length), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)
) | st.builds(
    lambda value, length: IPv6Network((value, length), strict=False), st.integers(0, 2**128 - 1), st.integers(0, 128)
)
peers = st.builds(
    WireguardPeer,
    st.just("flannel-wg"),
    st.builds(PublicKey, octets),
    st.none() | st.builds(SocketAddress, addresses, ports),
    st.frozensets(networks, max_size=4),
    st.none() | st.builds(Secret, octets.filter(any)),
    st.integers(0, 65_535),
)
PEER = WireguardPeer(
    "flannel-wg",
    PublicKey(b"2" * 32),
    SocketAddress(ip_address("10.99.0.2"), 51820),
    frozenset({ip_network("10.5.2.0/24")}),
)


def decoded(raw: bytes) -> Any:
    """The message as pyroute2 reads it."""
    found = wgmsg(raw)
    found.decode()
    return found


def body(message: bytes) -> bytes:
    """What follows the netlink header."""
    length, kind, *_ = HEADER.unpack_from(message)
    assert kind == FAMILY
    return message[HEADER.size : length]


def base64(value: bytes) -> bytes:
    return b64encode(value)


@given(peers)
def test_a_peer_means_the_same_to_another_implementation(wanted: WireguardPeer) -> None:
    found = decoded(wireguard.set_peer(FAMILY, wanted))
    assert found["cmd"] == 1
    assert found.get_attr("WGDEVICE_A_IFNAME") == "flannel-wg"
    assert found.get_attr("WGDEVICE_A_FLAGS") is None  # other peers stay
    (peer,) = found.get_attr("WGDEVICE_A_PEERS")
    assert peer.get_attr("WGPEER_A_PUBLIC_KEY") == base64(wanted.public_key.octets)
    assert peer.get_attr("WGPEER_A_FLAGS") == 2  # WGPEER_F_REPLACE_ALLOWEDIPS
    shared = wanted.preshared_key.octets if wanted.preshared_key else bytes(32)
    assert peer.get_attr("WGPEER_A_PRESHARED_KEY") == base64(shared)
    assert peer.get_attr("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL") == wanted.keepalive
    endpoint = peer.get_attr("WGPEER_A_ENDPOINT")
    if wanted.endpoint is None:
        assert endpoint is None
    else:
        assert (ip_address(endpoint["addr"]), endpoint["port"]) == (wanted.endpoint.address, wanted.endpoint.port)
    listed = peer.get_attr("WGPEER_A_ALLOWEDIPS") or []
    assert {ip_network(item["addr"]) for item in listed} == wanted.allowed_ips


@given(peers)
def test_a_peer_is_read_back_as_it_was_written(wanted: WireguardPeer) -> None:
    (found,) = wireguard.parse([body(wireguard.set_peer(FAMILY, wanted))], NOW)
    assert found == wanted


def test_a_device_means_the_same_to_another_implementation() -> None:
    wanted = WireguardDevice("flannel-wg", 51820, PublicKey(b"p" * 32), Secret(b"s" * 32))
    found = decoded(wireguard.set_device(FAMILY, wanted))
    assert found.get_attr("WGDEVICE_A_IFNAME") == "flannel-wg"
    assert found.get_attr("WGDEVICE_A_LISTEN_PORT") == 51820
    assert found.get_attr("WGDEVICE_A_PRIVATE_KEY") == base64(b"s" * 32)
    assert found.get_attr("WGDEVICE_A_FLAGS") is None


def test_a_device_without_a_known_key_keeps_the_one_it_has() -> None:
    found = decoded(wireguard.set_device(FAMILY, WireguardDevice("flannel-wg", 7)))
    assert found.get_attr("WGDEVICE_A_PRIVATE_KEY") is None


def test_a_peer_is_removed_by_its_key() -> None:
    (peer,) = decoded(wireguard.remove_peer(FAMILY, PEER)).get_attr("WGDEVICE_A_PEERS")
    assert peer.get_attr("WGPEER_A_FLAGS") == 1  # WGPEER_F_REMOVE_ME
    assert peer.get_attr("WGPEER_A_PUBLIC_KEY") == base64(b"2" * 32)


def test_a_change_of_a_living_peer_leaves_the_endpoint_that_the_kernel_has_found() -> None:
    (alive,) = decoded(wireguard.set_peer(FAMILY, PEER, replace(PEER, alive=True))).get_attr("WGDEVICE_A_PEERS")
    (silent,) = decoded(wireguard.set_peer(FAMILY, PEER, PEER)).get_attr("WGDEVICE_A_PEERS")
    assert alive.get_attr("WGPEER_A_ENDPOINT") is None
    assert silent.get_attr("WGPEER_A_ENDPOINT")["addr"] == "10.99.0.2"


def answer(*parts: bytes, device: bytes = b"") -> bytes:
    """One answer of a dump; only the first tells of the device itself."""
    return GENL + string(2, "flannel-wg") + device + nested(8, *parts)


def part(number: int, ips: list[str], more: bytes = b"") -> bytes:
    listed = (
        nested(0, attribute(1, b"\x02\0"), attribute(2, (net := ip_network(ip)).network_address.packed),
               attribute(3, bytes([net.prefixlen])))
        for ip in ips
    )  # fmt: skip
    return nested(0, attribute(1, bytes([number]) * 32), more, nested(9, *listed))


def test_a_device_too_large_for_one_answer_is_put_together() -> None:
    device = attribute(6, (51820).to_bytes(2, "little")) + attribute(4, b"p" * 32)
    answers = [
        answer(part(1, ["10.5.1.0/24"]), part(2, ["10.5.2.0/25"]), device=device),
        answer(part(2, ["10.5.2.128/25"]), part(3, [])),
    ]
    found = list(wireguard.parse(answers, NOW))
    assert found[0] == WireguardDevice("flannel-wg", 51820, PublicKey(b"p" * 32))
    allowed = [sorted(map(str, peer.allowed_ips)) for peer in found[1:] if isinstance(peer, WireguardPeer)]
    assert allowed == [["10.5.1.0/24"], ["10.5.2.0/25", "10.5.2.128/25"], []]


def test_a_device_that_was_never_set_up_has_no_key() -> None:
    device = attribute(6, b"\0\0")
    assert list(wireguard.parse([answer(device=device)], NOW)) == [WireguardDevice("flannel-wg", 0)]


@pytest.mark.parametrize("seconds, alive", [(None, False), (0, False), (1, True), (179, True), (181, False)])
def test_a_peer_is_alive_for_three_minutes_after_its_handshake(seconds: int | None, *, alive: bool) -> None:
    time = 0 if not seconds else int(NOW) - seconds
    handshake = b"" if seconds is None else attribute(6, time.to_bytes(8, "little") + bytes(8))
    (peer,) = wireguard.parse([answer(part(1, [], handshake))], NOW)
    assert isinstance(peer, WireguardPeer)
    assert peer.alive is alive


def test_a_question_names_the_device() -> None:
    message = wireguard.get_device(FAMILY, "flannel-wg")
    assert attributes(body(message), HEADER_LENGTH)[2] == b"flannel-wg\0"
