from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.model.address import Family, HardwareAddress, IPAddress, family_of, parse_address, parse_network
from nankeen.model.errors import InputError


@given(st.binary(min_size=6, max_size=6))
def test_a_hardware_address_survives_being_written_and_read(octets: bytes) -> None:
    address = HardwareAddress(octets)
    assert HardwareAddress.parse(str(address)) == address
    assert HardwareAddress.parse(str(address).upper()) == address


@pytest.mark.parametrize(
    "text", ["", "12:c6:65:89:b4", "12:c6:65:89:b4:e3:00", "12-c6-65-89-b4-e3", "12:c6:65:89:b4:g3"]
)
def test_what_is_no_hardware_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a hardware address"):
        HardwareAddress.parse(text)


def test_a_random_hardware_address_is_one_stations_and_locally_administered() -> None:
    for _ in range(64):
        first = HardwareAddress.random().octets[0]
        assert first & 0b11 == 0b10


def test_the_group_bit_makes_an_address_multicast() -> None:
    assert HardwareAddress.parse("01:00:5e:00:00:01").is_multicast
    assert not HardwareAddress.parse("02:00:5e:00:00:01").is_multicast
    assert HardwareAddress(bytes(6)).is_zero


def test_addresses_and_networks_are_read_and_told_by_family() -> None:
    assert parse_address("10.99.0.1") == ip_address("10.99.0.1")
    assert parse_address("fd99::1", Family.IPV6) == ip_address("fd99::1")
    assert family_of(parse_network("10.5.0.0/16")) is Family.IPV4
    assert family_of(parse_network("fc00:5::/48")) is Family.IPV6


def test_bits_of_the_host_are_dropped_from_a_network() -> None:
    assert parse_network("10.5.34.1/16") == ip_network("10.5.0.0/16")


@pytest.mark.parametrize("text", ["", "10.99.0", "10.99.0.256", "10.99.0.01", "fe80::1%eth0", "10.99.0.1/24"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not an IP address"):
        parse_address(text)


@pytest.mark.parametrize(
    "text", ["", "10.5.0.0", "10.5.0.0/33", "10.5.0.0/255.255.0.0", "fe80::%1/64", "/16", "10.5.0.0/ 16"]
)
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not an IP network"):
        parse_network(text)


def test_the_other_family_is_refused_where_one_is_named() -> None:
    with pytest.raises(InputError, match="is not an IPv6 network"):
        parse_network("10.5.0.0/16", Family.IPV6)
    with pytest.raises(InputError, match="is not an IPv4 address"):
        parse_address("fd99::1", Family.IPV4)


@given(st.text())
def test_no_text_raises_anything_but_an_input_error(text: str) -> None:
    for parse in (parse_address, parse_network, HardwareAddress.parse):
        with suppress(InputError):
            parse(text)


def test_a_long_text_is_not_quoted_whole() -> None:
    for parse in (parse_address, parse_network, HardwareAddress.parse):
        with pytest.raises(InputError) as refused:
            parse("9" * 10_000)
        assert len(str(refused.value)) < 300


@given(st.text(alphabet="0123456789abcdef.:/%x", max_size=24))
def test_law_an_address_is_taken_exactly_where_the_standard_library_takes_it(text: str) -> None:
    try:
        known: IPAddress | None = ip_address(text)
    except ValueError:
        known = None
    if "%" in text:
        known = None
    try:
        found: IPAddress | None = parse_address(text)
    except InputError:
        found = None
    assert found == known


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**128 - 1), st.integers(0, 140))
def test_law_a_network_is_what_the_standard_library_makes_of_it(v4: int, v6: int, length: int) -> None:
    for address in (IPv4Address(v4), IPv6Address(v6)):
        text = f"{address}/{length}"
        if length <= address.max_prefixlen:
            assert parse_network(text) == ip_network(text, strict=False)
        else:
            with pytest.raises(InputError):
                parse_network(text)
