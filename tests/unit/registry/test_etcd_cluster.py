"""An etcd of three members, as production has it: one may go at any moment, and of two nothing can be asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from nankeen.model.errors import RegistryError
from tests.unit.registry.conftest import CONFIG, reach
from tests.unit.registry.etcdserver import Directory, EtcdServer, need_etcd
from tests.unit.registry.test_etcd_faults import again, until

UNHURRIED = ("--heartbeat-interval=50", "--election-timeout=500")
"""Milliseconds: members of a busy machine do not take each other for dead."""


@pytest.fixture
def members(tmp_path: Path) -> Iterator[list[EtcdServer]]:
    need_etcd()
    plain = [EtcdServer(tmp_path / name, UNHURRIED, name=name) for name in ("etcd1", "etcd2", "etcd3")]
    peers = {member.name: member.peer for member in plain}
    made = [replace(member, members=peers) for member in plain]
    with ExitStack() as stack:
        for member in made:
            member.directory.mkdir()
            stack.callback(member.stop)
            member.launch()
        for member in made:
            member.await_ready()
        yield made


@pytest.fixture
def whole(members: list[EtcdServer]) -> Iterator[Directory]:
    """A registry of `CONFIG`, spoken to by all members."""
    made = Directory(members[2])
    made.configure(CONFIG)
    yield made
    made.close()


async def test_a_member_may_go_and_come_back_and_nobody_loses_a_lease(
    members: list[EtcdServer], whole: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nankeen.registry.etcd.RECONNECT", 0.0)
    endpoints = tuple(member.endpoint for member in members)
    here, there = (whole.client(endpoints=endpoints) for _ in range(2))
    lease = await here.acquire("node1", "vxlan", [reach("10.99.0.1")])
    async with aclosing(again(here)) as snapshots:
        await until(snapshots, {"node1"})
        members[0].stop()  # the one that was asked until now
        other = await there.acquire("node2", "vxlan", [reach("10.99.0.2")])
        assert (await until(snapshots, {"node1", "node2"})).leases["node2"] == other
        assert (await here.renew(lease)).subnets == lease.subnets

        members[1].stop()
        with pytest.raises(RegistryError, match=r"has no leader|does not answer|cannot be reached"):
            await there.renew(other)

        members[0].launch()
        members[1].start()
        await there.acquire("node3", "vxlan", [reach("10.99.0.3")])
        after = await until(snapshots, {"node1", "node2", "node3"})
    subnets = [item.subnets for item in after.leases.values()]
    assert len(set(subnets)) == 3
    assert (after.leases["node1"].subnets, after.leases["node2"].subnets) == (lease.subnets, other.subnets)
