"""Token buckets: whatever is asked for, packets of any usual size pass, and no more than was asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nankeen.model.shaping import SMALLEST_BURST, WHOLE_PACKET, Limit, Shaping

RATES = st.integers(1, 10**15 // 8)
BURSTS = st.none() | st.integers(0, 2**32 - 1)


@given(RATES, BURSTS, st.integers(68, 65_535))
def test_a_bucket_holds_a_packet_of_the_device_and_its_queue_a_whole_one(
    rate: int, burst: int | None, mtu: int
) -> None:
    bucket = Limit(rate, burst).bucket(mtu)
    assert bucket.rate == rate
    assert mtu < bucket.burst < 2**32
    assert WHOLE_PACKET <= bucket.queue < 2**32


@given(RATES, st.integers(SMALLEST_BURST, 2**32 - 1))
def test_a_burst_that_can_be_is_as_it_was_asked_for(rate: int, burst: int) -> None:
    assert Limit(rate, burst).bucket(1450).burst == burst


def test_a_burst_that_nobody_asked_for_is_a_tenth_of_a_second_or_one_whole_packet() -> None:
    assert Limit(10_000_000, None).bucket(1450).burst == 1_000_000
    assert Limit(1_000, None).bucket(1450).burst == WHOLE_PACKET


def test_no_limit_is_none() -> None:
    assert not Shaping()
    assert Shaping(sent=Limit(1, 1))
