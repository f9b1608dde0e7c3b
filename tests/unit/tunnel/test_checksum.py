from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nankeen.tunnel.checksum import put, total, turned
from tests.unit.tunnel import reference


@given(st.binary(min_size=2, max_size=600), st.integers(0, 20), st.integers(0, 20))
def test_a_sum_is_that_of_the_words_whatever_the_length_and_the_place(octets: bytes, before: int, behind: int) -> None:
    memory = bytearray(b"\xa5" * before + octets + b"\x5a" * behind)
    found = turned(total(memory, before, before + len(octets)) % 65_535)
    assert (0xFFFF - found) % 65_535 == reference.checksum(octets) % 65_535


@given(st.binary(min_size=20, max_size=20))
def test_what_is_put_is_the_checksum_that_it_asks_for(octets: bytes) -> None:
    header = bytearray(octets[:10] + bytes(2) + octets[12:])
    put(header, 10, total(header, 0, 20))
    assert reference.checksum(bytes(header)) in ((0, 0xFFFF) if not any(header) else (0,))


def test_turning_twice_is_nothing() -> None:
    assert [turned(turned(number)) for number in (0, 1, 0x1234, 0xFFFF)] == [0, 1, 0x1234, 0xFFFF]
