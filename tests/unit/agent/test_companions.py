"""Companions of backends, called in their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from unittest.mock import Mock

import pytest

from nankeen.agent import companions
from nankeen.agent.companions import Companions
from nankeen.agent.tunnel import DataPath
from nankeen.backend import Node, Underlay, open_backend
from nankeen.kernel.companion import Places
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.steps import Refusal
from nankeen.model.diff import NOTHING, Claim
from nankeen.model.errors import KernelError
from nankeen.model.netconf import BackendConfig
from nankeen.model.state import State
from nankeen.model.tunnel import TunnelSocket

NODE = Node("node1", Underlay("eth0", 1500, (ip_address("192.168.0.11"),)), (ip_network("10.244.0.0/16"),))
BACKEND = open_backend(BackendConfig("vxlan"))


class Noted:
    """A companion that notes what it is asked for, and can be prepared on an able kernel only."""

    def __init__(self, *, able: bool) -> None:
        self.able = able
        self.converged = 0

    async def prepare(self, node: Node) -> Node:
        if not self.able:
            raise KernelError("the kernel has no IPsec")
        return node

    async def begin(self, node: Node) -> None:
        pass

    async def converge(self, desired: State, claim: Claim) -> Sequence[Refusal]:  # noqa: ARG002
        self.converged += 1
        return ()


def data_path() -> DataPath:
    """None runs, and none is wanted."""
    return DataPath(Mock(NetlinkSocket), Path("/nowhere/tunnel.sock"), Path("/nowhere/tunnel.log"))


async def converged_after_preparing(companion: Noted, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(companions, "open_companion", lambda *_: companion)
    all_of_them = Companions(Mock(NetlinkSocket), Places(), data_path())
    try:
        await all_of_them.prepare([BACKEND], NODE)
    except KernelError:
        assert not companion.able
    keeping = asyncio.create_task(all_of_them.keep())
    all_of_them.want(State(), NOTHING)
    await all_of_them.settled()
    keeping.cancel()
    return companion.converged


async def test_a_companion_is_told_what_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await converged_after_preparing(Noted(able=True), monkeypatch) == 1


async def test_a_companion_whose_backend_is_run_no_more_puts_away_what_it_made_and_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = open_backend(BackendConfig("host-gw"))
    made = {BACKEND: Noted(able=True), other: Noted(able=True)}
    monkeypatch.setattr(companions, "open_companion", lambda backend, *_: made[backend])
    all_of_them = Companions(Mock(NetlinkSocket), Places(), data_path())
    keeping = asyncio.create_task(all_of_them.keep())
    for backend in made:
        await all_of_them.prepare([backend], NODE)
        await all_of_them.begin([backend], NODE)
        all_of_them.audit()  # what is wanted is still the former's
        await all_of_them.settled()
        all_of_them.want(State(), NOTHING)
        await all_of_them.settled()
    all_of_them.audit()
    await all_of_them.settled()
    keeping.cancel()
    assert [each.converged for each in made.values()] == [4, 3]


async def test_the_data_path_receives_before_it_is_wanted_to_and_goes_on_until_something_else_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[State] = []

    async def converge(_: DataPath, state: State) -> None:
        asked.append(state)

    monkeypatch.setattr(DataPath, "converge", converge)
    all_of_them = Companions(Mock(NetlinkSocket), Places(), data_path())
    keeping = asyncio.create_task(all_of_them.keep())
    ahead = State([TunnelSocket("flannel0", ip_address("192.168.0.11"), 8285, ip_network("10.244.1.0/24"))])
    await all_of_them.receive(ahead)
    all_of_them.audit()
    await all_of_them.settled()
    all_of_them.want(State(), NOTHING)
    await all_of_them.settled()
    keeping.cancel()
    assert asked == [ahead, ahead, State()]


async def test_a_companion_that_could_not_be_prepared_is_asked_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await converged_after_preparing(Noted(able=False), monkeypatch) == 0
