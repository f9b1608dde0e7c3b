from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nankeen.kernel import tun
from tests.kernel.tunnel.world import Pair, build

if TYPE_CHECKING:
    from tests.kernel.conftest import Net


@pytest.fixture
def pair(make_net: Callable[[], Net], tmp_path: Path) -> Iterator[Pair]:
    """Nodes of a dual-stack cluster, on which nothing is started yet."""
    if tun.obstacle():
        pytest.skip("needs /dev/net/tun")
    made = build(make_net, tmp_path)
    yield made
    for site in made.sites:
        site.close()


@pytest.fixture
def carried(pair: Pair) -> Pair:
    """The same, with the real process on both."""
    pair.carry()
    return pair
