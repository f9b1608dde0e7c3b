"""A real charon, in a namespace and a /run of its own: it is started, told, asked by strongSwan's own tool, and ended.

Each story runs in a process of its own there, and prints what it has seen, one line of JSON for each.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, indent
from typing import TYPE_CHECKING, Any

import pytest

from nankeen.kernel import charon
from nankeen.kernel.netlink import link
from nankeen.model.errors import KernelError

if TYPE_CHECKING:
    from tests.kernel.conftest import Net

ROOT = Path(__file__).parents[2]
FRAME = """
import asyncio, json, os, subprocess, time
from dataclasses import replace
from ipaddress import ip_address, ip_network
from nankeen.backend import Node, Underlay, open_backend
from nankeen.kernel.charon import PID_FILE, Charon
from nankeen.kernel.ike import Ike
from nankeen.model.diff import Claim
from nankeen.model.lease import Endpoint, Lease, Reach
from nankeen.model.netconf import BackendConfig

backend = open_backend(BackendConfig("ipsec", {"PSK": "no-one-else-knows-" * 6}))
networks = (ip_network("10.5.0.0/16"),)
node = Node("node1", Underlay("eth0", 1500, (ip_address("10.99.0.1"),)), networks, (ip_network("10.5.1.0/24"),))
node2 = Node("node2", Underlay("eth0", 1500, (ip_address("10.99.0.2"),)), networks, (ip_network("10.5.2.0/24"),))
claim = Claim(networks=frozenset(networks))

def state(*numbers, backend=backend, here=1):
    return backend.state({1: node, 2: node2}[here], [
        Lease(f"node{n}", "ipsec", (Endpoint(ip_network(f"10.5.{n}.0/24"), Reach(ip_address(f"10.99.0.{n}"))),))
        for n in numbers
    ])

def tell(what):
    print(json.dumps(what), flush=True)

async def held(vici):
    conns = (await vici.request("get-conns", {})).get("conns", [])
    keys = (await vici.request("get-shared", {})).get("keys", [])
    tell([sorted(name.decode() for name in names) for names in (conns, keys)])

async def story():
STORY

async def main():
    try:
        await story()
    finally:
        await Charon().stop()

asyncio.run(main())
"""


@pytest.fixture
def node(net: Net) -> Net:
    try:
        charon.find()
    except KernelError as error:
        pytest.skip(str(error))
    net.run("ip link add eth0 type bridge")
    net.run("ip address add 10.99.0.1/24 dev eth0")
    net.run("ip link set eth0 up")
    return net


def begun(net: Net, story: str) -> subprocess.Popen[str]:
    """A story that is being told."""
    code = FRAME.replace("STORY", indent(dedent(story), "    "))
    return subprocess.Popen(
        ["ip", "netns", "exec", net.name, "sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$0" -c "$1"',
         sys.executable, code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip


def told(net: Net, story: str) -> list[Any]:
    """What a story saw."""
    with begun(net, story) as one:
        seen, complaint = one.communicate(timeout=90)
    assert one.returncode == 0, complaint
    return [json.loads(line) for line in seen.splitlines()]


def test_connections_and_secrets_come_and_go_with_the_peers(node: Net) -> None:
    seen = told(
        node,
        """
        vici, ike = await Charon().connect(), Ike()
        for peers in ((2, 3), (3, 4), ()):
            tell([str(refusal) for refusal in await ike.converge(vici, state(*peers), claim)])
            await held(vici)
        """,
    )

    def connection(number: int) -> str:
        return f"10.99.0.1-10.5.1.0/24-10.5.{number}.0/24-10.99.0.{number}"

    def secret(number: int) -> str:
        return f"nankeen-10.99.0.{number}"

    assert seen == [
        [], [[connection(2), connection(3)], [secret(1), secret(2), secret(3)]],
        [], [[connection(3), connection(4)], [secret(1), secret(3), secret(4)]],
        [], [[], [secret(1)]],
    ]  # fmt: skip


def test_a_connection_is_what_flannel_would_have_made(node: Net) -> None:
    if shutil.which("swanctl") is None:
        pytest.skip("swanctl is not installed")
    (text,) = told(
        node,
        """
        await Ike().converge(await Charon().connect(), state(2), claim)
        tell((await asyncio.to_thread(subprocess.check_output, ["swanctl", "--list-conns", "--raw"])).decode())
        """,
    )
    assert (
        "{10.99.0.1-10.5.1.0/24-10.5.2.0/24-10.99.0.2 "
        "{local_addrs=[10.99.0.1] remote_addrs=[10.99.0.2] version=IKEv2 " in text
    )
    assert text.count("{class=pre-shared key ") == 2
    assert "children {10.5.1.0/24-10.5.2.0/24 {mode=TUNNEL rekey_time=3600 " in text
    assert "local-ts=[10.5.1.0/24] remote-ts=[10.5.2.0/24]" in text


def test_two_nodes_believe_each_other(node: Net, make_net: Callable[[], Net]) -> None:
    """They agree on an IKE SA; what the kernel makes of the keys is its own matter."""
    far = make_net()
    node.socket.request(link.veth("port0", "eth0", far.namespace.descriptor), "port0")
    node.run("ip link set port0 master eth0 up")
    far.run("ip address add 10.99.0.2/24 dev eth0")
    far.run("ip link set eth0 up")
    story = """
        vici = await Charon().connect()
        assert await Ike().converge(vici, state(3 - NUMBER, here=NUMBER), claim) == []
        async with asyncio.timeout(60):
            while True:
                sas = (await vici.request("stats", {}))["ikesas"]
                if int(sas["total"]) - int(sas["half-open"]) > 0:
                    break
                await asyncio.sleep(0.1)
        tell("agreed")
        await asyncio.to_thread(input)  # the other one may still be at it
    """
    stories = [begun(net, story.replace("NUMBER", number)) for net, number in ((node, "1"), (far, "2"))]
    try:
        assert [one.stdout.readline() for one in stories if one.stdout is not None] == ['"agreed"\n'] * 2
    finally:
        for one in stories:
            one.communicate("\n", timeout=60)
    assert [one.returncode for one in stories] == [0, 0]


def test_charon_adds_no_policies_of_its_own_and_takes_none_away(node: Net) -> None:
    node.run(
        "ip xfrm policy add src 10.5.1.0/24 dst 10.5.2.0/24 dir out "
        "tmpl src 10.99.0.1 dst 10.99.0.2 proto esp reqid 11 mode tunnel"
    )
    before = node.run("ip xfrm policy")
    told(node, "await Ike().converge(await Charon().connect(), state(2), claim)")
    assert node.run("ip xfrm policy") == before


def test_a_charon_that_runs_is_taken_over_with_what_it_has(node: Net) -> None:
    first, second, refused, held = told(
        node,
        """
        await Ike().converge(await Charon().connect(), state(2, 3), claim)
        tell(PID_FILE.read_text())
        again = await Charon().connect()
        tell(PID_FILE.read_text())
        tell([str(refusal) for refusal in await Ike().converge(again, state(2), claim)])
        await held(again)
        """,
    )
    assert first == second
    assert refused == []
    assert held == [["10.99.0.1-10.5.1.0/24-10.5.2.0/24-10.99.0.2"], ["nankeen-10.99.0.1", "nankeen-10.99.0.2"]]


def test_a_charon_that_died_is_replaced_and_told_everything_again(node: Net) -> None:
    alike, held = told(
        node,
        """
        from nankeen.kernel.ipsec import KeyExchange
        exchange = KeyExchange(None, Charon())
        await exchange.begin(node)
        await exchange.converge(state(2), claim)
        pid = int(PID_FILE.read_text())
        await Charon().stop()
        try:
            await exchange.converge(state(2), claim)
        except Exception as error:
            assert "does not answer" in str(error), error
        await exchange.converge(state(2), claim)
        tell("same" if int(PID_FILE.read_text()) == pid else "new")
        await held(await Charon().connect())
        """,
    )
    assert alike == "new"
    assert held[0] == ["10.99.0.1-10.5.1.0/24-10.5.2.0/24-10.99.0.2"]


def test_connections_of_others_are_let_be(node: Net) -> None:
    (held,) = told(
        node,
        """
        vici = await Charon().connect()
        for name in ("office", "10.99.0.1-10.8.1.0/24-10.8.2.0/24-10.99.0.9"):
            await vici.request("load-conn", {name: {"children": {"c": {}}, "local": {}, "remote": {}}})
        await vici.request("load-shared", {"id": "ike-office", "type": "IKE", "data": "x", "owners": ["o"]})
        await Ike().converge(vici, state(), claim)
        await held(vici)
        """,
    )
    assert held == [["10.99.0.1-10.8.1.0/24-10.8.2.0/24-10.99.0.9", "office"], ["ike-office", "nankeen-10.99.0.1"]]


def test_what_charon_refuses_is_told_of_its_connection(node: Net) -> None:
    refused, held = told(
        node,
        """
        wrong = open_backend(BackendConfig("ipsec", {"PSK": "x" * 96, "ESPProposal": "nonsense"}))
        vici = await Charon().connect()
        tell([str(refusal) for refusal in await Ike().converge(vici, state(2, backend=wrong), claim)])
        await held(vici)
        """,
    )
    (reason,) = refused
    assert reason.startswith("ike 10.99.0.1-10.5.1.0/24-10.5.2.0/24-10.99.0.2 esp nonsense: charon refused: ")
    assert held[0] == []


def test_stopping_where_none_runs_is_no_error(node: Net) -> None:
    assert told(node, "await Charon().stop()") == []
