"""IPsec's messages, back by our own parser; what they mean to others, the kernel tests ask `ip xfrm`."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.kernel.netlink import xfrm
from nankeen.kernel.netlink.message import HEADER, attribute, u32
from nankeen.model.xfrm import Direction, EspTunnel, XfrmPolicy

POLICY = XfrmPolicy(
    Direction.OUT,
    ip_network("10.5.1.0/24"),
    ip_network("10.5.2.0/24"),
    EspTunnel(ip_address("10.99.0.1"), ip_address("10.99.0.2")),
)

ipv4 = st.builds(IPv4Address, st.integers(0, 2**32 - 1))
ipv6 = st.builds(IPv6Address, st.integers(0, 2**128 - 1))
tunnels = st.builds(EspTunnel, ipv4, ipv4, st.integers(0, 2**32 - 1)) | st.builds(EspTunnel, ipv6, ipv6)
networks4 = st.builds(lambda ip, length: IPv4Network((ip, length), strict=False), ipv4, st.integers(0, 32))
networks6 = st.builds(lambda ip, length: IPv6Network((ip, length), strict=False), ipv6, st.integers(0, 128))
directions, priorities = st.sampled_from(Direction), st.integers(0, 2**32 - 1)
policies = st.builds(XfrmPolicy, directions, networks4, networks4, tunnels, priorities) | st.builds(
    XfrmPolicy, directions, networks6, networks6, tunnels, priorities
)


def body(message: bytes) -> bytes:
    return message[HEADER.size :]


@given(policies)
def test_law_a_policy_is_read_back_as_it_was_written(wanted: XfrmPolicy) -> None:
    assert xfrm.parse(body(xfrm.add(wanted))) == wanted


@pytest.mark.parametrize(
    "at, octet",
    [(33, 1), (37, 1), (44, 6), (48, 2), (160, 3), (161, 1)],
    ids=["destination port", "source port", "protocol", "interface", "a socket's own", "block"],
)
def test_a_policy_about_anything_else_than_two_networks_is_passed_over(at: int, octet: int) -> None:
    message = bytearray(body(xfrm.add(POLICY)))
    message[at] = octet
    assert xfrm.parse(bytes(message)) is None


@pytest.mark.parametrize("more", [attribute(21, bytes(8)), u32(31, 7), attribute(16, bytes([1, 0, 0, 0, 0, 0]))])
def test_a_policy_of_a_mark_an_interface_id_or_another_type_is_passed_over(more: bytes) -> None:
    assert xfrm.parse(body(xfrm.add(POLICY)) + more) is None
    assert xfrm.parse(body(xfrm.add(POLICY)) + attribute(16, bytes(6))) == POLICY


@pytest.mark.parametrize("at, octet", [(20, 51), (48, 0), (50, 1)], ids=["AH", "transport mode", "may be left out"])
def test_a_policy_that_demands_anything_else_than_a_tunnel_of_esp_is_passed_over(at: int, octet: int) -> None:
    message = bytearray(body(xfrm.add(POLICY)))
    message[168 + 4 + at] = octet
    assert xfrm.parse(bytes(message)) is None


def test_a_policy_of_two_templates_or_none_is_passed_over() -> None:
    plain = body(xfrm.add(POLICY))[:168]
    template = body(xfrm.add(POLICY))[172:]
    assert xfrm.parse(plain) is None
    assert xfrm.parse(plain + attribute(5, template * 2)) is None
    assert xfrm.parse(plain + attribute(5, template)) == POLICY
