"""Whole labs through the command line, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.lab.person import Person

ASK = """
import json, socket, sys
for address, port in json.loads(sys.argv[1]):
    with socket.create_connection((address, port), timeout=5) as connection:
        print(connection.makefile().readline(), end="")
"""

_number = count(1)


@dataclass
class Runner(Person):
    """Somebody who runs `nankeen lab`."""

    names: list[str] = field(default_factory=list)

    def name(self) -> str:
        """A new name for a lab; what still stands of it at the end is taken down."""
        self.names.append(f"t{os.getpid()}-{next(_number)}")
        return self.names[-1]

    def start(self, *words: str, **streams: Any) -> subprocess.Popen[str]:  # noqa: ANN401  (those of Popen)
        return super().start("lab", *words, **streams)

    def json(self, *words: str, status: int = 0) -> Any:  # noqa: ANN401 (a document)
        returned, out, err = self.run(*words, "--json")
        assert returned == status, err
        return json.loads(out)

    def up(self, *words: str) -> dict[str, Any]:
        """The record of a new lab."""
        lab: dict[str, Any] = self.json("up", "--name", self.name(), *words)
        return lab

    def ask(self, lab: str, member: str, addresses: list[tuple[str, int]]) -> list[dict[str, str]]:
        """What containers answer somebody who asks them from a member of the lab."""
        command = (sys.executable, "-c", ASK, json.dumps(addresses))
        returned, out, err = self.run("exec", "--name", lab, member, "--", *command)
        assert returned == 0, err
        return [json.loads(line) for line in out.splitlines()]


@pytest.fixture(params=["root", "ordinary user"])
def someone(request: pytest.FixtureRequest) -> Iterator[Runner]:
    runner = Runner.named(request.param)
    yield runner
    for name in runner.names:
        runner.run("down", "--name", name)


def home(lab: dict[str, Any]) -> Path:
    return Path(lab["directory"])


def addresses(pod: dict[str, Any]) -> list[str]:
    return [interface.partition("/")[0] for interface in pod["addresses"]]


def namespaces_of(pid: int) -> set[str]:
    """The network namespaces of all processes that are in the same PID namespace."""
    spaces = {process: _links(process) for process in Path("/proc").iterdir() if process.name.isdigit()}
    own = _links(Path(f"/proc/{pid}"))
    return {links["net"] for links in spaces.values() if links and links["pid"] == own["pid"]}


def users_of(networks: set[str]) -> list[Path]:
    return [p for p in Path("/proc").iterdir() if p.name.isdigit() and _links(p).get("net") in networks]


def _links(process: Path) -> dict[str, str]:
    try:
        return {kind: str((process / "ns" / kind).readlink()) for kind in ("net", "pid")}
    except OSError:
        return {}


def assert_nothing_is_left(name: str, directory: Path, networks: set[str]) -> None:
    assert users_of(networks) == []
    assert not directory.exists()
    assert list(Path("/run/netns").glob(f"{name}-*")) == []
    assert name not in Path("/proc/self/mountinfo").read_text()


def test_every_pod_reaches_every_other_at_its_own_address(someone: Runner) -> None:
    lab = someone.up("--nodes", "3", "--pods", "4", "--family", "dual")
    assert [pod["node"] for pod in lab["pods"]] == ["node1", "node2", "node3", "node1"]
    assert [addresses(pod)[0] for pod in lab["pods"]] == ["10.244.1.2", "10.244.2.2", "10.244.3.2", "10.244.1.3"]
    for pod in lab["pods"]:
        others = [other for other in lab["pods"] if other != pod]
        asked = [(address, 8080) for other in others for address in addresses(other)]
        answers = someone.ask(lab["name"], pod["name"], asked)
        assert [answer["container"] for answer in answers] == [f"{o['name']}/c1" for o in others for _ in range(2)]
        assert [answer["address"] for answer in answers] == [address for address, _ in asked]
        assert {answer["client"] for answer in answers} == set(addresses(pod))


def test_status_finds_every_agent_in_step_and_tells_when_one_is_not(someone: Runner) -> None:
    lab = someone.up("--nodes", "2", "--pods", "1")
    report = someone.json("status", "--name", lab["name"])
    assert [(node["agent"], node["peers"], node["differences"]) for node in report["nodes"]] == [("ready", 1, [])] * 2
    assert [node["lease"] for node in report["nodes"]] == [["10.244.1.0/24"], ["10.244.2.0/24"]]
    freeze = "for p in /proc/[0-9]*; do [ $(cat $p/comm) != node1 ] || kill -STOP ${p#/proc/}; done"
    script = f"{freeze}; ip route delete 10.244.2.0/24"
    assert someone.run("exec", "--name", lab["name"], "node1", "--", "sh", "-c", script)[0] == 0
    report = someone.json("status", "--name", lab["name"], status=1)
    assert report["nodes"][0]["differences"] == ["+ 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink"]
    assert report["nodes"][1]["differences"] == []


def test_exec_passes_on_output_and_exit_status(someone: Runner) -> None:
    lab = someone.up("--nodes", "1", "--pods", "1")

    def run(member: str, *command: str) -> tuple[int, str, str]:
        return someone.run("exec", "--name", lab["name"], member, "--", *command)

    assert run("node1", "sh", "-c", "hostname; exit 7") == (7, "node1\n", "")
    assert run("pod1", "sh", "-c", "hostname; kill -9 $$") == (137, "pod1\n", "")
    assert run("pod1", "no-such-command")[0] == 127
    assert run("node1", "cat", "/run/flannel/subnet.env")[1].splitlines()[1] == "FLANNEL_SUBNET=10.244.1.1/24"
    assert run("node1", "ls", "/sys/class/net")[1].split()[:3] == ["cni0", "eth0", "flannel.1"]
    assert run("pod1", "sh", "-c", "ls -d /proc/[0-9]* | wc -l")[1].strip() <= "4"
    returned, _, complaint = run("pod9", "true")
    assert (returned, "there is no 'pod9' in it" in complaint) == (1, True)


def test_a_pods_containers_share_one_address_and_reach_each_other_over_localhost(someone: Runner) -> None:
    lab = someone.up("--nodes", "2", "--pods", "0")
    pod = someone.json("pod", "add", "--name", lab["name"], "--node", "node2", "--containers", "2")
    assert pod["node"] == "node2"
    assert pod["shared"] is True
    assert [(talk["asks"], talk["answers"]) for talk in pod["localhost"]] == [("c1", "pod1/c2"), ("c2", "pod1/c1")]
    assert {tuple(talk["sees"]) for talk in pod["localhost"]} == {tuple(addresses(pod))}
    answers = someone.ask(lab["name"], "node1", [(addresses(pod)[0], 8080), (addresses(pod)[0], 8081)])
    assert [answer["container"] for answer in answers] == ["pod1/c1", "pod1/c2"]


def test_a_port_of_a_node_leads_to_the_pod_that_asked_for_it_as_long_as_it_is_there(someone: Runner) -> None:
    lab = someone.up("--nodes", "2", "--pods", "1")
    name, port = lab["name"], ("--node", "node1", "--publish", "80:8080")
    pod = someone.json("pod", "add", "--name", name, *port)
    node1 = next(node for node in lab["nodes"] if node["name"] == "node1")["addresses"][0].partition("/")[0]
    for asking in ("node2", "node1", "pod1", pod["name"]):
        assert [answer["address"] for answer in someone.ask(name, asking, [(node1, 80)])] == addresses(pod)
    returned, _, complaint = someone.run("pod", "add", "--name", name, *port)
    assert (returned, "tcp port 80 is taken" in complaint) == (1, True)
    someone.json("pod", "del", "--name", name, pod["name"])
    someone.json("pod", "add", "--name", name, *port)


def test_a_deleted_pod_leaves_its_node_as_it_was(someone: Runner) -> None:
    lab = someone.up("--nodes", "1", "--pods", "1")
    name = lab["name"]
    devices = ("exec", "--name", name, "node1", "--", "ls", "/sys/class/net", "/var/lib/cni/networks/cbr0")
    before = someone.run(*devices)[1].split()
    pod = someone.json("pod", "add", "--name", name)
    assert pod["name"] == "pod2"
    assert len(someone.run(*devices)[1].split()) == len(before) + 2  # its host interface, and its address on file
    someone.json("pod", "del", "--name", name, "pod2")
    left = set(someone.run(*devices)[1].split()) ^ set(before)
    assert left <= {"last_reserved_ip.0"}
    assert someone.run("pod", "del", "--name", name, "pod2")[0] == 1


def test_pods_keep_their_network_when_an_agent_is_killed_and_it_comes_back_in_step(someone: Runner) -> None:
    lab = someone.up("--nodes", "2", "--pods", "2")
    name, asked = lab["name"], [(addresses(lab["pods"][1])[0], 8080)]
    kill = f"kill -9 {lab['nodes'][0]['agent']}"
    assert someone.run("exec", "--name", name, "node1", "--", "sh", "-c", kill)[0] == 0
    assert [answer["container"] for answer in someone.ask(name, "pod1", asked)] == ["pod2/c1"]
    someone.json("restart", "--name", name, "node1")
    assert [answer["container"] for answer in someone.ask(name, "pod1", asked)] == ["pod2/c1"]


def test_two_labs_stand_side_by_side_with_the_same_addresses(someone: Runner) -> None:
    one, two = someone.up("--nodes", "2", "--pods", "2"), someone.up("--nodes", "2", "--pods", "2")
    assert [pod["addresses"] for pod in one["pods"]] == [pod["addresses"] for pod in two["pods"]]
    running = {lab["name"]: lab["state"] for lab in someone.json("list")}
    assert running[one["name"]] == running[two["name"]] == "running"
    someone.json("down", "--name", one["name"])
    answers = someone.ask(two["name"], "pod1", [(addresses(two["pods"][1])[0], 8080)])
    assert answers[0]["client"] == addresses(two["pods"][0])[0]


def test_nodes_in_two_subnets_reach_each_other_through_a_router(someone: Runner) -> None:
    members = ["sw1: {kind: switch}", "sw2: {kind: switch}", "r1: {kind: router}"]
    members += ["node1: {kind: node}", "node2: {kind: node}"]
    members += ["pod1: {kind: pod, node: node1}", "pod2: {kind: pod, node: node2}"]
    links = ["node1:eth0 sw1:p1", "node2:eth0 sw2:p1", "r1:eth0 sw1:p2", "r1:eth1 sw2:p2"]
    ends = ", ".join("{endpoints: [" + ", ".join(f'"{end}"' for end in link.split()) + "]}" for link in links)
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        file.write(f"topology: {{nodes: {{{', '.join(members)}}}, links: [{ends}]}}")
        file.flush()
        os.fchmod(file.fileno(), 0o644)
        lab = someone.up(file.name)
    assert [node["addresses"] for node in lab["nodes"]] == [["192.168.0.11/24"], ["192.168.1.11/24"]]
    assert lab["routers"][0]["addresses"] == ["192.168.0.1/24", "192.168.1.1/24"]
    answers = someone.ask(lab["name"], "pod1", [("10.244.2.2", 8080)])
    assert answers[0]["client"] == "10.244.1.2"


def test_a_name_that_is_taken_is_told_with_its_remedy_and_harms_nobody(someone: Runner) -> None:
    lab = someone.up("--nodes", "1", "--pods", "0")
    returned, out, err = someone.run("up", "--name", lab["name"])
    assert (returned, out) == (1, "")
    assert "exists already; take it down" in err
    assert someone.json("status", "--name", lab["name"])["state"] == "running"


def test_a_namespace_that_has_a_labs_name_already_is_left_alone(someone: Runner) -> None:
    if someone.prefix or os.geteuid():
        pytest.skip("needs root: others have names of their own")
    name = someone.name()
    subprocess.run(["ip", "netns", "add", f"{name}-node1"], check=True)
    try:
        returned, _, err = someone.run("up", "--name", name)
        assert (returned, f"{name}-node1 exists already" in err) == (1, True)
        assert Path(f"/run/netns/{name}-node1").exists()
        assert name not in [lab["name"] for lab in someone.json("list")]
    finally:
        subprocess.run(["ip", "netns", "delete", f"{name}-node1"], check=True)


def test_a_backend_that_the_kernel_lacks_is_named_and_nothing_is_left(someone: Runner) -> None:
    name = someone.name()
    returned, _, err = someone.run("up", "--name", name, "--backend", "wireguard")
    if returned == 0:
        pytest.skip("this kernel has WireGuard")
    assert "nankeen: the kernel has no wireguard: load the module `wireguard`, or choose another backend\n" in err
    assert name not in {lab["name"] for lab in someone.json("list")}


@pytest.mark.parametrize(
    "words",
    [
        ("up", "--name", "No!"),
        ("up", "--nodes", "0"),
        ("up", "--nodes", "many"),
        ("up", "--backend", "pigeon"),
        ("up", "--registry", "paper"),
        ("up", "/nonexistent.yml"),
        ("up", "/nonexistent.yml", "--nodes", "3"),
        ("exec", "node1"),
    ],
)
def test_a_wrong_request_is_told_in_one_line_and_builds_nothing(someone: Runner, words: tuple[str, ...]) -> None:
    returned, out, err = someone.run(*words)
    assert (returned, out) == (2, "")
    assert err.count("\n") == 1


@pytest.mark.parametrize("victim", ["nobody", "supervisor", "agent", "pause"])
def test_down_leaves_nothing_whoever_was_killed_before(someone: Runner, victim: str) -> None:
    lab = someone.up("--nodes", "2", "--pods", "2")
    pid = lab["supervisor"]["pid"]
    networks = namespaces_of(pid)
    assert len(networks) == 5  # the supervisor's own, two nodes, two pods
    inside = {"agent": lab["nodes"][0]["agent"], "pause": int(Path(lab["pods"][0]["namespaces"]["ipc"]).parts[2])}
    if victim == "supervisor":
        os.kill(pid, signal.SIGKILL)
    elif victim in inside:
        someone.run("exec", "--name", lab["name"], "node1", "--", "sh", "-c", f"kill -9 {inside[victim]}")
    someone.json("down", "--name", lab["name"])
    assert_nothing_is_left(lab["name"], home(lab), networks)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("stage", ["underlay", "agents", "pods"])
def test_an_interrupted_lab_up_leaves_nothing_after_down(someone: Runner, number: signal.Signals, stage: str) -> None:
    name = someone.name()
    process = someone.start("up", "--name", name, "--nodes", "3", "--pods", "3")
    assert process.stderr is not None
    while not process.stderr.readline().startswith(stage):
        assert process.poll() is None
    process.send_signal(number)
    process.communicate(timeout=30)
    listed = [lab for lab in someone.json("list") if lab["name"] == name]
    if number != signal.SIGKILL:
        assert listed == []  # it has taken down what it had built
    if listed:
        someone.json("down", "--name", name)
    assert someone.run("down", "--name", name)[0] == 1
    assert list(Path("/run/netns").glob(f"{name}-*")) == []
    assert name not in Path("/proc/self/mountinfo").read_text()
