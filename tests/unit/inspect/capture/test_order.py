"""What several points saw, merged by time: nothing lost, nothing early, nothing out of order that came in time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nankeen.inspect.capture.order import WINDOW, Captured, Order
from tests.unit.inspect.capture.sights import frame

NOW = 10 * WINDOW


def times(found: list[Captured]) -> list[int]:
    return [captured.time for captured in found]


def test_what_may_yet_be_overtaken_is_held_back() -> None:
    order = Order()
    order.add(0, [frame(b"", time=NOW - WINDOW), frame(b"", time=NOW - WINDOW + 1)])
    assert times(order.due(NOW)) == [NOW - WINDOW]
    assert not order.is_empty
    order.add(1, [frame(b"", time=NOW - WINDOW // 2)])
    assert times(order.due(NOW + WINDOW)) == [NOW - WINDOW + 1, NOW - WINDOW // 2]
    assert order.is_empty


def test_of_one_time_the_point_that_was_named_first_goes_first() -> None:
    order = Order()
    order.add(1, [frame(b"", time=5)])
    order.add(0, [frame(b"", time=5)])
    assert [captured.point for captured in order.rest()] == [0, 1]


def test_the_point_that_was_named_first_goes_first_also_where_its_ring_is_the_later() -> None:
    order = Order()
    order.add(1, [frame(b"", time=NOW)])
    assert order.due(NOW) == []
    order.add(0, [frame(b"", time=NOW)])
    assert [captured.point for captured in order.due(NOW + WINDOW)] == [0, 1]


def test_what_comes_too_late_is_not_lost() -> None:
    order = Order()
    order.add(0, [frame(b"", time=NOW - WINDOW)])
    order.due(NOW)
    order.add(1, [frame(b"", time=1)])
    assert times(order.due(NOW + 1)) == [1]


def test_a_clock_that_is_set_back_holds_nothing_up() -> None:
    order = Order()
    order.due(NOW)
    order.add(0, [frame(b"", time=NOW)])
    assert times(order.due(NOW // 2)) == [NOW]


@given(st.lists(st.lists(st.integers(0, 20 * WINDOW), max_size=20).map(sorted), min_size=1, max_size=4))
def test_rings_that_are_read_in_time_are_merged_in_order(rings: list[list[int]]) -> None:
    """Each ring hands over what passed before `now`, all of them at once, as they do when they are polled."""
    order, told = Order(), list[int]()
    left = [list(ring) for ring in rings]
    for now in range(0, 24 * WINDOW, WINDOW // 2):
        for number, ring in enumerate(left):
            order.add(number, [frame(b"", time=time) for time in ring if time <= now])
            left[number] = [time for time in ring if time > now]
        told += times(order.due(now))
    assert told == sorted(time for ring in rings for time in ring)
