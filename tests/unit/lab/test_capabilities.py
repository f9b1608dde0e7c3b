"""What a lab's pod asks of its network besides an address."""

from __future__ import annotations

import pytest

from nankeen.lab.capabilities import arguments, granted
from nankeen.model.errors import InputError


@pytest.mark.parametrize("text, mapping", [
    ("8080:80", {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}),
    ("53:5353/udp", {"hostPort": 53, "containerPort": 5353, "protocol": "udp"}),
    ("10.0.0.11:1:65535/sctp", {"hostPort": 1, "containerPort": 65535, "protocol": "sctp", "hostIP": "10.0.0.11"}),
    ("[fd00::1]:80:80", {"hostPort": 80, "containerPort": 80, "protocol": "tcp", "hostIP": "fd00::1"}),
])  # fmt: skip
def test_a_host_port_is_written_as_everybody_writes_it(text: str, mapping: dict[str, object]) -> None:
    assert arguments([text]) == {"portMappings": [mapping]}


@pytest.mark.parametrize("text", [
    "", "80", ":80", "80:", "0:80", "80:65536", "80:80/icmp", "80:80/", "1.2.3:80:80", "fd00::1:80:80",
    "[1.2.3.4]x:1:1", "host:80:80", "80:80/TCP", "٨٠:80", "8080:80\n",
])  # fmt: skip
def test_what_is_no_host_port_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no host port"):
        arguments([text])


@pytest.mark.parametrize("text, rate", [("100M", 100_000_000), ("1.5G", 1_500_000_000), ("64k", 64_000), ("8", 8)])
def test_a_bandwidth_is_for_both_ways(text: str, rate: int) -> None:
    asked = arguments(bandwidth=text)["bandwidth"]
    assert (asked["ingressRate"], asked["egressRate"]) == (rate, rate)
    assert asked["ingressBurst"] == asked["egressBurst"] > 8 * 65_536


@pytest.mark.parametrize("text", ["", "0", "0.1", "-1M", "M", "1 M", "1m", "1e9", "nan", "9" * 400])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no rate"):
        arguments(bandwidth=text)


def test_nothing_asked_is_nothing_passed_on() -> None:
    assert arguments() == {}


def test_a_plugin_is_given_what_it_has_the_capability_for() -> None:
    asked = arguments(["80:80"], "1M")
    assert granted(asked, {"type": "portmap", "capabilities": {"portMappings": True, "bandwidth": False}}) == {
        "portMappings": asked["portMappings"]
    }
    assert granted(asked, {"type": "bridge"}) == {}
