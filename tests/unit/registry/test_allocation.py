"""The first free subnet, against the slow and obvious way to find it."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_network

from hypothesis import example, given
from hypothesis import strategies as st

from nankeen.model.address import IPNetwork, family_of
from nankeen.model.errors import InputError
from nankeen.model.leasevalue import parse_key
from nankeen.model.netconf import NetworkConfig, Pool
from nankeen.registry.allocation import Taken, spans_of_keys

POOL = NetworkConfig.parse('{"Network":"10.5.0.0/20","SubnetLen":24}').pools[0]
POOL_IPV6 = NetworkConfig.parse('{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00:5::/48"}').pools[0]
NEARBY = st.builds(
    lambda number, length: IPv4Network((0x0A050000 + (number << 5), length), strict=False),
    st.integers(-64, 192),
    st.integers(19, 27),
)


@given(st.lists(NEARBY, max_size=30))
def test_the_first_free_subnet_is_the_first_that_overlaps_nothing(taken: list[IPv4Network]) -> None:
    expected = next((subnet for subnet in POOL if not any(subnet.overlaps(other) for other in taken)), None)
    assert Taken(taken).first_free(POOL) == expected


@given(st.lists(NEARBY, max_size=30), NEARBY)
def test_a_subnet_overlaps_when_it_overlaps_one_of_them(taken: list[IPv4Network], subnet: IPv4Network) -> None:
    assert Taken(taken).overlaps(subnet) == any(subnet.overlaps(other) for other in taken)


def test_ipv6_subnets_are_found_alike() -> None:
    taken: list[IPNetwork] = [ip_network("fc00:5:0:1::/64"), ip_network("fc00:5:0:2::/63")]
    assert Taken(taken).first_free(POOL_IPV6) == ip_network("fc00:5:0:4::/64")


def test_a_pool_of_which_nothing_is_taken_begins_with_its_first_subnet() -> None:
    assert Taken([]).first_free(POOL) == POOL.first


def test_what_is_held_of_a_pool_is_counted_without_what_lies_outside() -> None:
    inside = [ip_network("10.5.1.0/24"), ip_network("10.5.15.0/24")]
    assert Taken([*inside, ip_network("10.6.0.0/24")]).within(POOL.network) == len(inside)


def test_five_thousand_leases_are_passed_over_in_one_pass() -> None:
    pool = NetworkConfig.parse('{"Network":"10.0.0.0/8","SubnetLen":24}').pools[0]
    assert Taken(_first(pool, 5000)).first_free(pool) == _first(pool, 5001)[-1]


def _first(pool: Pool, count: int) -> list[IPNetwork]:
    return [subnet for subnet, _ in zip(pool, range(count), strict=False)]


BASES = [
    "10.5.34.0",
    "10.5.034.0",
    "10.5.34.1",
    "10.5.34",
    "fc00:5::",
    "fc00:5:0::",
    "FC00::",
    "::ffff:0:0",
    "::",
    "x",
    "",
]
PARTS = st.builds(
    "{}-{}".format, st.sampled_from(BASES), st.sampled_from(["24", "024", "32", "33", "64", "129", "-1", ""])
)
KEYS = st.one_of(PARTS, st.builds("{}&{}".format, PARTS, PARTS), st.sampled_from(["", "&", "-", "10.5.34.0-24&"]))


@given(KEYS)
@example("10.5.34.0-24")
@example("10.5.34.0-24&fc00:5::-64")
@example("::ffff:0:0-96")
@example("10.5.34.0-24\0")
def test_law_a_key_holds_what_it_names_and_a_damaged_one_nothing(key: str) -> None:
    try:
        named = parse_key(key)
    except InputError:
        named = ()
    found = [(family, span) for family, spans in spans_of_keys([key]).items() for span in spans]
    assert found == [(family_of(one), (int(one[0]), int(one[-1]))) for one in named]


@given(st.lists(NEARBY, max_size=30))
def test_what_is_held_of_a_pool_is_what_is_not_free(taken: list[IPv4Network]) -> None:
    held = [subnet for subnet in POOL if any(subnet.overlaps(other) for other in taken)]
    assert Taken(taken).held(POOL) == len(held)
