"""Leases, configurations and neighbours of bad intent, through the real door: rows of a real registry, a real agent."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from asyncinotify import Inotify, Mask

from nankeen.registry.doorbell import ring

if TYPE_CHECKING:
    from tests.kernel.agent.conftest import Node

Row = tuple[object, object, object, object]

FAR_OFF = 4_000_000_000.0
"""A time of expiry."""
VTEP = '{"VNI":1,"VtepMAC":"02:00:00:00:00:63"}'


LINE = "2026-11-23T05:54:26.123Z info    agent: all is well"


def value(address: str = "192.168.0.99", data: str = VTEP, more: str = "") -> str:
    return f'{{"PublicIP":"{address}","BackendType":"vxlan","BackendData":{data}{more}}}'


HOSTILE: dict[str, Row] = {
    "octets for a name": (b"\xff\xfe", "10.244.90.0-24", value(), FAR_OFF),
    "no name": ("", "10.244.90.0-24", value(), FAR_OFF),
    "a name that clears the screen": ("\x1b[2J\x1b[31m", "10.244.90.0-24", value(), FAR_OFF),
    "a name that writes a line of its own": (f"x\n{LINE}", "10.244.90.0-24", value(), FAR_OFF),
    "a name of 10 kB": ("n" * 10_240, "10.244.90.0-24", value(), FAR_OFF),
    "another name of 10 kB": ("n" * 10_241, "10.244.90.0-24", value(), FAR_OFF),
    "a key that is none": ("a-key", "10.244.90.0/24", value(), FAR_OFF),
    "a number for a key": ("a-number", 7, value(), FAR_OFF),
    "octets for a value": ("a-blob", "10.244.90.0-24", value().encode(), FAR_OFF),
    "a text for an expiry": ("a-time", "10.244.90.0-24", value(), "never" * 5000),
    "a value that is too long": ("a-long", "10.244.90.0-24", value(more=f',"x":"{"x" * 70_000}"'), FAR_OFF),
    "a value that is no JSON": ("a-text", "10.244.90.0-24", "{", FAR_OFF),
    "a value that is too deep": ("a-deep", "10.244.90.0-24", value(data="[" * 990 + "]" * 990), FAR_OFF),
    "half a character": ("a-half", "10.244.90.0-24", value(data='"\\ud800"'), FAR_OFF),
    "a number too large": ("a-huge", "10.244.90.0-24", value(data='{"VNI":1e999}'), FAR_OFF),
    "hundreds of offers": ("a-offers", "10.244.90.0-24", value(more=f',"Offers":[{"{}," * 300}{{}}]'), FAR_OFF),
    "offers of garbage": ("a-garbage", "10.244.90.0-24", value(more=',"Offers":[7]'), FAR_OFF),
    "a subnet outside": ("a-outside", "10.9.0.0-24", value(), FAR_OFF),
    "all of the network": ("a-all", "10.244.0.0-16", value(), FAR_OFF),
    "our own subnet": ("a-ours", "10.244.3.0-24", value(), FAR_OFF),
    "half of our own subnet": ("a-half-ours", "10.244.3.128-25", value(), FAR_OFF),
    "the subnet of another": ("a-theirs", "10.244.1.0-24", value(), FAR_OFF),
    "a larger one around it": ("a-larger", "10.244.0.0-23", value(), FAR_OFF),
    "a smaller one inside it": ("a-smaller", "10.244.1.64-26", value(), FAR_OFF),
    "a zero VTEP": ("a-zero", "10.244.90.0-24", value(data='{"VtepMAC":"00:00:00:00:00:00"}'), FAR_OFF),
    "a VTEP of many": ("a-group", "10.244.90.0-24", value(data='{"VtepMAC":"01:00:5e:00:00:01"}'), FAR_OFF),
    "the VTEP of another": ("a-vtep", "10.244.90.0-24", value(data='{"VtepMAC":"02:00:00:00:00:02"}'), FAR_OFF),
    "an unknown backend": ("a-backend", "10.244.90.0-24", value().replace("vxlan", "v" * 9000), FAR_OFF),
    **{
        f"the address {address}": (f"a-{address}", "10.244.90.0-24", value(address), FAR_OFF)
        for address in (
            "192.168.0.11", "192.168.0.12", "192.168.0.255", "192.168.0.0", "0.0.0.0", "127.0.0.1", "224.0.0.1",  # noqa: S104
            "255.255.255.255", "10.244.1.5", "fd99::1", "::ffff:192.168.0.12", "192.168.0.12\\n", "192.168.0.012",
        )
    },
}  # fmt: skip


def write(node: Node, rows: Iterable[Row]) -> None:
    with closing(sqlite3.connect(node.registry_file)) as table, table:
        table.executemany("INSERT OR REPLACE INTO lease (node, key, value, expires) VALUES (?, ?, ?, ?)", rows)
    ring(node.registry_file)


def execute(node: Node, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(node.registry_file)) as table, table:
        table.execute(statement, values)
    ring(node.registry_file)


async def test_each_hostile_lease_is_refused_alone_and_named_and_nobody_else_notices(node: Node) -> None:
    await node.join(2)
    await node.join(3)
    await node.start()
    stood = node.net.observe()
    write(node, HOSTILE.values())
    status = await node.until(lambda status: len(status.rejected) >= len(HOSTILE))
    assert (len(status.rejected), status.peers, status.ready, status.refused) == (len(HOSTILE), 2, True, ())
    assert node.net.observe() == stood
    assert all(len(name) < 100 and name.isprintable() for name in status.rejected)
    assert all(len(reason) < 300 and reason.isprintable() for reason in status.rejected.values())
    assert all(line.isprintable() and len(line) < 1000 for line in node.log.splitlines())
    assert LINE not in node.log.splitlines()
    good = value("192.168.0.14", '{"VNI":1,"VtepMAC":"02:00:00:00:00:04"}')
    write(node, [("node4", "10.244.91.0-24", good, FAR_OFF)])
    await node.until(lambda status: status.peers == 3)
    execute(node, "DELETE FROM lease WHERE node NOT LIKE 'node_'")
    status = await node.until(lambda status: not status.rejected)
    assert status.peers == 3


async def test_hundreds_of_hostile_leases_make_few_lines(node: Node) -> None:
    await node.join(2)
    await node.start()
    write(node, ((f"a{number}", "10.244.2.0-24", value(), FAR_OFF) for number in range(500)))
    status = await node.until(lambda status: len(status.rejected) == 500)
    assert status.peers == 1
    assert node.log.count("is refused") == 20
    assert "and 480 more" in node.log


@pytest.mark.parametrize("killed", [signal.SIGTERM, signal.SIGKILL])
async def test_a_peer_is_not_pushed_out_by_a_name_that_comes_first_nor_by_a_restart(
    node: Node, killed: signal.Signals
) -> None:
    peer = await node.join(2)
    await node.start()
    await remembers(node, "node2")
    stood = node.net.observe()
    write(
        node,
        [
            ("a1", f"{peer.subnets[0].network_address}-24", value(), FAR_OFF),
            ("a2", "10.244.90.0-24", value("192.168.0.12"), FAR_OFF),
            ("a3", "10.244.91.0-24", value("192.168.0.98", '{"VtepMAC":"02:00:00:00:00:02"}'), FAR_OFF),
        ],
    )
    await node.until(lambda status: len(status.rejected) == 3)
    await node.stop(killed)
    status = await node.start()
    assert (status.peers, sorted(status.rejected)) == (1, ["a1", "a2", "a3"])
    assert node.net.observe() == stood


async def remembers(node: Node, peer: str) -> None:
    """Waits until the agent has written down who its peers are."""
    file = node.directory / "leases.json"
    with Inotify() as inotify:
        inotify.add_watch(node.directory, Mask.MOVED_TO)
        async with asyncio.timeout(20):
            while not file.exists() or peer not in json.loads(file.read_text())["standing"]:
                await inotify.get()


async def test_a_node_whose_own_lease_was_spoiled_takes_it_again(node: Node) -> None:
    first = await node.start()
    stood = node.net.observe()
    execute(node, "UPDATE lease SET value = '{' WHERE node = 'node1'")
    await node.until(lambda status: status.revision > first.revision and status.ready and not status.rejected)
    assert node.net.observe() == stood
    assert "the lease was lost: joining again" in node.log


async def test_a_configuration_that_is_none_changes_nothing_not_even_when_the_registry_comes_back(node: Node) -> None:
    await node.join(2)
    await node.start()
    execute(node, "UPDATE registry SET config = '{'")
    await node.until(lambda status: "config" in status.rejected)
    hidden = node.registry_file.rename(node.directory / "hidden.db")
    await told(node, "the fabric stays as it is: " + str(node.registry_file))
    hidden.rename(node.registry_file)
    await told(node, "the fabric stays as it is: network configuration: not JSON")
    execute(node, "UPDATE registry SET config = ?", '{"Network":"10.244.0.0/16"}')
    await node.join(3)
    status = await node.until(lambda status: status.peers == 2)
    assert status.ready
    assert "stopped" not in node.log


async def told(node: Node, text: str) -> None:
    """Waits for a line of the log."""
    with Inotify() as inotify:
        inotify.add_watch(node.directory / "log", Mask.MODIFY)
        async with asyncio.timeout(20):
            while text not in node.log:
                await inotify.get()


async def test_a_second_agent_of_a_node_is_refused_and_the_first_goes_on(node: Node) -> None:
    await node.start()
    second = replace(node)
    starting = asyncio.create_task(second.start())
    await told(node, "another agent listens there; stop it first")
    starting.cancel()
    assert second.process is not None
    assert await second.process.wait() == 1
    await node.join(2)
    status = await node.until(lambda status: status.peers == 1)
    assert node.process is not None
    assert (status.pid, status.ready) == (node.process.pid, True)


async def test_ten_thousand_neighbours_of_somebody_else_are_no_work_and_hide_nothing(node: Node) -> None:
    await node.join(2)
    await node.start()
    batch = node.directory / "batch"
    lines = [
        f"neigh add 172.16.{number >> 8}.{number & 255} lladdr 02:99:00:00:00:01 dev far" for number in range(10_000)
    ]
    batch.write_text("\n".join(lines) + "\n")
    node.net.run(f"ip -batch {batch}")
    node.net.run("ip route flush dev flannel.1")
    status = await node.until(lambda status: status.repaired > 0)
    assert status.repaired == 1
    assert node.log.count("repairing") == 1
    assert "onlink" in node.net.run("ip route show dev flannel.1")
