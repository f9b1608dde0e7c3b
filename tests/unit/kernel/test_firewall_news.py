"""Which news of netfilter's concern the agent."""

from __future__ import annotations

import pytest

from nankeen.kernel.firewall import _ours
from nankeen.kernel.netlink.nftables import INET, IPV4, IPV6


@pytest.mark.parametrize(
    "what, table",
    [
        ((INET, "nankeen", ""), "nankeen"),
        ((INET, "nankeen", "input"), "nankeen"),
        ((IPV4, "filter", "FORWARD"), "nankeen"),
        ((IPV6, "filter", "NANKEEN-FWD"), "nankeen"),
        ((INET, "nankeen-ports", ""), "nankeen-ports"),
    ],
)
def test_our_own_tables_and_the_chains_we_add_to_are_news(what: tuple[int, str, str], table: str) -> None:
    assert _ours(what) == table


@pytest.mark.parametrize(
    "what",
    [
        (IPV4, "nankeen", "input"),
        (IPV4, "nankeen-ports", "ports"),
        (IPV4, "filter", "KUBE-FORWARD"),
        (INET, "filter", "FORWARD"),
        (IPV4, "kube-proxy", "services"),
        None,
    ],
)
def test_what_others_do_in_tables_of_their_own_is_not(what: tuple[int, str, str] | None) -> None:
    assert _ours(what) == ""
