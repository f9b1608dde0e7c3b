"""A soak over a cable that damages nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.soak import soak

if TYPE_CHECKING:
    from bench.meter import End
    from tests.kernel.conftest import Net


def test_what_runs_over_a_sound_cable_arrives_as_sent_both_ways(ends: tuple[Net, list[tuple[End, End]]]) -> None:
    for pair in ends[1]:
        checked = soak(*pair, seconds=0.3, streams=2)
        assert [stream.fault for stream in checked] == [""] * 4
        assert [stream.way for stream in checked] == ["one → other"] * 2 + ["other → one"] * 2
        assert all(stream.blocks for stream in checked)
