"""The largest packet that pods leave whole for the udp backend: its segments go by one call."""

from __future__ import annotations

import pytest

from nankeen.model.tunnel import GSO_MAX_SIZE, gso_max_size

_ONE_CALL, _MOST_SEGMENTS = 65_507, 64
_MAX_TCP_HEADER = 320


@pytest.mark.parametrize("headers", [40, 52, 60, 72], ids=["IPv4", "IPv4, timestamps", "IPv6", "IPv6, timestamps"])
@pytest.mark.parametrize("mtu", [1280, 1372, 1422, 1452, 1472, 4000, 8972])
def test_the_segments_of_the_largest_packet_fit_one_call_and_nearly_fill_it(mtu: int, headers: int) -> None:
    segments = (gso_max_size(mtu) - 1 - _MAX_TCP_HEADER) // (mtu - headers)
    assert segments <= _MOST_SEGMENTS
    assert segments * mtu <= _ONE_CALL < (segments + 2) * mtu


def test_it_is_never_more_than_the_kernels_own() -> None:
    assert all(gso_max_size(mtu) <= GSO_MAX_SIZE for mtu in range(68, 65_000, 97))
