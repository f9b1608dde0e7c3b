from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.model.errors import InputError
from nankeen.model.state import Link, State, Tun
from nankeen.model.tunnel import TunnelPeer, TunnelSocket
from nankeen.tunnel.control import (
    Ask,
    Change,
    Configure,
    Counters,
    Done,
    Known,
    Refused,
    Report,
    Settings,
    Show,
    Stop,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
)

SOCKET = TunnelSocket("flannel0", ip_address("192.168.0.11"), 8285, ip_network("10.244.1.0/24"))
SOCKET_IPV6 = TunnelSocket("flannel0", ip_address("fd00::11"), 8285, ip_network("fd10:0:0:1::/64"))
PEER = TunnelPeer("flannel0", ip_network("10.244.2.0/24"), ip_address("192.168.0.12"), 8285, "node2")
PEER_IPV6 = TunnelPeer("flannel0", ip_network("fd10:0:0:2::/64"), ip_address("fd00::12"), 8285, "node2")
LINK = Link("flannel0", Tun(), mtu=1452)
CONFIGURE = {"do": "configure", "device": "flannel0", "mtu": 1472, "sockets": [], "peers": []}

networks = st.one_of(
    st.builds(lambda a, b: IPv4Network((a >> (32 - b) << (32 - b), b)), st.integers(0, 2**32 - 1), st.integers(1, 32)),
    st.builds(
        lambda a, b: IPv6Network((a >> (128 - b) << (128 - b), b)), st.integers(0, 2**128 - 1), st.integers(1, 128)
    ),
)
ports = st.integers(1, 65_535)
names = st.text(min_size=1, max_size=253)


@st.composite
def peers(draw: st.DrawFn) -> tuple[TunnelPeer, ...]:
    subnets = draw(st.lists(networks, max_size=5, unique=True))
    return tuple(
        TunnelPeer(
            "flannel0",
            subnet,
            draw(st.ip_addresses(v=4 if subnet.version == 4 else 6)),
            draw(ports),
            draw(names),
        )
        for subnet in subnets
    )


@given(peers(), st.integers(68, 65_535))
def test_what_a_data_path_is_told_it_hears(told: tuple[TunnelPeer, ...], mtu: int) -> None:
    request = Configure(Settings("flannel0", mtu, (SOCKET, SOCKET_IPV6), told))
    line = encode_request(request)
    assert line.index(b"\n") == len(line) - 1
    assert decode_request(line) == request


@given(peers(), st.lists(networks, max_size=3).map(tuple))
def test_a_change_is_heard_as_it_was_told(added: tuple[TunnelPeer, ...], removed: tuple[IPv4Network, ...]) -> None:
    change = Change("flannel0", added, removed)
    assert decode_request(encode_request(change)) == change


@pytest.mark.parametrize("request_", [Ask(), Show(), Stop()], ids=str)
def test_a_request_without_arguments_is_heard(request_: Ask | Show | Stop) -> None:
    assert decode_request(encode_request(request_)) == request_


@pytest.mark.parametrize(
    "answer",
    [Done(), Refused("no device"), Report("GSO of 64 KiB", {"node2": Counters(1, 2, 3, 4)}, {"no peer": 7})],
    ids=lambda answer: type(answer).__name__,
)
def test_an_answer_is_heard_as_it_was_given(answer: Done | Refused | Report) -> None:
    assert decode_answer(encode_answer(answer)) == answer


@given(peers())
def test_what_it_goes_by_is_heard_as_it_was_told(told: tuple[TunnelPeer, ...]) -> None:
    for answer in (Known(None), Known(Settings("flannel0", 1472, (SOCKET, SOCKET_IPV6), told))):
        assert decode_answer(encode_answer(answer)) == answer


def test_settings_that_nobody_could_have_are_no_answer() -> None:
    with pytest.raises(InputError, match="no answer"):
        decode_answer(
            msgspec.json.encode({"answer": "settings", "settings": CONFIGURE | {"peers": [["x", "y", 1, "z"]]}})
        )


@given(st.binary(max_size=200))
def test_whatever_is_said_the_data_path_only_refuses_it(line: bytes) -> None:
    with pytest.raises(InputError, match="no request"):
        decode_request(line)


@pytest.mark.parametrize(
    "wrong",
    [
        {"do": "reboot"},
        {"do": "stop", "now": True},
        CONFIGURE | {"device": "../eth0"},
        CONFIGURE | {"device": "a-name-that-is-too-long"},
        CONFIGURE | {"mtu": 67},
        CONFIGURE | {"sockets": [["192.168.0.11", 8285, "fd10::/64"]]},
        CONFIGURE | {"sockets": [["192.168.0.11", 8285, "10.244.1.0"]]},
        CONFIGURE | {"sockets": [["192.168.0.11", 8285, "10.0.1.0/24"], ["192.168.0.12", 8286, "10.0.2.0/24"]]},
        CONFIGURE | {"peers": [["10.244.2.0/24", "192.168.0.12", 0, "node2"]]},
        CONFIGURE | {"peers": [["10.244.2.0/24", "192.168.0.12", 8285, ""]]},
        CONFIGURE | {"peers": [["10.244.2.1/24", "192.168.0.12", 8285, "node2"]]},
        CONFIGURE | {"peers": [["10.244.2.0/33", "192.168.0.12", 8285, "node2"]]},
        CONFIGURE | {"peers": [["10.244.2.0/+4", "192.168.0.12", 8285, "node2"]]},
        CONFIGURE | {"peers": [["10.244.2.0/24", "fd00::12", 8285, "node2"]]},
        CONFIGURE | {"peers": [["10.244.2.0/24", "node2", 8285, "node2"]]},
        CONFIGURE
        | {"peers": [["10.244.2.0/24", "192.168.0.12", 8285, "a"], ["10.244.2.0/24", "192.168.0.13", 1, "b"]]},
        {"do": "change", "device": "flannel0", "removed": ["10.244.2.1/24"]},
    ],
    ids=str,
)
def test_a_wrong_request_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match="no request"):
        decode_request(msgspec.json.encode(wrong))


def test_what_a_device_needs_is_taken_from_the_desired_state() -> None:
    other = TunnelPeer("flannel1", PEER.subnet, PEER.endpoint, 1, "node3")
    desired = State([LINK, SOCKET, SOCKET_IPV6, PEER, PEER_IPV6, other, Link("flannel1", Tun())])
    assert Settings.of(desired, "flannel0") == Settings("flannel0", 1452, (SOCKET, SOCKET_IPV6), (PEER, PEER_IPV6))


def test_a_device_that_is_not_desired_needs_nothing() -> None:
    assert Settings.of(State([PEER]), "flannel0") is None


def test_the_objects_of_a_tunnel_read_as_lines() -> None:
    assert str(SOCKET) == "udp flannel0 local 192.168.0.11:8285 subnet 10.244.1.0/24"
    assert str(PEER_IPV6) == "udp flannel0 fd10:0:0:2::/64 to [fd00::12]:8285 node node2"
