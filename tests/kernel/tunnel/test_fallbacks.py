"""On a kernel that lacks an offload the same octets arrive, and the report says by which path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kernel.tunnel.lame import Lack
from tests.kernel.tunnel.traffic import bulk, datagrams, send_datagrams
from tests.kernel.tunnel.world import inside

if TYPE_CHECKING:
    from tests.kernel.tunnel.world import Pair

PATHS = [
    ([Lack.GSO], "TUN TSO USO; IPv4 UDP GRO; IPv6 UDP GRO"),
    ([Lack.GSO_BY_DEVICE], "TUN TSO USO; IPv4 UDP GRO; IPv6 UDP GRO"),
    ([Lack.GRO], "TUN TSO USO; IPv4 UDP GSO; IPv6 UDP GSO"),
    ([Lack.USO], "TUN TSO; IPv4 UDP GSO GRO; IPv6 UDP GSO GRO"),
    ([Lack.TSO], "TUN without offloads; IPv4 UDP GSO GRO; IPv6 UDP GSO GRO"),
    (
        [Lack.TSO, Lack.GSO, Lack.GRO],
        "TUN without offloads; IPv4 UDP without offloads; IPv6 UDP without offloads",
    ),
]


@pytest.mark.parametrize("lacks, path", PATHS, ids=[", ".join(lacks) for lacks, _ in PATHS])
def test_without_an_offload_the_same_octets_arrive_and_the_report_says_so(
    pair: Pair, lacks: list[Lack], path: str
) -> None:
    pair.carry(*lacks)
    sent = datagrams([1200] * 100)
    for version in (4, 6):
        for source, target in (pair.sites, pair.sites[::-1]):
            address = inside(target.number, version=version)
            bulk(source.pod, target.pod, address, 3 << 20)
            assert send_datagrams(source.pod, target.pod, address, sent) == sent
    assert pair.one.report().path == path
    assert pair.two.report().path == "TUN TSO USO; IPv4 UDP GSO GRO; IPv6 UDP GSO GRO"
