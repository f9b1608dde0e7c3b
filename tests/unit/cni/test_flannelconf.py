"""What flannel's plugin makes of its configuration."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.cni.error import CniError
from nankeen.cni.flannelconf import FlannelConfig, delegate, is_served_inside, parse_flannel
from nankeen.model.errors import InputError
from nankeen.model.gojson import parse_object

ENV = "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n"


def parse(**members: Any) -> FlannelConfig:  # noqa: ANN401
    return parse_flannel(parse_object(json.dumps({"name": "cni-flannel", "type": "flannel", **members}), "test"))


def test_the_delegate_is_flannels_own() -> None:
    assert delegate(parse(), ENV) == json.loads(
        """{"ipMasq":false,"ipam":{"routes":[{"dst":"10.1.0.0/16"}],"ranges":[[{"subnet":"10.1.17.0/24"}]],
        "type":"host-local"},"isGateway":true,"mtu":1472,"name":"cni-flannel","type":"bridge"}"""
    )


def test_keys_that_are_there_already_stay() -> None:
    own = {"mtu": 1400, "ipMasq": True, "IsGateway": False, "bridge": "br0", "anything": [1]}
    found = delegate(parse(cniVersion="0.3.1", delegate=own), ENV)
    assert found == {**own, "type": "bridge", "name": "cni-flannel", "cniVersion": "0.3.1", "ipam": found["ipam"]}


def test_without_flannels_masquerade_the_delegate_does_it() -> None:
    assert delegate(parse(), ENV.replace("IPMASQ=true", "IPMASQ=false"))["ipMasq"] is True


def test_the_base_of_ipam_keeps_its_routes_but_not_its_ranges() -> None:
    base = {"type": "host-local", "dataDir": "/d", "Ranges": [[{"subnet": "10.9.0.0/24"}]], "routes": [{"dst": "::/0"}]}
    found = delegate(parse(ipam=base), ENV)["ipam"]
    assert found == {
        "type": "host-local",
        "dataDir": "/d",
        "ranges": [[{"subnet": "10.1.17.0/24"}]],
        "routes": [{"dst": "::/0"}, {"dst": "10.1.0.0/16"}],
    }


def test_several_networks_are_told_once_each() -> None:
    env = ENV.replace("10.1.0.0/16", "10.1.0.0/16,10.2.0.0/16,10.1.0.0/16")
    found = delegate(parse(), env)["ipam"]
    assert isinstance(found, dict)
    assert found["routes"] == [{"dst": "10.1.0.0/16"}, {"dst": "10.2.0.0/16"}]


def test_another_type_is_no_gateway_by_itself() -> None:
    found = delegate(parse(delegate={"type": "macvlan", "master": "eth1"}, runtimeConfig={"mac": "x"}), ENV)
    assert "isGateway" not in found
    assert found["runtimeConfig"] == {"mac": "x"}
    assert not is_served_inside(found)


@pytest.mark.parametrize(
    "members, inside",
    [
        ({}, True),
        ({"delegate": {"type": "bridge"}}, True),
        ({"delegate": {"type": "nankeen"}}, True),
        ({"delegate": {"type": "ptp"}}, False),
        ({"ipam": {"type": "dhcp"}}, False),
        ({"delegate": {"enableDAD": True}}, False),
        ({"delegate": {"enabledad": False}}, True),
    ],
)
def test_bridge_with_host_local_is_served_inside(members: dict[str, Any], *, inside: bool) -> None:
    assert is_served_inside(delegate(parse(**members), ENV)) is inside


@pytest.mark.parametrize("lines, missing", [
    ("", "FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK, FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET, FLANNEL_MTU, FLANNEL_IPMASQ"),
    ("FLANNEL_IPV6_NETWORK=fd00::/48\nFLANNEL_IPV6_SUBNET=fd00::1/64\nFLANNEL_MTU=1", "FLANNEL_IPMASQ"),
])  # fmt: skip
def test_what_the_file_lacks_is_named(lines: str, missing: str) -> None:
    with pytest.raises(CniError, match=f"/run/flannel/subnet.env is missing {missing}$"):
        delegate(parse(), lines)


@pytest.mark.parametrize(
    "members",
    [
        {"name": ""},
        {"name": "a/b"},
        {"subnetFile": "relative"},
        {"subnetFile": "/run/../etc/passwd"},
        {"dataDir": 5},
        {"delegate": []},
        {"ipam": "host-local"},
        {"cniVersion": "3.0.0"},
    ],
)
def test_what_is_no_configuration_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises((CniError, InputError)):
        parse(**members)


@given(st.text(alphabet="FLANNEL_SUBNETWORKIPV6MTU=\n10./:,truefals", max_size=200))
def test_a_file_of_rubbish_is_refused_in_words(text: str) -> None:
    try:
        delegate(parse(), ENV + text)
    except CniError as error:
        assert error.code == 11  # noqa: PT017  (either is right)
