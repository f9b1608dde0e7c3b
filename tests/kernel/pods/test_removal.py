"""Interfaces that go together."""

from __future__ import annotations

import asyncio

import pytest

from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.errors import KernelError
from nankeen.pods import removal
from nankeen.pods.removal import Remover, remove_all
from tests.kernel.conftest import Net


def make_pairs(node: Net, count: int) -> list[str]:
    names = [f"veth{number:08x}" for number in range(count)]
    for name in names:
        node.run(f"ip link add {name} type veth peer name p{name[4:]}")
    return names


def veths(node: Net) -> list[str]:
    return [line.split("@")[0] for line in node.run("ip -brief link show type veth").splitlines()]


async def test_all_who_ask_at_once_are_served_and_nothing_else_goes(node: Net) -> None:
    *names, kept = make_pairs(node, 12)
    remover = Remover()
    stood = await asyncio.gather(*(remover.remove(name) for name in (*names, "veth-nowhere")))
    assert [bool(names) for names in stood] == [True] * 11 + [False]
    assert sorted(veths(node)) == sorted([kept, f"p{kept[4:]}"])


async def test_those_who_come_while_one_is_served_go_in_one_batch(node: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    names = make_pairs(node, 6)
    batches: list[set[str]] = []

    def counted(there: NetlinkSocket, wanted: set[str]) -> None:
        batches.append(set(wanted))
        with there:
            remove_all(there, wanted)

    monkeypatch.setattr(removal, "_remove_and_close", counted)
    remover = Remover()
    await asyncio.gather(*(remover.remove(name) for name in names))
    assert veths(node) == []
    assert len(batches) <= 2
    assert set().union(*batches) == set(names)


async def test_who_is_not_the_cause_of_a_failure_is_served_all_the_same(
    node: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = make_pairs(node, 3)
    calls = []

    def failing_once(there: NetlinkSocket, wanted: set[str]) -> None:
        calls.append(wanted)
        with there:
            if len(calls) == 1:
                raise KernelError("not now")
            remove_all(there, wanted)

    monkeypatch.setattr(removal, "_remove_and_close", failing_once)
    remover = Remover()
    done = await asyncio.gather(*(remover.remove(name) for name in names), return_exceptions=True)
    assert [type(item) for item in done].count(KernelError) == 1
    failed = names[[isinstance(item, KernelError) for item in done].index(True)]
    assert [name for name in names if name in veths(node)] == [failed]
    assert await remover.remove(failed)


def test_a_device_that_has_gone_meanwhile_holds_up_no_other(node: Net) -> None:
    one, other = make_pairs(node, 2)
    node.run(f"ip link del {one}")
    with NetlinkSocket() as there:
        remove_all(there, [one, other])
        remove_all(there, [one, other])
    assert veths(node) == []
