"""Members of a chain: their configurations, and the result that they pass on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.cni.chain import TYPES, ChainedConfig, Firewall, Loopback, PortMap
from nankeen.cni.config import fields_of
from nankeen.cni.error import CniError, Code
from nankeen.cni.passing import Changes, pass_on
from nankeen.cni.request import Request, parse_request
from nankeen.cni.result import ResultInterface
from nankeen.cni.tuning import Tuning
from nankeen.model.address import HardwareAddress
from nankeen.model.gojson import JSON
from nankeen.model.shaping import Shaping

PREVIOUS: dict[str, JSON] = {
    "cniVersion": "1.1.0",
    "interfaces": [
        {"name": "br0", "mac": "02:00:00:00:00:01"},
        {"name": "eth0", "mac": "02:00:00:00:00:02", "mtu": 1500},
        {"name": "eth0", "mac": "02:00:00:00:00:03", "mtu": 1500, "sandbox": "/run/netns/x", "pciID": "0000:01:00.0"},
    ],
    "ips": [{"address": "10.5.34.2/24", "interface": 2}],
    "routes": [{"dst": "0.0.0.0/0", "mtu": 1400, "advmss": 1360}],
    "dns": {},
    "somethingNew": {"deep": [1, 2], "huge": 10**30, "half": 0.5, "text": "<&é"},
}
ADDRESS = HardwareAddress.parse("02:00:00:00:00:07")


def request(kind: str, verb: str = "ADD", asked: str = "", /, **members: Any) -> Request:  # noqa: ANN401
    environment = {"CNI_COMMAND": verb, "CNI_CONTAINERID": "c", "CNI_NETNS": "/run/netns/x", "CNI_IFNAME": "eth0"}
    document = {"cniVersion": "1.1.0", "name": "net", "type": kind, "prevResult": PREVIOUS, **members}
    return parse_request(environment | {"CNI_ARGS": asked}, json.dumps(document).encode())


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_the_type_says_what_is_to_be_done(kind: str) -> None:
    kinds = {"portmap": PortMap, "bandwidth": Shaping, "tuning": Tuning, "firewall": Firewall, "loopback": Loopback}
    found = request(kind)
    assert isinstance(found.config, ChainedConfig)
    assert type(found.config.member) is kinds[kind]
    assert found.previous is not None
    assert str(found.previous.addresses[0].address) == "10.5.34.2/24"


@pytest.mark.parametrize("kind", sorted(TYPES - {"loopback"}))
@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
def test_who_comes_after_nobody_is_refused(kind: str, verb: str) -> None:
    with pytest.raises(CniError) as caught:
        request(kind, verb, prevResult=None)
    assert (caught.value.code, caught.value.problem) == (Code.INVALID_CONFIG, "missing prevResult")


@pytest.mark.parametrize("verb", ["DEL", "STATUS"])
@pytest.mark.parametrize("kind", sorted(TYPES))
def test_a_deletion_and_a_status_need_no_previous_result(kind: str, verb: str) -> None:
    """With version 0.3.1, as in flannel's list, a runtime hands over none."""
    assert request(kind, verb, prevResult=None).previous is None
    assert request(kind, verb, prevResult="rubbish").previous is None


def test_a_loopback_may_stand_alone() -> None:
    assert request("loopback", prevResult=None).previous is None


def test_ports_limits_and_a_hardware_address_come_from_the_runtime() -> None:
    ports = request("portmap", runtimeConfig={"portMappings": [{"HostPort": 8080, "ContainerPort": 80}]}).config
    assert isinstance(ports, ChainedConfig)
    assert isinstance(ports.member, PortMap)
    assert ports.member.mappings[0].host_port == 8080
    tuned = request("tuning", "ADD", "IgnoreUnknown=1;MAC=02:00:00:00:00:07").config
    assert isinstance(tuned, ChainedConfig)
    assert tuned.member == Tuning(hardware_address=ADDRESS)


@pytest.mark.parametrize(
    "kind, members, code",
    [
        ("portmap", {"backend": "ipvs"}, 7),
        ("portmap", {"snat": "yes"}, 7),
        ("portmap", {"markMasqBit": 32}, 7),
        ("portmap", {"externalSetMarkChain": 5}, 7),
        ("portmap", {"masqAll": 1}, 7),
        ("portmap", {"masqAll": True}, 2),
        ("portmap", {"conditionsV4": "-s 10.0.0.0/8"}, 7),
        ("portmap", {"conditionsV4": ["-s", "10.0.0.0/8"]}, 2),
        ("portmap", {"conditionsV6": ["-s", "fd00::/8"]}, 2),
        ("portmap", {"runtimeConfig": {"portMappings": [{"hostPort": 0}]}}, 7),
        ("portmap", {"runtimeConfig": 5}, 7),
        ("firewall", {"backend": "pf"}, 7),
        ("firewall", {"firewalldZone": []}, 7),
        ("firewall", {"iptablesAdminChainName": 5}, 7),
        ("firewall", {"ingressPolicy": "closed"}, 7),
        ("firewall", {"ingressPolicy": "same-bridge"}, 2),
        ("firewall", {"ingressPolicy": "isolated"}, 2),
        ("bandwidth", {"ingressRate": 8}, 7),
        ("tuning", {"sysctl": {"kernel.hostname": "x"}}, 7),
        ("bandwidth", {"name": ""}, 7),
        ("loopback", {"cniVersion": "9.0.0"}, 1),
        ("tuning", {"prevResult": {"ips": [{"address": "x"}]}}, 7),
    ],
)
def test_what_is_wrong_or_not_served_is_refused(kind: str, members: dict[str, Any], code: int) -> None:
    with pytest.raises(CniError) as caught:
        request(kind, **members)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "kind, members",
    [
        ("portmap", {"snat": True, "markMasqBit": 5, "backend": "iptables", "conditionsV4": [], "masqAll": False}),
        ("portmap", {"externalSetMarkChain": "KUBE-MARK-MASQ"}),
        ("firewall", {"backend": "firewalld", "firewalldZone": "trusted", "ingressPolicy": "open"}),
    ],
)
def test_what_says_how_others_would_do_it_is_accepted(kind: str, members: dict[str, Any]) -> None:
    assert isinstance(request(kind, **members).config, ChainedConfig)


def test_a_result_is_passed_on_as_it_came() -> None:
    assert json.loads(pass_on(PREVIOUS, "1.1.0", "eth0")) == PREVIOUS


def test_what_a_member_changes_is_in_the_result_and_nothing_else() -> None:
    made = ResultInterface("bwp0", ADDRESS, 1400)
    changes = Changes((made,), ADDRESS, 1400)
    found = json.loads(pass_on(PREVIOUS, "1.1.0", "eth0", changes))
    own = found["interfaces"][2]
    assert (own["mac"], own["mtu"], own["pciID"]) == (str(ADDRESS), 1400, "0000:01:00.0")
    assert found["interfaces"][3] == {"name": "bwp0", "mac": str(ADDRESS), "mtu": 1400}
    assert found["interfaces"][:2] == PREVIOUS["interfaces"][:2]  # type: ignore[index]
    assert {**found, "interfaces": None} == {**PREVIOUS, "interfaces": None}


def test_a_result_of_another_version_is_written_anew() -> None:
    found = json.loads(pass_on(PREVIOUS, "0.3.1", "eth0", Changes(mtu=1400)))
    assert found["cniVersion"] == "0.3.1"
    assert found["ips"] == [{"version": "4", "interface": 2, "address": "10.5.34.2/24"}]
    assert "mtu" not in found["interfaces"][2]


def test_a_version_without_interfaces_gets_none() -> None:
    old: dict[str, JSON] = {"cniVersion": "0.2.0", "ip4": {"ip": "10.5.34.2/24"}}
    assert json.loads(pass_on(old, "0.2.0", "eth0", Changes((ResultInterface("bwp0"),)))) == old


KEYS = ["runtimeConfig", "bandwidth", "portMappings", "ingressRate", "ingressBurst", "unshapedSubnets", "sysctl", "mac"]
KEYS += [
    "mtu",
    "promisc",
    "txQLen",
    "args",
    "cni",
    "prevResult",
    "interfaces",
    "ips",
    "address",
    "ingressPolicy",
    "snat",
]
WORDS = st.sampled_from(["net.ipv4.ip_forward", "10.5.0.0/16", "02:00:00:00:00:01", "open", "..", "1.1.0", "0.2.0"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**33) | st.floats() | WORDS | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | WORDS, children, max_size=4)
    ),
    max_leaves=12,
)


@given(
    st.sampled_from(sorted(TYPES)),
    st.sampled_from(["ADD", "CHECK", "DEL"]),
    st.dictionaries(st.sampled_from(KEYS), VALUES),
)
def test_whatever_is_written_is_served_or_refused(kind: str, verb: str, members: dict[str, Any]) -> None:
    """And what is served can be passed on."""
    try:
        found = request(kind, verb, **members)
    except CniError:
        return
    previous = fields_of(dict(found.document)).object("prevResult") if found.previous is not None else None
    if previous is not None:
        passed = json.loads(pass_on(previous.besides(), "1.1.0", "eth0", Changes((), ADDRESS, 1400)))
        assert passed["cniVersion"] == "1.1.0"
