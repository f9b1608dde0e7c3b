"""Streams of known content at full speed over the udp backend, in both families: every block arrives as it was sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from bench.meter import End
from bench.soak import soak
from tests.lab.standing import network, standing

if TYPE_CHECKING:
    from tests.lab.standing import Standing


@pytest.fixture(scope="module")
def lab() -> Iterator[Standing]:
    with standing(network({"Type": "udp"})) as made:
        yield made


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_no_block_is_damaged_or_lost(lab: Standing, family: int) -> None:
    one, other = (End(pod.name, pod.namespaces.network, pod.addresses[family].ip) for pod in lab.pods)
    checked = soak(one, other, seconds=1.5)
    assert [stream for stream in checked if stream.fault] == []
    assert all(stream.blocks for stream in checked)
