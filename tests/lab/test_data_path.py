"""The udp backend's data path: a process that is killed, that an agent ends, that agents leave to each other."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nankeen.model.errors import KernelError
from nankeen.tunnel.client import Client
from tests.lab.standing import network, standing, undisturbed

if TYPE_CHECKING:
    from tests.lab.standing import Standing

SOURCE = Path(__file__).parents[2] / "src"
ORDINARY = 61235
"""A user ID that nobody has."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Standing]:
    with standing(network({"Type": "udp"})) as made:
        yield made


async def carrying(lab: Standing, node: str, *besides: int) -> int:
    """The process that knows the way to the other node, as soon as it is none of those."""
    path = lab.node(node).directory / "run/nankeen/tunnel.sock"
    async with asyncio.timeout(20):
        while True:
            with suppress(KernelError):
                client = await Client.connect(path)
                try:
                    if client.pid not in besides and (await client.report()).peers:
                        return client.pid
                finally:
                    client.close()
            await asyncio.sleep(0.02)


async def replaced(lab: Standing, before: int) -> None:
    """Returns when another process carries node1's packets. The device has a carrier again only when the kernel comes
    to that, which may have other devices to see to first (linkwatch); until then it drops what is sent.
    """
    await carrying(lab, "node1", before)
    await lab.settled(lambda: "NO-CARRIER" not in lab.tool("node1", "ip link show flannel0"))


@pytest.mark.parametrize("kill", [False, True], ids=["SIGTERM", "SIGKILL"])
async def test_it_goes_on_while_its_agent_ends_and_another_starts(lab: Standing, *, kill: bool) -> None:
    before = await carrying(lab, "node1")
    async with undisturbed(lab):
        await lab.restart("node1", kill=kill)
    assert await carrying(lab, "node1") == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
async def test_one_that_somebody_ends_is_back_at_once_and_pods_with_it(lab: Standing, number: int) -> None:
    before = await carrying(lab, "node1")
    os.kill(before, number)
    await replaced(lab, before)
    async with undisturbed(lab):
        pass


async def test_one_that_does_not_answer_is_replaced(lab: Standing) -> None:
    """An audit asks it; an agent that starts does so, too."""
    before = await carrying(lab, "node1")
    os.kill(before, signal.SIGSTOP)
    await lab.restart("node1", kill=True)
    await replaced(lab, before)
    async with undisturbed(lab):
        pass


async def test_it_is_the_only_one_of_its_node_and_in_no_session_of_the_agents(lab: Standing) -> None:
    first, second = await carrying(lab, "node1"), await carrying(lab, "node2")
    assert first != second
    assert os.getsid(first) == first


def test_an_ordinary_users_lab_has_one_too(tmp_path: Path) -> None:
    """Where /dev/net/tun is everybody's, as udev makes it: here in a mount namespace of the test's own."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    device, name = tmp_path / "tun", f"udp-{os.getpid()}"
    os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(10, 200))
    device.chmod(0o666)
    nankeen = f"{sys.executable} -m nankeen"
    script = f"""
        mount --bind {device} /dev/net/tun && exec setpriv --reuid={ORDINARY} --regid={ORDINARY} --clear-groups sh -c '
            {nankeen} lab up --name {name} --backend udp --nodes 2 --family dual && {nankeen} verify --name {name}
            status=$?; {nankeen} lab down --name {name}; exit $status'
    """
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        env={**os.environ, "PYTHONPATH": str(SOURCE)}, cwd="/", check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The pod network model holds" in done.stdout


def test_the_packet_filter_lets_only_peers_send_to_it(lab: Standing) -> None:
    rules = lab.tool("node1", "nft list table inet nankeen")
    assert "udp dport 8285 jump tunnel" in rules
    assert re.search(r'iifname "flannel0" .*drop', rules)
