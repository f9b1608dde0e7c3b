"""Which news of netfilter's concern the agent."""

from __future__ import annotations

import pytest

from nankeen.kernel.firewall import _concerns_us
from nankeen.kernel.netlink.nftables import INET, IPV4, IPV6


@pytest.mark.parametrize(
    "what",
    [
        (INET, "nankeen", ""),
        (INET, "nankeen", "input"),
        (IPV4, "filter", "FORWARD"),
        (IPV6, "filter", "NANKEEN-FWD"),
    ],
)
def test_our_own_table_and_the_chains_we_add_to_are_news(what: tuple[int, str, str]) -> None:
    assert _concerns_us(what)


@pytest.mark.parametrize(
    "what",
    [
        (IPV4, "nankeen", "input"),
        (IPV4, "filter", "KUBE-FORWARD"),
        (INET, "filter", "FORWARD"),
        (IPV4, "kube-proxy", "services"),
        None,
    ],
)
def test_what_others_do_in_tables_of_their_own_is_not(what: tuple[int, str, str] | None) -> None:
    assert not _concerns_us(what)
