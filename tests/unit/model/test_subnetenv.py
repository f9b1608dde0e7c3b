from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.model.netconf import NetworkConfig
from nankeen.model.subnetenv import SubnetEnv, parse, render

DUAL = NetworkConfig.parse('{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fc00:5::/48"}')
V4, V6 = ip_network("10.5.34.0/24"), ip_network("fc00:5:0:60::/64")
TEXT = """\
FLANNEL_NETWORK=10.5.0.0/16
FLANNEL_SUBNET=10.5.34.1/24
FLANNEL_IPV6_NETWORK=fc00:5::/48
FLANNEL_IPV6_SUBNET=fc00:5:0:60::1/64
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
"""


def test_the_file_is_written_as_flannel_writes_it() -> None:
    assert render(DUAL, [V6, V4], 1450, ip_masq=True) == TEXT


def test_a_family_that_is_not_in_use_is_not_named() -> None:
    config = NetworkConfig.parse('{"Network":"10.5.0.0/16"}')
    assert render(config, [V4], 1450, ip_masq=False) == (
        "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"
    )


def test_what_was_written_is_read_back_as_networks() -> None:
    assert parse(TEXT) == SubnetEnv(DUAL.networks, (V4, V6), 1450, ip_masq=True)


@pytest.mark.parametrize(
    "line",
    [
        'FLANNEL_SUBNET="10.5.34.1/24"',
        "export FLANNEL_SUBNET='10.5.34.1/24' # mine",
        "FLANNEL_SUBNET=10.5.34.1/24,nonsense",
        " FLANNEL_SUBNET = 10.5.34.1/24 ",
    ],
)
def test_a_file_that_somebody_edited_is_understood(line: str) -> None:
    assert parse(f"# a comment\n\nnonsense\n{line}\n").subnets == (V4,)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "FLANNEL_SUBNET=",
        "FLANNEL_SUBNET=10.5.34.1",
        "FLANNEL_SUBNET=10.5.34.1/24,10.5.35.1/24",
        "#FLANNEL_SUBNET=10.5.34.1/24",
        "FLANNEL_SUBNET=fc00:5:0:60::1/64",
    ],
)
def test_what_is_not_said_plainly_is_left_out(line: str) -> None:
    assert parse(line) == SubnetEnv()


@given(st.text() | st.lists(st.sampled_from([*TEXT.splitlines(), "FLANNEL_MTU=-1", "=", ",", "'"])).map("\n".join))
def test_no_file_is_too_broken_to_be_read(text: str) -> None:
    assert len(parse(text).subnets) <= 2
