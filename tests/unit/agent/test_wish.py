"""Flannel's flags about the underlay, as an administrator writes them."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from nankeen.agent.wish import DEFAULT_ROUTE, Wish
from nankeen.model.errors import InputError


def test_flags_that_are_empty_are_no_wish() -> None:
    assert Wish.parse([""], [""], "", "", "") == DEFAULT_ROUTE


def test_an_interface_may_be_a_name_or_an_address() -> None:
    assert Wish.parse(["eth0", "10.99.0.1", "fd99::1"]).interfaces == (
        "eth0",
        ip_address("10.99.0.1"),
        ip_address("fd99::1"),
    )


@pytest.mark.parametrize(
    "flags, said",
    [
        ({"public_ip": "fd99::1"}, "--public-ip: 'fd99::1' is not an IPv4 address; write it as 10.99.0.1"),
        ({"public_ipv6": "10.99.0.1"}, "--public-ipv6: '10.99.0.1' is not an IPv6 address; write it as fd99::1"),
        ({"can_reach": "gateway"}, "--iface-can-reach: 'gateway' is not an IP address"),
        ({"patterns": ["eth("]}, "--iface-regex: 'eth(' is no regular expression: missing )"),
        ({"patterns": ["[[:alpha:]]"]}, "--iface-regex: '[[:alpha:]]' is no regular expression: Possible nested set"),
        ({"patterns": [r"\pL"]}, r"--iface-regex: '\\pL' is no regular expression: bad escape \p"),
    ],
)  # fmt: skip
def test_a_flag_that_is_wrong_is_refused_in_one_line(flags: dict[str, str | list[str]], said: str) -> None:
    with pytest.raises(InputError) as refusal:
        Wish.parse(**flags)  # type: ignore[arg-type]
    assert str(refusal.value).startswith(said)
    assert "\n" not in str(refusal.value)
