"""Echo requests and replies on the wire."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.inspect import echo
from nankeen.inspect.inet import INET
from nankeen.model.address import Family
from nankeen.model.packet.field import checksum

U16 = st.integers(0, 0xFFFF)


@given(st.sampled_from(Family), U16, U16, st.binary(max_size=64))
def test_a_request_is_read_back_as_it_was_made(family: Family, identifier: int, sequence: int, data: bytes) -> None:
    inet = INET[family]
    header = bytes([0x45]) + bytes(19) if inet.receives_header else b""
    found = echo.parse(inet, header + echo.request(inet, identifier, sequence, data))
    assert found == echo.Echo(inet.echo_request, identifier, sequence, data)


@given(st.binary(max_size=64))
def test_the_checksum_over_a_whole_request_is_zero(data: bytes) -> None:
    assert checksum(echo.request(INET[Family.IPV4], 1, 2, data, 200)) == 0


@pytest.mark.parametrize("family, header", [(Family.IPV4, 20), (Family.IPV6, 40)])
def test_a_request_is_as_large_as_its_ip_packet_shall_be(family: Family, header: int) -> None:
    assert len(echo.request(INET[family], 1, 2, b"nonce", 1450)) == 1450 - header


def test_options_of_the_ip_header_are_skipped() -> None:
    packet = bytes([0x46]) + bytes(23) + struct.pack("!BBHHH", 0, 0, 0, 7, 8) + b"data"
    assert echo.parse(INET[Family.IPV4], packet) == echo.Echo(0, 7, 8, b"data")


@given(st.sampled_from(Family), st.binary(max_size=64))
def test_anything_can_be_received(family: Family, packet: bytes) -> None:
    found = echo.parse(INET[family], packet)
    assert found is None or packet.endswith(found.data)


@pytest.mark.parametrize(
    "family, passing, blocked", [(Family.IPV4, (0, 8), (3, 11)), (Family.IPV6, (128, 129), (1, 2, 135, 136))]
)
def test_the_filter_lets_only_echoes_through(
    family: Family, passing: tuple[int, ...], blocked: tuple[int, ...]
) -> None:
    bits = INET[family].echo_filter[2]
    words = struct.unpack(f"={len(bits) // 4}I", bits)
    assert not any(words[kind // 32] >> kind % 32 & 1 for kind in passing)
    assert all(words[kind // 32] >> kind % 32 & 1 for kind in blocked)
