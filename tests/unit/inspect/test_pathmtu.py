"""Measuring a path MTU."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.inspect.outcome import Answered, Observation, Outcome, Refused, Silent
from nankeen.inspect.pathmtu import measure
from nankeen.inspect.plan import Pair, Probe
from nankeen.inspect.volley import Pace
from tests.unit.inspect.parties import pod

SILENCE = Silent(1.0)
LEAST = 40
"""Bytes of the smallest probe over IPv4."""


class Way:
    """A way on which a function decides what becomes of a size."""

    def __init__(self, decide: Callable[[int], Outcome]) -> None:
        self._decide = decide
        self.steps = 0
        self.probes = 0

    async def run(self, probes: Iterable[Probe], pace: Pace) -> list[Observation]:
        assert pace.waits
        asked = list(probes)
        self.steps += 1
        self.probes += len(asked)
        return [Observation(probe, self._decide(probe.size or 0)) for probe in asked]


def pair(mtu: int = 1450) -> Pair:
    return Pair(pod(1, mtu=mtu), pod(2, mtu=mtu), ip_address("10.244.1.2"))


def passes() -> Answered:
    return Answered(0.001, "pod2", None)


def named(mtu: int) -> Refused:
    return Refused("fragmentation needed and DF set", mtu=mtu)


@given(mtu=st.integers(60, 65535), data=st.data())
async def test_where_packets_are_lost_in_silence_the_size_is_found_to_the_byte(mtu: int, data: st.DataObject) -> None:
    path = data.draw(st.integers(LEAST, mtu - 1))
    way = Way(lambda size: passes() if size <= path else SILENCE)
    assert await measure(way, [(pair(mtu), SILENCE)]) == [path]
    assert way.steps <= 5


@given(path=st.integers(60, 1449))
async def test_a_named_mtu_is_tried_and_believed(path: int) -> None:
    way = Way(lambda size: passes() if size <= path else named(path))
    assert await measure(way, [(pair(), named(path))]) == [path]
    assert way.probes == 1


async def test_a_second_router_may_name_a_smaller_one() -> None:
    way = Way(lambda size: passes() if size <= 1300 else named(1300))
    assert await measure(way, [(pair(), named(1400))]) == [1300]
    assert way.probes == 2


@pytest.mark.parametrize("lie", [0, 39, 1300, 1449, 1450, 9000])
async def test_a_router_that_names_a_wrong_one_is_found_out(lie: int) -> None:
    way = Way(lambda size: passes() if size <= 1200 else named(lie))
    assert await measure(way, [(pair(), named(lie))]) == [1200]


async def test_a_router_that_names_too_small_a_one_is_taken_at_its_word() -> None:
    way = Way(lambda size: passes() if size <= 1200 else named(1000))
    assert await measure(way, [(pair(), named(1000))]) == [1000]


async def test_where_nothing_passes_there_is_no_path_mtu() -> None:
    assert await measure(Way(lambda _: SILENCE), [(pair(), SILENCE)]) == [None]


async def test_many_are_measured_at_once() -> None:
    way = Way(lambda size: passes() if size <= 1400 else SILENCE)
    assert await measure(way, [(pair(1450), SILENCE)] * 3) == [1400] * 3
    assert way.steps <= 4


async def test_a_pair_that_changes_its_mind_all_the_time_is_given_up() -> None:
    turn = iter(range(10**6))
    way = Way(lambda _: passes() if next(turn) % 2 else named(1300))
    await measure(way, [(pair(), SILENCE)])
    assert way.steps <= 6


async def test_nothing_to_measure_sends_nothing() -> None:
    way = Way(lambda _: SILENCE)
    assert await measure(way, []) == []
    assert way.steps == 0
