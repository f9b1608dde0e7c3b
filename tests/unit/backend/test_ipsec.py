from __future__ import annotations

import pytest

from nankeen.backend import Backend, claim, open_backend
from nankeen.model.diff import diff
from nankeen.model.errors import ConfigError
from nankeen.model.gojson import JSON
from nankeen.model.ike import IkeConnection, IkeSecret
from nankeen.model.netconf import BackendConfig
from nankeen.model.state import KERNEL, Route, State
from nankeen.model.xfrm import XfrmPolicy
from tests.unit.backend.fabric import IPV4, IPV6, endpoint, lease, node

PSK = "no-one-else-knows-" * 6
PEER = lease(2, endpoint(2, data=None), backend="ipsec")


def ipsec(**options: JSON) -> Backend:
    return open_backend(BackendConfig("ipsec", {"PSK": PSK, **options}))


def lines(state: State) -> list[str]:
    return [str(item) for item in state]


def test_a_node_alone_has_its_own_secret_and_nothing_in_the_kernel() -> None:
    assert lines(ipsec().state(node(), [])) == ["ike secret of 10.99.0.1 (hidden)"]
    assert ipsec().state(node(own=False), []) == State()
    assert not ipsec().devices(node())


def test_a_peer_takes_three_policies_a_route_past_them_and_a_connection() -> None:
    assert [str(item) for item in ipsec().peer(node(), PEER)] == [
        (
            "src 10.5.1.0/24 dst 10.5.2.0/24 dir out priority 0 "
            "tmpl src 10.99.0.1 dst 10.99.0.2 proto esp reqid 11 mode tunnel"
        ),
        (
            "src 10.5.2.0/24 dst 10.5.1.0/24 dir in priority 0 "
            "tmpl src 10.99.0.2 dst 10.99.0.1 proto esp reqid 11 mode tunnel"
        ),
        (
            "src 10.5.2.0/24 dst 10.5.1.0/24 dir fwd priority 0 "
            "tmpl src 10.99.0.2 dst 10.99.0.1 proto esp reqid 11 mode tunnel"
        ),
        "10.5.2.0/24 via 10.99.0.2 dev eth0 proto 110 onlink",
        "ike secret of 10.99.0.2 (hidden)",
        "ike 10.99.0.1-10.5.1.0/24-10.5.2.0/24-10.99.0.2 esp aes128gcm16-sha256-prfsha256-ecp256",
    ]


def test_policies_stand_before_anything_leads_to_the_peer_and_after_nothing_does() -> None:
    backend, ours = ipsec(), claim(ipsec(), node())
    state = backend.state(node(), [PEER])
    coming = [type(change.object) for change in diff(state, State(), ours)]
    going = [type(change.object) for change in diff(State(), state, ours)]
    assert coming == [XfrmPolicy] * 3 + [Route]
    assert going == [Route] + [XfrmPolicy] * 3


def test_what_charon_is_told_is_no_part_of_the_kernel() -> None:
    state = ipsec().state(node(), [PEER])
    assert {type(item) for item in state} - KERNEL == {IkeConnection, IkeSecret}


def test_policies_are_claimed_by_request_id_and_pod_network_alone() -> None:
    ours = claim(ipsec(), node())
    policies = list(ipsec().state(node(), [PEER]).of(XfrmPolicy))
    vxlan = open_backend(BackendConfig("vxlan"))
    assert all(ours.covers(policy) for policy in policies)
    assert not any(claim(vxlan, node()).covers(policy) for policy in policies)


def test_options_shape_the_connections_and_the_mtu() -> None:
    backend = ipsec(UDPEncap=True, ESPProposal="aes256-sha512")
    connection = next(backend.state(node(), [PEER]).of(IkeConnection))
    assert (connection.encap, connection.proposal) == (True, "aes256-sha512")
    assert (ipsec().mtu(node()), backend.mtu(node())) == (1423, 1415)
    assert ipsec(ESPProposal="") == ipsec()


@pytest.mark.parametrize("psk", [None, "", "secret-but-short", PSK[:95], 1234567, ["a" * 100]])
def test_a_missing_or_short_secret_is_refused_and_not_told(psk: JSON) -> None:
    with pytest.raises(ConfigError, match=r"Backend.PSK is missing, or too short .* at least 96 characters") as refused:
        ipsec(PSK=psk)
    assert not psk or str(psk) not in str(refused.value)
    ipsec(PSK=PSK[:96])


def test_the_secret_is_told_by_nothing() -> None:
    backend = ipsec()
    assert not [text for text in (repr(backend), repr(backend.state(node(), [PEER]))) if "no-one" in text]


@pytest.mark.parametrize("proposal", ["aes 128", "a,b", "-", "aes\n", "ä"])
def test_a_proposal_is_algorithms_joined_by_hyphens(proposal: str) -> None:
    with pytest.raises(ConfigError, match=r"Backend.ESPProposal is .*; it must be algorithms joined by hyphens"):
        ipsec(ESPProposal=proposal)


@pytest.mark.parametrize("networks", [(str(IPV6),), (str(IPV4), str(IPV6))])
def test_a_pod_network_of_ipv6_is_refused(networks: tuple[str, ...]) -> None:
    for ask in (ipsec().devices, ipsec().reaches):
        with pytest.raises(ConfigError, match="ipsec carries IPv4 only, and the pod network fc00:5::/48 is IPv6"):
            ask(node(*networks))


def test_the_tunnel_starts_at_the_underlays_own_address_also_behind_nat() -> None:
    behind_nat = node(public="192.0.2.1")
    assert [str(reach.address) for reach in ipsec().reaches(behind_nat)] == ["192.0.2.1"]
    (connection,) = ipsec().state(behind_nat, [PEER]).of(IkeConnection)
    assert str(connection.local) == "10.99.0.1"
