"""The meter counts right: it loses nothing by itself, and tells exactly what was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench import meter
from bench.meter import End, traffic

if TYPE_CHECKING:
    from tests.kernel.conftest import Net


async def test_of_undisturbed_traffic_nothing_is_lost(ends: tuple[Net, list[tuple[End, End]]]) -> None:
    async with traffic(ends[1]) as measured:
        await measured.passed(2000)
    assert measured.sent >= 2000
    assert (measured.lost, measured.losses) == (0, [])


async def test_what_is_lost_is_told_by_direction_and_number(
    ends: tuple[Net, list[tuple[End, End]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "PATIENCE", 0.2)
    net, pairs = ends
    async with traffic(pairs[:1]) as measured:
        await measured.passed(200)
        net.run("ip route add blackhole 10.0.0.2/32")
        await measured.passed(200)
        net.run("ip route delete blackhole 10.0.0.2/32")
        await measured.passed(200)
    [loss] = measured.losses
    assert (loss.source.name, loss.target.name) == ("one", "other")
    assert 100 <= loss.first <= loss.last < measured.sent // 2 - 50
    assert measured.lost == loss.packets == loss.last - loss.first + 1
    assert f"one 10.0.0.1 → other 10.0.0.2: {loss.packets} lost, {loss.first} to {loss.last}, " in str(loss)
