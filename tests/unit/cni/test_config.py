"""The network configuration: every option, and what is refused."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.cni.config import Ipam, PluginConfig, Vlans, parse_config
from nankeen.cni.error import CniError, Code
from nankeen.cni.result import Dns, ResultRoute
from nankeen.model.address import HardwareAddress
from nankeen.model.errors import InputError
from nankeen.model.gojson import parse_object


def parse(**members: Any) -> PluginConfig:  # noqa: ANN401
    document = {"cniVersion": "1.0.0", "name": "cbr0", "type": "nankeen", **members}
    return parse_config(parse_object(json.dumps(document), "test"))


def test_every_option_of_bridge_and_host_local_is_understood() -> None:
    found = parse(
        bridge="br1",
        mtu=1400,
        promiscMode=True,
        portIsolation=True,
        isGateway=True,
        isDefaultGateway=False,
        forceAddress=True,
        vlan=100,
        vlanTrunk=[{"id": 101}, {"minID": 200, "maxID": 300}],
        preserveDefaultVlan=True,
        macspoofchk=True,
        ipMasq=True,
        ipam={"routes": [{"dst": "192.0.2.0/24", "gw": "10.5.34.9"}], "resolvConf": "/etc/resolv.conf"},
        dns={"nameservers": ["10.96.0.10"], "domain": "d", "search": ["s"], "options": ["o"]},
        runtimeConfig={"mac": "02:00:00:00:00:01", "ips": ["10.5.34.7/24"]},
        args={"cni": {"mac": "02:00:00:00:00:02", "ips": ["fd00::7"]}},
    )
    assert found == PluginConfig(
        version="1.0.0",
        name="cbr0",
        bridge="br1",
        mtu=1400,
        promiscuous=True,
        isolated=True,
        gateway=True,
        default_gateway=False,
        force_address=True,
        vlans=Vlans(100, ((101, 101), (200, 300)), keep_default=True),
        spoof_check=True,
        masquerade=True,
        ipam=Ipam(
            routes=(ResultRoute(ip_network("192.0.2.0/24"), ip_address("10.5.34.9")),),
            resolv_conf=Path("/etc/resolv.conf"),
        ),
        dns=Dns(("10.96.0.10",), "d", ("s",), ("o",)),
        hardware_address=HardwareAddress.parse("02:00:00:00:00:01"),
        addresses=(ip_address("fd00::7"), ip_address("10.5.34.7")),
    )


def test_keys_of_the_runtime_are_read_in_any_case() -> None:
    found = parse(RuntimeConfig={"MAC": "02:00:00:00:00:01", "IPs": ["10.5.34.7"]})
    assert (str(found.hardware_address), found.addresses) == ("02:00:00:00:00:01", (ip_address("10.5.34.7"),))


def test_a_default_gateway_is_a_gateway() -> None:
    assert parse(isGateway=False).gateway
    assert not parse(isGateway=False, isDefaultGateway=False).gateway


@pytest.mark.parametrize(
    "members",
    [
        {"hairpinMode": True, "promiscMode": True},
        {"isGateway": "yes"},
        {"vlan": 4095},
        {"vlan": -1},
        {"vlan": True},
        {"vlanTrunk": [{"id": 0}]},
        {"vlanTrunk": [{}]},
        {"vlanTrunk": [{"minID": 5}]},
        {"vlanTrunk": [{"minID": 5, "maxID": 4}]},
        {"vlanTrunk": 5},
        {"bridge": "a" * 16},
        {"dns": []},
        {"runtimeConfig": []},
        {"runtimeConfig": {"mac": "02:00:00:00:00"}},
        {"runtimeConfig": {"mac": "01:00:00:00:00:00"}},
        {"runtimeConfig": {"mac": "00:00:00:00:00:00"}},
        {"runtimeConfig": {"ips": "10.5.34.7"}},
        {"runtimeConfig": {"ips": ["10.5.34.7/33"]}},
        {"args": {"cni": 5}},
        {"ipam": {"dataDir": "/var/../etc"}},
        {"ipam": {"resolvConf": "resolv.conf"}},
        {"ipam": {"routes": [{}]}},
        {"name": "a" * 201},
        {"ingressRate": 8000},
        {"runtimeConfig": {"bandwidth": 5}},
        {"runtimeConfig": {"dns": []}},
        {"runtimeConfig": {"dns": {"servers": "10.96.0.10"}}},
        {"runtimeConfig": {"dns": {"searches": [5]}}},
        {"runtimeConfig": {"dns": {"options": {}}}},
        {"runtimeConfig": {"aliases": "db"}},
        {"runtimeConfig": {"aliases": [1]}},
        {"runtimeConfig": {"aliases": {"cbr0": "db"}}},
    ],
)
def test_a_wrong_option_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises((InputError, CniError)) as caught:
        parse(**members)
    assert getattr(caught.value, "code", Code.INVALID_CONFIG) is Code.INVALID_CONFIG


@pytest.mark.parametrize("key", ["enabledad", "disableContainerInterface"])
def test_what_we_have_no_equal_of_is_code_2(key: str) -> None:
    parse(**{key: False})
    with pytest.raises(CniError) as caught:
        parse(**{key: True})
    assert caught.value.code is Code.UNSUPPORTED_FIELD


@pytest.mark.parametrize("key", ["mtu", "advmss", "scope"])
def test_what_we_cannot_do_to_a_route_is_code_2(key: str) -> None:
    with pytest.raises(CniError) as caught:
        parse(ipam={"routes": [{"dst": "10.5.0.0/16", key: 5}]})
    assert caught.value.code is Code.UNSUPPORTED_FIELD


def test_a_guid_of_infiniband_is_code_2() -> None:
    with pytest.raises(CniError) as caught:
        parse(runtimeConfig={"infinibandGUID": "c2:11:22:33:44:55:66:77"})
    assert caught.value.code is Code.UNSUPPORTED_FIELD


def test_dns_of_the_runtime_goes_before_that_of_the_configuration() -> None:
    own = {"nameservers": ["10.96.0.10"], "domain": "d", "search": ["s"], "options": ["o"]}
    given = {"Servers": ["192.0.2.53"], "Searches": ["t", "u"], "Options": None}  # as containerd writes it
    assert parse(dns=own, runtimeConfig={"dns": given}).dns == Dns(("192.0.2.53",), "d", ("t", "u"), ("o",))
    assert parse(runtimeConfig={"dns": given}).dns == Dns(("192.0.2.53",), "", ("t", "u"))


def test_names_for_other_pods_are_read_and_change_nothing() -> None:
    assert parse(runtimeConfig={"aliases": ["db", "db.example"]}) == parse()
    assert parse(runtimeConfig={"aliases": {"cbr0": ["db"], "other": []}}) == parse()  # as Podman has it


KEYS = ["bridge", "mtu", "vlan", "vlanTrunk", "ipam", "dns", "runtimeConfig", "args", "isGateway", "cni", "ips", "mac"]
KEYS += ["ranges", "subnet", "gateway", "rangeStart", "routes", "dst", "gw", "nameservers", "cniVersion", "name"]
TEXTS = st.sampled_from(["10.5.34.0/24", "10.5.34.7", "fd00::/64", "1.1.0", "eth0", "/a", "..", "02:00:00:00:00:01"])
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 5000) | TEXTS | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.sampled_from(KEYS), children, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=8))
def test_whatever_is_written_is_a_configuration_or_refused(members: dict[str, Any]) -> None:
    try:
        found = parse(**{"name": "cbr0", **members})
    except (InputError, CniError):
        return
    assert "/" not in found.bridge + found.name
    for ranges in found.ipam.ranges:
        for item in ranges:
            assert item.first in item
            assert item.last in item
            assert item.subnet.num_addresses >= 4
