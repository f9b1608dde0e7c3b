from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from nankeen.backend import Backend, Node, claim, open_backend
from nankeen.backend.admission import admit
from nankeen.model.diff import diff
from nankeen.model.errors import ConfigError, InputError
from nankeen.model.gojson import JSON
from nankeen.model.lease import Endpoint, Lease, Offer
from nankeen.model.netconf import BackendConfig
from nankeen.model.secret import Secret
from nankeen.model.state import Link, State
from nankeen.model.wireguard import KeyPair, PublicKey, WireguardDevice, WireguardPeer
from tests.unit.backend import fabric
from tests.unit.backend.fabric import IPV4, IPV6

DUAL = (str(IPV4), str(IPV6))
KEYS = KeyPair.of(Secret(bytes(range(32))))
PSK = "cHJlc2hhcmVkLXByZXNoYXJlZC1wcmVzaGFyZWQtMSE="


def wireguard(**options: JSON) -> Backend:
    return open_backend(BackendConfig("wireguard", options))


def node(*networks: str, mtu: int = 1500, public: str = "", own: bool = True) -> Node:
    return replace(fabric.node(*networks, mtu=mtu, public=public, own=own), keys=KEYS)


def key(number: int) -> PublicKey:
    return PublicKey(bytes([number]) * 32)


def data(number: int, port: int | None = 51_820) -> str:
    return f'{{"PublicKey":"{key(number)}"' + (f',"Port":{port}}}' if port is not None else "}")


def endpoint(number: int, address: str = "", port: int | None = 51_820) -> Endpoint:
    return fabric.endpoint(number, address=address, data=data(number, port))


def endpoint6(number: int, address: str = "", port: int | None = 51_821) -> Endpoint:
    found = fabric.endpoint6(number)
    return replace(found, reach=replace(found.reach, address=ip_address(address or f"fd99::{number}"),
                                        data=data(number, port)))  # fmt: skip


def lease(number: int, *endpoints: Endpoint) -> Lease:
    return fabric.lease(number, *(endpoints or (endpoint(number),)), backend="wireguard")


def lines(state: State) -> list[str]:
    return [str(item) for item in state]


def peers(backend: Backend, here: Node, *leases: Lease) -> list[WireguardPeer]:
    return list(backend.state(here, leases).of(WireguardPeer))


def test_a_node_has_a_device_with_its_key_an_address_and_the_whole_pod_network() -> None:
    assert lines(wireguard().state(node(), [])) == [
        "flannel-wg: wireguard mtu 1420 up",
        f"wg flannel-wg listen-port 51820 public-key {KEYS.public}",
        "inet 10.5.1.0/32 dev flannel-wg",
        "10.5.0.0/16 dev flannel-wg",
    ]
    assert wireguard().devices(node()) == {"flannel-wg"}
    assert wireguard().needs == {"wireguard"}


def test_separate_families_have_devices_of_their_own() -> None:
    backend, here = wireguard(), node(*DUAL)
    assert lines(backend.state(here, [lease(2, endpoint(2), endpoint6(2))])) == [
        "flannel-wg: wireguard mtu 1420 up",
        f"wg flannel-wg listen-port 51820 public-key {KEYS.public}",
        "flannel-wg-v6: wireguard mtu 1420 up",
        f"wg flannel-wg-v6 listen-port 51821 public-key {KEYS.public}",
        "inet 10.5.1.0/32 dev flannel-wg",
        "inet6 fc00:5:0:1::/128 dev flannel-wg-v6",
        "10.5.0.0/16 dev flannel-wg",
        "fc00:5::/48 dev flannel-wg-v6 metric 1024",
        f"wg flannel-wg peer {key(2)} endpoint 10.99.0.2:51820 allowed-ips 10.5.2.0/24",
        f"wg flannel-wg-v6 peer {key(2)} endpoint [fd99::2]:51821 allowed-ips fc00:5:0:2::/64",
    ]
    assert backend.devices(here) == {"flannel-wg", "flannel-wg-v6"}


@pytest.mark.parametrize("mode", ["auto", "ipv4", "ipv6"])
def test_the_modes_of_one_device_carry_both_families_in_it(mode: str) -> None:
    backend, here = wireguard(Mode=mode), node(*DUAL)
    assert [link.name for link in backend.state(here, []).of(Link)] == ["flannel-wg"]
    assert backend.devices(here) == {"flannel-wg"}
    (peer,) = peers(backend, here, lease(2, endpoint(2), endpoint6(2)))
    assert {str(ip) for ip in peer.allowed_ips} == {"10.5.2.0/24", "fc00:5:0:2::/64"}
    assert [str(found.listen_port) for found in backend.state(here, []).of(WireguardDevice)] == ["51820"]


@pytest.mark.parametrize(
    "mode, ipv4, ipv6, own, expected",
    [
        ("ipv4", "10.99.0.2", "2001:db8::2", "", "10.99.0.2"),
        ("ipv6", "192.0.2.2", "fd99::2", "", "fd99::2"),
        ("auto", "192.0.2.2", "2001:db8::2", "2001:db8::1", "192.0.2.2"),  # a public IPv4 address is good enough
        ("auto", "10.99.0.2", "2001:db8::2", "2001:db8::1", "2001:db8::2"),
        ("auto", "172.31.0.2", "2001:db8::2", "2001:db8::1", "2001:db8::2"),
        ("auto", "172.32.0.2", "2001:db8::2", "2001:db8::1", "172.32.0.2"),
        ("auto", "10.99.0.2", "2001:db8::2", "fd99::1", "10.99.0.2"),
        ("auto", "10.99.0.2", "fd99::2", "2001:db8::1", "10.99.0.2"),
    ],
)
def test_the_mode_chooses_the_family_that_packets_travel_in(
    mode: str, ipv4: str, ipv6: str, own: str, expected: str
) -> None:
    here = node(*DUAL, public=own)
    (peer,) = peers(wireguard(Mode=mode), here, lease(2, endpoint(2, ipv4), endpoint6(2, ipv6)))
    assert peer.endpoint is not None
    assert str(peer.endpoint.address) == expected


def test_with_one_device_ipv6_is_reached_at_the_port_that_it_listens_on() -> None:
    """Flannel announces, and goes to, the port of a device for IPv6 that these modes do not have."""
    backend, here = wireguard(Mode="ipv6", ListenPort=7000), node(*DUAL)
    (peer,) = peers(backend, here, lease(2, endpoint(2, port=6000), endpoint6(2, port=51_821)))
    assert str(peer.endpoint) == "[fd99::2]:6000"
    assert [reach.data for reach in backend.reaches(here)] == [
        f'{{"PublicKey":"{KEYS.public}","Port":7000}}',
        f'{{"PublicKey":"{KEYS.public}","Port":7000}}',
    ]


@pytest.mark.parametrize("mode", ["separate", "auto", "ipv4", "ipv6"])
@pytest.mark.parametrize("family", [4, 6])
def test_one_family_alone_works_in_every_mode(mode: str, family: int) -> None:
    network, far = (DUAL[0], endpoint(2)) if family == 4 else (DUAL[1], endpoint6(2))
    backend, here = wireguard(Mode=mode), node(network)
    (peer,) = peers(backend, here, lease(2, far))
    assert peer.endpoint is not None
    assert peer.endpoint.address == far.reach.address
    (device,) = backend.devices(here)
    assert device == ("flannel-wg-v6" if (mode, family) == ("separate", 6) else "flannel-wg")
    assert peer.device == device


def test_a_node_announces_its_key_and_port_in_the_very_letters_of_flannel() -> None:
    ipv4, ipv6 = wireguard(ListenPort=7000, ListenPortV6=7001).reaches(node(*DUAL, own=False))
    assert ipv4.data == f'{{"PublicKey":"{KEYS.public}","Port":7000}}'
    assert ipv6.data == f'{{"PublicKey":"{KEYS.public}","Port":7001}}'


def test_a_peer_that_tells_no_port_listens_where_we_do() -> None:
    backend = wireguard(ListenPort=7000, ListenPortV6=7001)
    ipv4, ipv6 = peers(backend, node(*DUAL), lease(2, endpoint(2, port=None), endpoint6(2, port=0)))
    assert (str(ipv4.endpoint), str(ipv6.endpoint)) == ("10.99.0.2:7000", "[fd99::2]:7001")


def test_options_shape_the_peers() -> None:
    backend = wireguard(psk=PSK, PersistentKeepaliveInterval=25, MTU=1400)
    (peer,) = peers(backend, node(), lease(2))
    assert peer.preshared_key is not None
    assert peer.preshared_key.octets == b"preshared-preshared-preshared-1!"
    assert peer.keepalive == 25
    assert backend.mtu(node()) == 1320
    assert backend.mtu(node(mtu=1300)) == 1220


def test_port_and_mtu_zero_and_no_psk_are_the_defaults() -> None:
    assert wireguard(ListenPort=0, ListenPortV6=0, MTU=0, PSK="", Mode="") == wireguard()


@pytest.mark.parametrize(
    "options, told",
    [
        ({"Mode": "Auto"}, 'Backend.Mode is "Auto"; it must be one of separate, auto, ipv4, ipv6'),
        ({"ListenPort": 65_536}, "Backend.ListenPort is 65536"),
        ({"ListenPortV6": 51_820}, "Backend.ListenPortV6 is 51820; it must differ from ListenPort"),
        ({"PersistentKeepaliveInterval": -1}, "Backend.PersistentKeepaliveInterval is -1"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, JSON], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        wireguard(**options)


@pytest.mark.parametrize("psk", ["not a key but still secret", 1234567, PSK[:-4], [PSK]])
def test_a_wrong_preshared_key_is_refused_and_not_told(psk: JSON) -> None:
    with pytest.raises(ConfigError, match=r"Backend.PSK is no preshared key") as refused:
        wireguard(PSK=psk)
    assert str(psk) not in str(refused.value)


def test_nothing_that_is_told_of_the_backend_tells_its_secrets() -> None:
    backend = wireguard(PSK=PSK)
    texts = [repr(backend), repr(node()), repr(backend.state(node(), [lease(2)]))]
    assert not [text for text in texts if "preshared-" in text.replace("preshared-key (hidden)", "") or PSK in text]
    assert not [text for text in texts if repr(KEYS.private.octets)[2:-1] in text]


def test_an_mtu_too_small_is_refused() -> None:
    with pytest.raises(ConfigError, match="an outer MTU of 1300 leaves pods 1220 bytes, and they need 1280"):
        wireguard().mtu(node(*DUAL, mtu=1300))


@pytest.mark.parametrize(
    "far, reason",
    [
        (replace(endpoint(3), reach=replace(endpoint(3).reach, data=None)), "no JSON object"),
        (replace(endpoint(3), reach=replace(endpoint(3).reach, data='{"PublicKey":"x"}')), "is no public key"),
        (replace(endpoint(3), reach=replace(endpoint(3).reach, data=data(0))), "is no public key"),
        (endpoint(3, port=65_536), "Port is 65536"),
        (replace(endpoint(3), reach=replace(endpoint(3).reach, data=data(2))), "is node2's already"),
        (
            replace(endpoint(3), reach=replace(endpoint(3).reach, data=f'{{"PublicKey":"{KEYS.public}"}}')),
            "its public key is this node's",
        ),
    ],
)
def test_a_wrong_lease_is_refused_alone_with_the_reason(far: Endpoint, reason: str) -> None:
    decided = admit((wireguard(),), node(), [lease(2), lease(3, far), lease(4)])
    assert list(decided.rejected) == ["node3"]
    assert reason in decided.rejected["node3"]


def test_a_peer_of_two_keys_needs_two_devices() -> None:
    halves = lease(2, endpoint(2), replace(endpoint6(2), reach=replace(endpoint6(2).reach, data=data(3))))
    assert len(peers(wireguard(), node(*DUAL), halves)) == 2
    with pytest.raises(InputError, match="it announces two public keys"):
        wireguard(Mode="auto").peer(node(*DUAL), halves)


def test_a_node_without_keys_cannot_announce_itself_but_can_be_compared() -> None:
    keyless = replace(node(), keys=None)
    with pytest.raises(InputError, match="wireguard: the node has no key pair"):
        wireguard().reaches(keyless)
    assert diff(wireguard().state(keyless, [lease(2)]), wireguard().state(node(), [lease(2)])) == ()


def test_a_peer_that_got_a_new_key_leaves_nothing_behind() -> None:
    renewed = lease(2, replace(endpoint(2), reach=replace(endpoint(2).reach, data=data(9))))
    backend = wireguard()
    changes = diff(backend.state(node(), [renewed]), backend.state(node(), [lease(2)]), claim(backend, node()))
    assert [str(change) for change in changes] == [
        f"+ wg flannel-wg peer {key(9)} endpoint 10.99.0.2:51820 allowed-ips 10.5.2.0/24",
        f"- wg flannel-wg peer {key(2)} endpoint 10.99.0.2:51820 allowed-ips 10.5.2.0/24",
    ]


def test_a_peer_that_offers_it_second_may_send_by_it_and_is_known_by_its_key() -> None:
    """Two nodes prefer different backends, and each sends by its own."""
    offering = replace(fabric.lease(2), offers=(Offer("wireguard", (data(2),)),))
    way = admit([open_backend(BackendConfig("vxlan")), wireguard()], node(), [offering]).ways["node2"]
    assert way.backend.name == "vxlan"
    assert [item.public_key for item in way.objects if isinstance(item, WireguardPeer)] == [key(2)]
    assert wireguard().receiving(node(), fabric.lease(3)) == ()


def test_a_node_without_a_subnet_holds_nothing_yet() -> None:
    assert wireguard().state(node(own=False), []) == State()
