"""When a lease is renewed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.agent.follow import lead

DAY = 86_400.0
MINUTE = 60.0


@pytest.mark.parametrize("minutes", [1, 60, 720, 1439])
def test_a_lease_of_a_day_is_renewed_by_the_margin_that_was_asked_for(minutes: int) -> None:
    assert lead(DAY, minutes * MINUTE) == minutes * MINUTE


def test_a_short_lease_has_half_its_time_to_live() -> None:
    assert lead(10, 60 * MINUTE) == 5


@given(st.floats(0.1, 10 * DAY), st.floats(MINUTE, 2 * DAY))
def test_no_lease_is_renewed_at_once_or_after_its_expiry(left: float, margin: float) -> None:
    assert 0 < lead(left, margin) <= margin
    assert left - lead(left, margin) >= min(left / 2, 60) * 0.999
