"""Two ends to measure between."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from bench.meter import End
from nankeen.kernel import namespace

if TYPE_CHECKING:
    from tests.kernel.conftest import Net


@pytest.fixture
def ends(make_net: Callable[[], Net]) -> tuple[Net, list[tuple[End, End]]]:
    """Two namespaces with a cable between them, in both families; the first of them, and the ends."""
    one, other = make_net(), make_net()
    one.run(f"ip link add eth0 type veth peer name eth0 netns {other.name}")
    for number, net in enumerate((one, other), 1):
        net.run(f"ip address add 10.0.0.{number}/24 dev eth0")
        net.run(f"ip address add fd00::{number}/64 dev eth0 nodad")
        net.run("ip link set eth0 up")
    pairs = [
        (
            End("one", namespace.NAMED / one.name, ip_address(f"{network}1")),
            End("other", namespace.NAMED / other.name, ip_address(f"{network}2")),
        )
        for network in ("10.0.0.", "fd00::")
    ]
    return one, pairs
