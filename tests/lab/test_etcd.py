"""Labs with an etcd of their own: what stands, and that packets do not depend on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from asyncinotify import Inotify, Mask

from tests.lab.standing import network, run, standing, undisturbed
from tests.lab.test_lab import assert_nothing_is_left, home, namespaces_of, someone
from tests.unit.registry.etcdserver import need_etcd

if TYPE_CHECKING:
    from tests.lab.standing import Standing
    from tests.lab.test_lab import Runner

__all__ = ["someone"]

GET = ("etcdctl", "--endpoints=127.0.0.1:2379", "get", "--prefix", "--keys-only", "/coreos.com/network")


@pytest.fixture(autouse=True)
def _etcd_is_there() -> None:
    need_etcd()


def test_twenty_nodes_share_an_etcd_on_their_underlay(someone: Runner) -> None:
    lab = someone.up("--registry", "etcd", "--nodes", "20", "--pods", "2")
    networks = namespaces_of(lab["supervisor"]["pid"])
    assert lab["servers"][0]["addresses"] == ["192.168.0.10/24"]
    report = someone.json("status", "--name", lab["name"])
    assert {(node["agent"], node["peers"], tuple(node["differences"])) for node in report["nodes"]} == {
        ("ready", 19, ())
    }
    _, keys, _ = someone.run("exec", "--name", lab["name"], "etcd", "--", *GET)
    held = {f"/coreos.com/network/subnets/10.244.{number}.0-24" for number in range(1, 21)}
    assert held < set(keys.split())
    returned, _, _ = someone.run("down", "--name", lab["name"])
    assert returned == 0
    assert_nothing_is_left(lab["name"], home(lab), networks)


def test_a_lab_of_ipv6_alone_has_one_too(someone: Runner) -> None:
    lab = someone.up("--registry", "etcd", "--nodes", "2", "--family", "ipv6")
    assert someone.json("status", "--name", lab["name"])["holds"]


@pytest.fixture
def lab() -> Iterator[Standing]:
    with standing(network({"Type": "vxlan"}), registry="etcd") as made:
        yield made


@contextmanager
def stopped(lab: Standing) -> Iterator[None]:
    """Its etcd runs, and answers nobody."""
    signal(lab, "STOP")
    try:
        yield
    finally:
        signal(lab, "CONT")


def signal(lab: Standing, name: str) -> None:
    pid = lab.lab.servers[0].pid
    run("lab", "exec", "--name", lab.lab.name, "etcd", "--", "sh", "-c", f"kill -{name} {pid}")


async def remembered(lab: Standing, node: str, peer: str) -> None:
    """Returns when a node has written to disk that it knows a peer, which it does only every few seconds."""
    file = lab.node(node).directory / "var/lib/nankeen/leases.json"
    with Inotify() as inotify:
        inotify.add_watch(file.parent, Mask.MOVED_TO)
        async with asyncio.timeout(20):
            while not file.exists() or peer not in json.loads(file.read_text())["leases"]:
                await inotify.get()


async def test_packets_flow_while_etcd_is_stopped_and_after_also_where_an_agent_starts_anew(lab: Standing) -> None:
    await remembered(lab, "node1", "node2")
    async with undisturbed(lab):
        with stopped(lab):
            await lab.restart("node1", kill=True)
            told = await lab.told("node1", lambda status: status.ready)
            assert told.peers == 1
            with pytest.raises(AssertionError, match=r"does not answer|cannot be reached"):
                run("lab", "status", "--name", lab.lab.name)
        pod = json.loads(run("lab", "pod", "add", "--name", lab.lab.name, "--json"))
        assert pod["addresses"]
    await lab.told("node1", lambda status: status.ready and not status.reason)
    run("lab", "status", "--name", lab.lab.name)
