"""SCTP's header and the chunk that opens an association, held to known values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.model.errors import InputError
from nankeen.model.packet import IPv4, LinkType, Protocol, Sctp, dissect, encode
from nankeen.model.packet.sctp import crc32c, init
from tests.unit.model.packet.strategies import ipv4_addresses

ports, tags = st.integers(0, 0xFFFF), st.integers(1, 0xFFFF_FFFF)


def test_the_checksum_is_castagnolis() -> None:
    """The check value of CRC-32C, and an example of RFC 3720 §B.4."""
    assert crc32c(b"123456789") == 0xE306_9283
    assert crc32c(bytes(32)) == 0x8A91_36AA


def test_a_chunk_is_written_as_it_is_drawn_in_the_rfc() -> None:
    assert init(0x01020304).hex(" ", 4) == "01000014 01020304 0000ffff 00010001 01020304"
    assert init(1, 8).hex(" ", 4) == "0100001c 00000001 0000ffff 00010001 00000001 80050008 00000000"
    assert init(1, 3)[20:] == bytes(3)


@pytest.mark.parametrize("padding", [0, 1, 3, 4, 32, 100])
def test_a_chunk_is_as_long_as_is_asked(padding: int) -> None:
    assert len(encode([Sctp(1, 2)], init(7, padding))) == 12 + 20 + padding


@given(ipv4_addresses, ports, ports, tags)
def test_what_is_written_is_read(address: object, source: int, destination: int, tag: int) -> None:
    header = IPv4(address, address, Protocol.SCTP)  # type: ignore[arg-type]
    packet = dissect(encode([header, Sctp(source, destination, tag)], init(tag)), LinkType.IP)
    found = packet.headers[-1]
    assert isinstance(found, Sctp)
    assert (found.source, found.destination, found.verification) == (source, destination, tag)
    assert encode(packet.headers, packet.payload) == encode([header, Sctp(source, destination, tag)], init(tag))


def test_a_header_that_is_cut_short_is_none() -> None:
    with pytest.raises(InputError):
        Sctp.decode(bytes(11), 0, 11)
