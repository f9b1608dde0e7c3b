"""Results written and read back, in every version."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.cni.error import CniError, Code
from nankeen.cni.previous import parse_result
from nankeen.cni.result import Dns, Result, ResultAddress, ResultInterface, ResultRoute
from nankeen.cni.version import SUPPORTED, at_least
from nankeen.model.address import HardwareAddress
from nankeen.model.errors import InputError
from nankeen.model.gojson import parse_object


def read(document: bytes | str, version: str = "1.1.0") -> Result:
    return parse_result(parse_object(document, "prevResult"), version)


V4, V6 = ip_interface("10.5.34.2/24"), ip_interface("fd00::2/64")
GATEWAYS = {4: ip_address("10.5.34.1"), 6: ip_address("fd00::1")}
ROUTES = st.sampled_from([ip_network("0.0.0.0/0"), ip_network("10.5.0.0/16"), ip_network("::/0")])
TEXTS = st.lists(st.text(max_size=5), max_size=2).map(tuple)
RESULTS = st.builds(
    Result,
    interfaces=st.lists(
        st.builds(
            ResultInterface,
            st.sampled_from(["eth0", "cni0"]),
            st.none() | st.binary(min_size=6, max_size=6).map(HardwareAddress),
            st.none() | st.integers(1, 9000),
            st.sampled_from(["", "/run/netns/a"]),
        ),
        max_size=3,
    ).map(tuple),
    addresses=st.lists(
        st.builds(
            lambda address, index, leads: ResultAddress(address, GATEWAYS[address.version] if leads else None, index),
            st.sampled_from([V4, V6]),
            st.none() | st.integers(0, 5),
            st.booleans(),
        ),
        max_size=2,
        unique_by=lambda item: item.address.version,
    ).map(lambda found: tuple(sorted(found, key=lambda item: item.address.version))),
    routes=st.lists(
        st.builds(ResultRoute, ROUTES, st.none() | st.just(GATEWAYS[4]), st.none() | st.integers(1, 9)), max_size=3
    ).map(tuple),
    dns=st.builds(Dns, TEXTS, st.text(max_size=5), TEXTS, TEXTS),
)


def told(result: Result, version: str) -> Result:
    """As much of a result as a version can tell."""
    if not at_least(version, "1.1.0"):
        interfaces = tuple(replace(item, mtu=None) for item in result.interfaces)
        routes = tuple(replace(item, priority=None) for item in result.routes)
        result = replace(result, interfaces=interfaces, routes=routes)
    if at_least(version, "0.3.0"):
        return result
    families = {item.address.version for item in result.addresses}
    routes = tuple(item for family in sorted(families) for item in result.routes if item.destination.version == family)
    addresses = tuple(replace(item, interface=None) for item in result.addresses)
    return replace(result, interfaces=(), addresses=addresses, routes=routes)


@given(RESULTS, st.sampled_from(SUPPORTED))
def test_what_a_version_can_tell_is_read_back(result: Result, version: str) -> None:
    assert read(result.render(version)) == told(result, version)


def test_a_result_without_a_version_is_of_the_configurations() -> None:
    document = '{"ip4": {"ip": "10.5.34.2/24"}}'
    assert read(document, "0.2.0").addresses == (ResultAddress(V4),)
    assert read(document, "1.0.0").addresses == ()


@pytest.mark.parametrize(
    "document",
    [
        {"interfaces": [{"mac": "x"}]},
        {"interfaces": [5]},
        {"interfaces": [{}] * 257},
        {"ips": [{"address": "10.5.34.2"}]},
        {"ips": [{"address": "10.5.34.2/24", "gateway": "x"}]},
        {"ips": [{"address": "10.5.34.2/24", "interface": -1}]},
        {"routes": [{"gw": "10.5.34.1"}]},
        {"routes": [{"dst": "10.5.0.0/16", "gw": 1}]},
        {"dns": {"nameservers": "10.96.0.10"}},
        {"dns": {"search": [1]}},
        {"cniVersion": "0.2.0", "ip4": {"ip": "x"}},
    ],
)
def test_what_is_no_result_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        read(json.dumps(document))


def test_a_version_that_is_not_ours_is_code_1() -> None:
    with pytest.raises(CniError) as caught:
        read('{"cniVersion": "2.0.0"}')
    assert caught.value.code is Code.INCOMPATIBLE_VERSION


@pytest.mark.parametrize("key", ["mtu", "advmss", "scope"])
def test_what_another_plugin_says_of_a_route_besides_is_left_out(key: str) -> None:
    found = read(json.dumps({"routes": [{"dst": "10.5.0.0/16", key: 5}]}))
    assert found.routes == read('{"routes": [{"dst": "10.5.0.0/16"}]}').routes
