"""`nankeen walk` on real labs: the steps of each backend, the reasons given for damage, and the command itself."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from nankeen.inspect.walk.account import Account, Report
from nankeen.inspect.walk.conduct import conduct
from nankeen.inspect.walk.request import Protocol, Request
from nankeen.model.address import Family
from tests.lab.standing import Standing, network, pair, standing

MEMBERS = {**pair(), "pod3": {"kind": "pod", "node": "node1"}}
BACKENDS: dict[str, dict[str, Any]] = {
    "vxlan": {"Type": "vxlan"},
    "direct": {"Type": "vxlan", "DirectRouting": True},
    "host-gw": {"Type": "host-gw"},
    "udp": {"Type": "udp"},
}
ROUTED = ["Container route", "Host route", "To the peer", "Delivery"]
BETWEEN_NODES = {
    "vxlan": [
        "Container route",
        "Host route",
        "VXLAN encapsulation",
        "Second encapsulation",
        "UDP to the peer",
        "Decapsulation and delivery",
    ],
    "direct": ROUTED,
    "host-gw": ROUTED,
    "udp": ["Container route", "Host route", "UDP to the peer", "Decapsulation and delivery"],
}


@pytest.fixture(scope="module", params=list(BACKENDS))
def each(request: pytest.FixtureRequest) -> Iterator[tuple[str, Standing]]:
    with standing(network(BACKENDS[request.param]), MEMBERS) as made:
        yield request.param, made


@pytest.fixture(scope="module")
def lab() -> Iterator[Standing]:
    with standing(network({"Type": "vxlan"}), MEMBERS) as made:
        yield made


def walked(lab: Standing, source: str, destination: str, *, reverse: bool = False, **more: Any) -> Report:  # noqa: ANN401
    return conduct(lab.lab, Request(source, destination, **more), reverse=reverse)


def titles(account: Account) -> list[str]:
    return [step.title for step in account.story.steps]


def proven(account: Account) -> bool:
    """Whether a probe was sent and did what was predicted; what it did instead is shown where not."""
    assert account.evidence is not None
    assert account.evidence.holds, account.evidence.instead
    return account.evidence.seen == len(account.story.points)


@pytest.mark.parametrize("family", list(Family), ids=str)
@pytest.mark.parametrize("protocol", list(Protocol), ids=str)
def test_each_backend_is_told_in_its_steps_and_proven(
    each: tuple[str, Standing], family: Family, protocol: Protocol
) -> None:
    backend, lab = each
    report = walked(lab, "pod1", "pod2", reverse=True, family=family, protocol=protocol)
    assert report.back is not None
    for account in report.accounts:
        assert titles(account) == BETWEEN_NODES[backend]
        assert account.story.arrives, account.story.end
        assert proven(account)


@pytest.mark.parametrize("family", list(Family), ids=str)
@pytest.mark.parametrize("source, destination, before, after", [
    ("pod1", "pod3", ["Container route", "Bridge"], 0),
    ("node1", "pod2", [], 1),
    ("node1", "pod1", ["Host route", "Delivery"], 0),
    ("pod1", "node1", ["Container route", "Delivery"], 0),
    ("pod1", "node2", ROUTED, 0),
    ("node1", "node2", ROUTED[1:], 0),
    ("pod1", "pod1", ["Container route"], 0),
])  # fmt: skip
def test_other_ways_have_fewer_steps(
    each: tuple[str, Standing], family: Family, source: str, destination: str, before: list[str], after: int
) -> None:
    backend, lab = each
    account = walked(lab, source, destination, family=family).there
    assert titles(account) == (before or BETWEEN_NODES[backend][after:])
    assert account.story.arrives, account.story.end
    assert proven(account)


FORWARD = "add table ip d; add chain ip d c { type filter hook forward priority 0; };"
PORT = "$(bridge link show | cut -d@ -f1 | cut -d' ' -f2 | head -1)"
"""A node's first pod, as a port of its bridge."""
DAMAGES = [
    ("node1", "ip route del 10.244.2.0/24", "ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
     "Host route", "no route to 10.244.2.2", "lacks a route"),
    ("node1", "ip neigh del 10.244.2.0 dev flannel.1",
     "ip neigh replace 10.244.2.0 lladdr {vtep} dev flannel.1 nud permanent",
     "VXLAN encapsulation", "nobody at flannel.1 answers for 10.244.2.0", "lacks a neighbour entry"),
    ("node1", "bridge fdb del {vtep} dev flannel.1",
     "bridge fdb append {vtep} dev flannel.1 dst 192.168.0.12 self permanent",
     "UDP to the peer", "no forwarding entry of flannel.1", "lacks a forwarding entry"),
    ("node1", "sysctl -qw net.ipv4.conf.cni0.forwarding=0", "sysctl -qw net.ipv4.conf.cni0.forwarding=1",
     "Host route", "the host does not forward packets", "forwarding to 1 on node1"),
    ("node1", "ip route add blackhole 10.244.2.2", "ip route del blackhole 10.244.2.2",
     "Host route", "a route says so: blackhole 10.244.2.2", "remove the route on node1"),
    ("node1", "ip route add prohibit 10.244.2.2", "ip route del prohibit 10.244.2.2",
     "Host route", "administratively prohibited", ""),
    ("node1", f"nft '{FORWARD} add rule ip d c ip daddr 10.244.2.2 drop'", "nft delete table ip d",
     "Host route", "the packet filter drops it: ip daddr 10.244.2.2 drop", "who has this rule on node1"),
    ("node1", f"nft '{FORWARD} add rule ip d c ip daddr 10.244.2.2 reject'", "nft delete table ip d",
     "Host route", "port unreachable", "who has this rule on node1"),
    ("node2", "ip link set flannel.1 down", None,
     "Decapsulation and delivery", "no device is up for VNI 1 on UDP port 8472", "compare VNI, port and address"),
    ("node2", "ip link set cni0 down", None,
     "Decapsulation and delivery", "no route to 10.244.2.2", "lacks a route"),
    ("node2", f"ip link set {PORT} down; ip neigh flush dev cni0", f"ip link set {PORT} up",
     "Decapsulation and delivery", "nobody at cni0 answers for 10.244.2.2", "whether the pod or node still runs"),
    ("node2", "sysctl -qw net.ipv4.conf.flannel/1.rp_filter=1; ip route del 10.244.1.0/24",
     "sysctl -qw net.ipv4.conf.flannel/1.rp_filter=0; ip route add 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink",
     "Decapsulation and delivery", "(rp_filter)", "rp_filter of flannel.1"),
    ("node1", "ip link set eth0 mtu 1400", "ip link set eth0 mtu 1500",
     "", "", ""),
]  # fmt: skip
"""Where, what is done and undone (None: by the agent, when it goes on), and what is told: the step, why, what to do.

Where nothing is to be told the packet arrives.
"""


@pytest.fixture(scope="module")
def unattended(lab: Standing) -> Iterator[Standing]:
    """The lab, where no agent repairs anything until it is told to."""
    _tell_agents(lab, "STOP")
    try:
        yield lab
    finally:
        _tell_agents(lab, "CONT")


def _tell_agents(lab: Standing, name: str) -> None:
    """Sends a signal to each. An agent's number is that in the lab's PID namespace: it is sent from there."""
    for node in lab.nodes:
        words = ["lab", "exec", "--name", lab.lab.name, node.name, "--", "kill", f"-{name}", str(node.agent)]
        subprocess.run([sys.executable, "-m", "nankeen", *words], check=True, env=_environment())


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.mark.parametrize("node, done, undone, step, why, what", DAMAGES, ids=[damage[1] for damage in DAMAGES])
async def test_the_reason_given_is_the_damage_done(
    unattended: Standing, node: str, done: str, undone: str | None, step: str, why: str, what: str
) -> None:
    vtep = unattended.tool("node2", "ip -brief link show flannel.1").split()[2]
    unattended.tool(node, done.replace("{vtep}", vtep))
    try:
        account = walked(unattended, "pod1", "pod2", family=Family.IPV4).there
    finally:
        await _undo(unattended, node, undone.replace("{vtep}", vtep) if undone else "")
    assert proven(account), account.story.end
    assert account.story.arrives is not bool(step)
    if step:
        assert (titles(account)[-1], account.story.steps[-1].host) == (step, node)
        assert why in account.story.end
        assert what in account.story.remedy


async def _undo(lab: Standing, node: str, command: str) -> None:
    if command:
        lab.tool(node, command)
        return
    _tell_agents(lab, "CONT")
    await lab.in_step()
    _tell_agents(lab, "STOP")


def test_a_host_port_is_told_with_the_address_that_it_leads_to(lab: Standing) -> None:
    lab.tool(
        "node2",
        "nft 'add table ip d; add chain ip d c { type nat hook prerouting priority -100; };"
        " add rule ip d c tcp dport 8088 dnat to 10.244.2.2:80'",
    )
    try:
        account = walked(lab, "pod1", "192.168.0.12:8088").there
    finally:
        lab.tool("node2", "nft delete table ip d")
    assert account.story.arrives, account.story.end
    assert account.story.steps[-1].tells.endswith("its destination becomes 10.244.2.2")
    assert proven(account)


def command(lab: Standing, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nankeen", "walk", "--name", lab.lab.name, *words],
        check=False,
        capture_output=True,
        text=True,
        env=_environment(),
    )


def test_the_command_prints_a_tree_and_says_by_its_status_whether_the_packet_arrives(lab: Standing) -> None:
    done = command(lab, "pod1", "pod2", "--explain")
    assert done.returncode == 0, done.stderr
    assert "├─ 3. VXLAN encapsulation  on node1" in done.stdout
    assert "an end of a VXLAN tunnel" in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    lost = command(lab, "pod1", "10.244.2.77")
    assert lost.returncode == 1, lost.stderr
    assert "└─ ✗ Answered by node2: ICMP host unreachable" in lost.stdout


def test_programs_get_a_document_and_documents_a_picture(lab: Standing, tmp_path: Path) -> None:
    done = command(lab, "pod1", "pod2", "--json", "--no-probe", "--reverse", "--svg", str(tmp_path / "way.svg"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["lab"], found["holds"], found["back"]["destination"]) == (lab.lab.name, True, "pod1")
    assert "proof" not in found["there"]
    assert ET.parse(tmp_path / "way.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 (made here)
    drawn = command(lab, "pod1", "pod2", "--no-probe", "--svg", "-")
    assert ET.fromstring(drawn.stdout) is not None  # noqa: S314 (made here)


@pytest.mark.parametrize("words, problem", [
    (["pod1", "pd2"], "pd2: there is no such node, pod or address; did you mean pod2"),
    (["pod1", "pod2", "--proto", "gre"], "'gre' is not one of"),
    (["pod1", "pod2", "--dport", "0"], "0 is not in the range"),
    (["pod1", "pod2", "--ttl", "256"], "256 is not in the range"),
    (["pod1", "pod2", "--size", "1"], "its headers alone have 28"),
    (["pod1", "pod2", "--svg", "/nowhere/way.svg"], "/nowhere/way.svg"),
    (["pod1"], "Missing argument 'DST'"),
])  # fmt: skip
def test_a_wrong_request_is_answered_in_words_with_status_2(lab: Standing, words: list[str], problem: str) -> None:
    done = command(lab, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert problem in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_standard_output_takes_one_document(lab: Standing) -> None:
    done = command(lab, "pod1", "pod2", "--svg", "-", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["problem"] == "one thing at a time fits on standard output"


def test_a_terminal_gets_colours_and_its_own_width(lab: Standing) -> None:
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "nankeen", "walk", "--name", lab.lab.name, "pod1", "pod3", "--no-probe"]
    with os.fdopen(ours, "rb", buffering=0) as screen:
        done = subprocess.run(words, check=False, stdout=theirs, env={**_environment(), "COLUMNS": "60", "LINES": "50"})
        os.close(theirs)
        shown = _all_of(screen.fileno())
    assert done.returncode == 0
    assert b"\x1b[32m" in shown
    assert max(len(line) for line in _plain(shown).splitlines()) <= 60


def _all_of(descriptor: int) -> bytes:
    """What was written to a terminal whose other end is closed."""
    found = b""
    while True:
        try:
            found += (chunk := os.read(descriptor, 65536))
        except OSError:  # the terminal's way to say that there is no more (EIO)
            return found
        if not chunk:
            return found


def _plain(shown: bytes) -> str:
    """Without colours (ECMA-48, SGR)."""
    first, *others = shown.decode().split("\x1b[")
    return "".join([first, *(other.partition("m")[2] for other in others)])
