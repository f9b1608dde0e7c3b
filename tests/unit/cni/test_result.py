"""Results, as each version of the specification writes them."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

import pytest

from nankeen.cni.result import Result, ResultAddress, ResultInterface, ResultRoute
from nankeen.cni.version import SUPPORTED
from nankeen.model.address import HardwareAddress

RESULT = Result(
    interfaces=(
        ResultInterface("cni0"),
        ResultInterface("vethc0ffee00", HardwareAddress.parse("02:00:00:00:00:01"), 1450),
        ResultInterface("eth0", HardwareAddress.parse("0a:58:0a:05:22:02"), 1450, "/run/netns/pod1"),
    ),
    addresses=(
        ResultAddress(IPv4Interface("10.5.34.2/24"), IPv4Address("10.5.34.1"), 2),
        ResultAddress(IPv6Interface("fc00:5:0:60::2/64"), IPv6Address("fc00:5:0:60::1"), 2),
    ),
    routes=(
        ResultRoute(IPv4Network("0.0.0.0/0"), IPv4Address("10.5.34.1")),
        ResultRoute(IPv6Network("::/0"), IPv6Address("fc00:5:0:60::1")),
    ),
)
ROUTES = [{"dst": "0.0.0.0/0", "gw": "10.5.34.1"}, {"dst": "::/0", "gw": "fc00:5:0:60::1"}]


def rendered(version: str) -> dict[str, object]:
    body = json.loads(RESULT.render(version))
    assert isinstance(body, dict)
    return body


def test_version_1_1_knows_the_mtu_of_interfaces() -> None:
    assert rendered("1.1.0") == {
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "cni0"},
            {"name": "vethc0ffee00", "mac": "02:00:00:00:00:01", "mtu": 1450},
            {"name": "eth0", "mac": "0a:58:0a:05:22:02", "mtu": 1450, "sandbox": "/run/netns/pod1"},
        ],
        "ips": [
            {"interface": 2, "address": "10.5.34.2/24", "gateway": "10.5.34.1"},
            {"interface": 2, "address": "fc00:5:0:60::2/64", "gateway": "fc00:5:0:60::1"},
        ],
        "routes": ROUTES,
        "dns": {},
    }


def test_version_1_0_knows_no_mtu() -> None:
    assert rendered("1.0.0")["interfaces"] == [
        {"name": "cni0"},
        {"name": "vethc0ffee00", "mac": "02:00:00:00:00:01"},
        {"name": "eth0", "mac": "0a:58:0a:05:22:02", "sandbox": "/run/netns/pod1"},
    ]


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0"])
def test_versions_0_3_and_0_4_tell_the_family_of_each_address(version: str) -> None:
    assert rendered(version)["ips"] == [
        {"version": "4", "interface": 2, "address": "10.5.34.2/24", "gateway": "10.5.34.1"},
        {"version": "6", "interface": 2, "address": "fc00:5:0:60::2/64", "gateway": "fc00:5:0:60::1"},
    ]


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_versions_before_have_one_address_of_each_family(version: str) -> None:
    assert rendered(version) == {
        "cniVersion": version,
        "ip4": {"ip": "10.5.34.2/24", "gateway": "10.5.34.1", "routes": ROUTES[:1]},
        "ip6": {"ip": "fc00:5:0:60::2/64", "gateway": "fc00:5:0:60::1", "routes": ROUTES[1:]},
        "dns": {},
    }


@pytest.mark.parametrize("version", SUPPORTED)
def test_the_version_asked_for_is_the_one_written(version: str) -> None:
    assert rendered(version)["cniVersion"] == version
