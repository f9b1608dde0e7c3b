"""Our nftables table: kept as desired, found out when changed, gone when told, and nobody else's touched."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nankeen.kernel import program
from nankeen.kernel.firewall import PacketFilter, PacketFilterMonitor
from nankeen.kernel.netlink import nftables
from nankeen.kernel.netlink.netfilter import NetfilterSocket
from nankeen.kernel.netlink.socket import split
from nankeen.model.errors import KernelError
from nankeen.model.firewall import NO_FIREWALL, Firewall
from tests.kernel.firewall.world import firewall

if TYPE_CHECKING:
    from tests.kernel.conftest import Net

WANTED = firewall(peers=(2, 3), ip_masq=True)
LIST = "nft --stateless --terse list table inet nankeen"
DAMAGES = [
    "nft flush ruleset",
    "nft delete table inet nankeen",
    "nft flush table inet nankeen",
    "nft flush chain inet nankeen tunnel",
    "nft insert rule inet nankeen tunnel accept",
    "nft add rule inet nankeen postrouting ip saddr 10.244.0.0/16 masquerade",
    "nft add chain inet nankeen input { policy drop ; }",
    "nft add table inet nankeen { flags dormant ; }",
    "nft add chain inet nankeen other",
    "nft add set inet nankeen other { type ipv4_addr ; }",
    "nft flush set inet nankeen peers4",
    "nft delete element inet nankeen peers6 { fd50::2 }",
    "nft add element inet nankeen peers4 { 192.0.2.66 }",
]


@pytest.fixture
def packet_filter(net: Net) -> Iterator[PacketFilter]:
    with closing(PacketFilter(net.namespace)) as opened:
        yield opened


def peers(net: Net, name: str) -> str:
    return " ".join(net.run(f"nft list set inet nankeen {name}").split())


def test_the_kernel_holds_what_is_desired_in_the_words_that_nft_prints(net: Net, packet_filter: PacketFilter) -> None:
    assert packet_filter.converge(WANTED) == ["+ table inet nankeen"]
    assert net.run(LIST) == f"{WANTED.table}\n"
    assert "elements = { 192.168.50.2, 192.168.50.3 }" in peers(net, "peers4")
    assert "elements = { fd50::2, fd50::3 }" in peers(net, "peers6")


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_repaired(net: Net, packet_filter: PacketFilter, damage: str) -> None:
    packet_filter.converge(WANTED)
    net.run(damage)
    assert packet_filter.converge(WANTED) != []
    assert net.run(LIST) == f"{WANTED.table}\n"
    assert "elements = { 192.168.50.2, 192.168.50.3 }" in peers(net, "peers4")
    assert "elements = { fd50::2, fd50::3 }" in peers(net, "peers6")
    assert packet_filter.converge(WANTED) == []


@pytest.mark.parametrize("damage", DAMAGES)
async def test_the_kernel_tells_of_damage(net: Net, packet_filter: PacketFilter, damage: str) -> None:
    packet_filter.converge(WANTED)
    with PacketFilterMonitor(net.namespace) as monitor:
        net.run(damage)
        async with asyncio.timeout(10):
            await anext(monitor.changes())


async def test_what_is_done_by_ones_own_socket_is_no_news(net: Net, packet_filter: PacketFilter) -> None:
    packet_filter.converge(WANTED)
    with PacketFilterMonitor(net.namespace, frozenset({packet_filter.port})) as monitor:
        packet_filter.step(WANTED, firewall(peers=(3, 4), ip_masq=True))
        net.run("nft add table inet nankeen-ports")
        async with asyncio.timeout(10):
            assert await anext(monitor.changes()) == {"nankeen-ports"}


async def test_news_say_which_table_and_chain_they_are_about(net: Net) -> None:
    seen = set()
    with NetfilterSocket(net.namespace, nftables.GROUP) as listener:
        net.run("iptables-nft -N KUBE-SERVICES")
        net.run("iptables-nft -A FORWARD -j KUBE-SERVICES")
        net.run("nft add table ip6 last")
        async with asyncio.timeout(10):
            while (nftables.IPV6, "last", "") not in seen:
                data = await listener.receive()
                seen |= {nftables.touched(kind, body) for kind, _, _, _, body in split(data)}
    assert {(nftables.IPV4, "filter", "KUBE-SERVICES"), (nftables.IPV4, "filter", "FORWARD")} < seen


def test_a_restart_changes_nothing_at_all(net: Net, packet_filter: PacketFilter) -> None:
    packet_filter.converge(WANTED)
    before = net.run("nft --handle list ruleset")
    with closing(PacketFilter(net.namespace)) as again:
        assert again.converge(WANTED) == []
    assert net.run("nft --handle list ruleset") == before


def test_peers_come_and_go_without_the_rules_being_touched(net: Net, packet_filter: PacketFilter) -> None:
    packet_filter.converge(WANTED)
    before = net.run("nft --handle --terse list table inet nankeen")
    assert packet_filter.converge(firewall(peers=(3, 4), ip_masq=True)) == [
        "+ element 192.168.50.4 of set peers4",
        "- element 192.168.50.2 of set peers4",
        "+ element fd50::4 of set peers6",
        "- element fd50::2 of set peers6",
    ]
    assert "elements = { 192.168.50.3, 192.168.50.4 }" in peers(net, "peers4")
    assert net.run("nft --handle --terse list table inet nankeen") == before


def test_a_step_changes_what_is_new_and_leaves_the_rest_unseen(net: Net, packet_filter: PacketFilter) -> None:
    packet_filter.converge(WANTED)
    net.run("nft add element inet nankeen peers4 { 192.0.2.66 }")
    after = firewall(peers=(3, 4), ip_masq=True)
    assert packet_filter.step(WANTED, after) == [
        "+ element 192.168.50.4 of set peers4",
        "- element 192.168.50.2 of set peers4",
        "+ element fd50::4 of set peers6",
        "- element fd50::2 of set peers6",
    ]
    assert packet_filter.converge(after) == ["- element 192.0.2.66 of set peers4"]


@pytest.mark.parametrize("damage", ["nft flush ruleset", "nft delete element inet nankeen peers4 { 192.168.50.2 }"])
def test_a_step_from_what_no_longer_stands_ends_in_what_is_desired(
    net: Net, packet_filter: PacketFilter, damage: str
) -> None:
    packet_filter.converge(WANTED)
    net.run(damage)
    after = firewall(peers=(3,), ip_masq=True)
    assert packet_filter.step(WANTED, after) != []
    assert "elements = { 192.168.50.3 }" in peers(net, "peers4")
    assert packet_filter.converge(after) == []


def test_a_step_to_other_rules_replaces_the_table(packet_filter: PacketFilter) -> None:
    packet_filter.converge(WANTED)
    assert packet_filter.step(WANTED, firewall(peers=(2, 3))) == ["~ table inet nankeen"]


def test_ten_thousand_peers_are_followed_without_a_program_run(
    packet_filter: PacketFilter, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = frozenset(
        address
        for number in range(10_000)
        for address in (IPv4Address("10.0.0.1") + number, IPv6Address("fd50::1") + number)
    )
    packet_filter.converge(WANTED)
    monkeypatch.setattr(program, "find", _nowhere)
    assert packet_filter.converge(replace(WANTED, peers=many)) == [
        "+ 10000 elements of set peers4", "- element 192.168.50.2 of set peers4",
        "- element 192.168.50.3 of set peers4", "+ 9998 elements of set peers6",
    ]  # fmt: skip
    assert packet_filter.converge(replace(WANTED, peers=many)) == []
    gone = IPv4Address("10.0.0.1")
    assert packet_filter.converge(replace(WANTED, peers=many - {gone})) == [f"- element {gone} of set peers4"]


def test_a_changed_wish_replaces_the_table(net: Net, packet_filter: PacketFilter) -> None:
    packet_filter.converge(WANTED)
    other = firewall(peers=(2,), ip_masq=True, fully_random=False)
    assert packet_filter.converge(other) == ["~ table inet nankeen"]
    assert net.run(LIST) == f"{other.table}\n"


@pytest.mark.parametrize("leave", [lambda found: found.remove(), lambda found: found.converge(NO_FIREWALL)])
def test_what_is_not_ours_is_never_touched(
    net: Net, packet_filter: PacketFilter, leave: Callable[[PacketFilter], list[str]]
) -> None:
    net.run("nft add table inet filter")
    net.run("nft add chain inet filter forward { type filter hook forward priority 0 ; policy drop ; }")
    net.run("nft add table ip nankeen")
    before = net.run("nft --handle list ruleset")
    packet_filter.converge(WANTED)
    assert before in net.run("nft --handle list ruleset")
    assert leave(packet_filter) == ["- table inet nankeen"]
    assert net.run("nft --handle list ruleset") == before
    assert leave(packet_filter) == []


def test_without_nft_the_error_names_the_package_and_removal_still_works(
    packet_filter: PacketFilter, monkeypatch: pytest.MonkeyPatch
) -> None:
    packet_filter.converge(WANTED)
    monkeypatch.setattr(program, "find", _nowhere)
    assert packet_filter.converge(WANTED) == []
    with pytest.raises(KernelError, match="nft is not installed; install the package nftables"):
        packet_filter.converge(firewall(peers=(2,)))
    assert packet_filter.remove() == ["- table inet nankeen"]
    assert packet_filter.converge(Firewall()) == []


def test_an_ordinary_user_has_a_packet_filter_in_a_user_namespace() -> None:
    code = (
        "from nankeen.kernel.firewall import PacketFilter\n"
        "from tests.kernel.firewall.world import firewall\n"
        "found = PacketFilter()\n"
        "print(found.converge(firewall(ip_masq=True)), found.converge(firewall(ip_masq=True)), found.remove())\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        ["unshare", "--map-root-user", "--net", sys.executable, "-c", code],
        check=False, capture_output=True, text=True, cwd=root, env={"PYTHONPATH": f"{root}/src:{root}"},
    )  # fmt: skip
    assert done.stdout == "['+ table inet nankeen'] [] ['- table inet nankeen']\n", done.stderr


def _nowhere(_: str) -> None:
    return None
