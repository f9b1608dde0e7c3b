"""Chains of plugins: all of them ours, and mixed with the reference plugins in either order."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nankeen.cni.install import STAND_INS
from nankeen.kernel import sysctl
from nankeen.kernel.namespace import entered
from nankeen.pods.bandwidth import ifb_name
from tests.kernel.cni.chained import REFERENCE, Chain
from tests.kernel.cni.runtime import Runtime, veths
from tests.kernel.conftest import Net
from tests.unit.cni.conftest import Client, Executed

pytestmark = [
    pytest.mark.parametrize("contents", ["python"], indirect=True),
    pytest.mark.skipif(shutil.which("nft") is None, reason="the program nft is not installed"),
]
INSTALLED = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference plugins are not installed")

ENV = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
LIMITS = {"ingressRate": 16_000_000, "ingressBurst": 1_600_000, "egressRate": 8_000_000, "egressBurst": 800_000}
PORT = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
MAC = "02:00:00:00:00:07"
TUNING = {
    "type": "tuning",
    "sysctl": {"net.core.somaxconn": "511", "net.ipv4.conf.IFNAME.arp_filter": "1"},
    "mac": MAC,
    "mtu": 1400,
    "promisc": True,
    "allmulti": True,
    "txQLen": 77,
}
MEMBERS: list[dict[str, Any]] = [
    {"type": "portmap", "capabilities": {"portMappings": True}},
    {"type": "bandwidth", "capabilities": {"bandwidth": True}},
    TUNING,
    {"type": "firewall"},
]

MakeChain = Callable[..., Chain]


@pytest.fixture
def make_chain(runtime: Runtime, tmp_path: Path) -> MakeChain:
    """Chains in which our executable has these names, and all other plugins are the reference ones."""
    (tmp_path / "subnet.env").write_text(ENV)

    def make(*plugins: dict[str, Any], ours: tuple[str, ...] = STAND_INS, version: str = "0.3.1") -> Chain:
        directory = tmp_path / "bin"
        directory.mkdir()
        for name in ("nankeen", *ours):
            (directory / name).symlink_to(runtime.client.executable)
        given = {"portMappings": [PORT], "bandwidth": LIMITS}
        return Chain([directory, REFERENCE], {"name": "cbr0", "cniVersion": version, "plugins": list(plugins)}, given)

    return make


@pytest.fixture
def flannel(tmp_path: Path) -> dict[str, Any]:
    """The first member, as flannel's manifest has it, with places of the test's own."""
    return {
        "type": "flannel",
        "subnetFile": str(tmp_path / "subnet.env"),
        "dataDir": str(tmp_path / "flannel"),
        "delegate": {"hairpinMode": True, "isDefaultGateway": True},
    }


@pytest.fixture
def bridge(tmp_path: Path) -> dict[str, Any]:
    """The reference plugin as a first member, on a bridge of its own."""
    ranges = [[{"subnet": "10.9.0.0/24"}]]
    ipam = {"type": "host-local", "dataDir": str(tmp_path / "networks"), "ranges": ranges}
    return {"type": "bridge", "bridge": "br-ref", "isDefaultGateway": True, "hairpinMode": True, "ipam": ipam}


def answers(client: Net, pod: Net, address: str, port: int) -> bool:
    """Whether a connection to the host port reaches a server in the pod."""
    with entered(pod.namespace):
        server = socket.create_server(("0.0.0.0", 80))  # noqa: S104  (in a namespace of the test's own)
    with entered(client.namespace):
        asking = socket.socket()
    with closing(server), closing(asking):
        server.settimeout(5)
        asking.settimeout(5)
        try:
            asking.connect((address, port))
            connection, _ = server.accept()
        except OSError:
            return False
        connection.close()
        return True


def leftovers(node: Net) -> str:
    """What is there of pods, in one text."""
    rules = node.run("nft list ruleset")
    return node.run("ip -brief link show type ifb") + "".join(veths(node)) + ("8080" if "8080" in rules else "")


@pytest.mark.parametrize("version", ["0.3.1", "1.0.0"])
async def test_flannels_list_works_unchanged_with_all_its_members_ours(
    make_chain: MakeChain, node: Net, pod: Net, flannel: dict[str, Any], version: str
) -> None:
    chain = make_chain(flannel, *MEMBERS, version=version)
    result = await chain.add(pod)
    assert result["ips"][0]["address"] == "10.5.34.2/24"
    assert [item["name"] for item in result["interfaces"]][-1] == ifb_name("cbr0", pod.name)
    assert result["interfaces"][2]["mac"] == MAC
    assert answers(node, pod, "10.5.34.1", 8080)
    shown = pod.run("ip -details link show eth0")
    assert MAC in shown
    assert "mtu 1400" in shown
    assert "qlen 77" in shown
    assert "PROMISC" in shown
    assert "ALLMULTI" in shown
    assert pod.run("cat /proc/sys/net/core/somaxconn /proc/sys/net/ipv4/conf/eth0/arp_filter") == "511\n1\n"
    assert "rate 16Mbit" in node.run(f"tc qdisc show dev {veths(node)[0]}")
    for _ in range(2):
        await chain.delete(pod)  # with 0.3.1 there is no previous result
        assert leftovers(node) == ""


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
async def test_every_member_checks_its_own(make_chain: MakeChain, node: Net, pod: Net, version: str) -> None:
    chain = make_chain({"type": "nankeen"}, *MEMBERS, {"type": "loopback"}, version=version)
    result = await chain.add(pod)
    assert await chain.check(pod, result) == []
    pod.run("ip link set eth0 promisc off txqueuelen 5")
    pod.run("ip link set lo down")
    with entered(pod.namespace):
        sysctl.write("net/core/somaxconn", "5")
    node.run(f"tc qdisc del dev {veths(node)[0]} root")
    node.run("nft delete table inet nankeen-ports")
    ports, limits, tuned, loopback = await chain.check(pod, result)
    assert "8080" in ports
    assert "has no token bucket" in limits
    assert tuned == (
        "CHECK: net/core/somaxconn is 5, not 511; the pod's eth0 has transmit queue 5, not 77; "
        "the pod's eth0 has promiscuous mode off, not on"
    )
    assert loopback == "CHECK: the pod's loopback interface is down"


@INSTALLED
async def test_members_take_back_what_a_collection_no_longer_names(
    make_chain: MakeChain, node: Net, pod: Net, bridge: dict[str, Any]
) -> None:
    chain = make_chain(bridge, *MEMBERS, version="1.0.0")
    await chain.add(pod)
    for valid, left in (([{"containerID": pod.name, "ifname": "eth0"}], True), ([], False)):
        for plugin in MEMBERS:
            document = {**plugin, "cniVersion": "1.1.0", "name": "cbr0", "cni.dev/valid-attachments": valid}
            path = chain.directories[0] / str(plugin["type"])
            done = await execute(path, "GC", document)
            assert (done.status, done.output) == (0, b"")
        assert ("bwp" in leftovers(node), "8080" in leftovers(node)) == (left, left)
    await chain.delete(pod)


@INSTALLED
async def test_our_members_serve_a_pod_of_the_reference_bridge(
    make_chain: MakeChain, node: Net, pod: Net, bridge: dict[str, Any]
) -> None:
    chain = make_chain(bridge, *MEMBERS, version="1.0.0")
    result = await chain.add(pod)
    assert answers(node, pod, "10.9.0.1", 8080)
    assert "rate 16Mbit" in node.run(f"tc qdisc show dev {result['interfaces'][1]['name']}")
    assert [item for item in await chain.check(pod, result) if "MTU" not in item] == []
    await chain.delete(pod, result)
    assert leftovers(node) == ""


@INSTALLED
async def test_reference_members_serve_a_pod_of_ours(make_chain: MakeChain, node: Net, pod: Net) -> None:
    """Debian 12's portmap looks for IPv4's rules among those of IPv6, too, and finds none: no fault of ours."""
    members = [{**item, "backend": "iptables"} if item["type"] == "portmap" else item for item in MEMBERS[:2]]
    chain = make_chain({"type": "nankeen", "hairpinMode": True}, *members, ours=(), version="1.0.0")
    result = await chain.add(pod)
    assert answers(node, pod, "10.5.34.1", 8080)
    assert [fault for fault in await chain.check(pod, result) if "ipv6 dnat" not in fault] == []
    await chain.delete(pod, result)
    assert leftovers(node) == ""


@INSTALLED
@pytest.mark.parametrize("first", ["ours", "theirs"])
async def test_limits_that_one_has_made_the_other_takes_back(
    make_chain: MakeChain, node: Net, pod: Net, first: str
) -> None:
    """As on a node that changes from one to the other while pods run."""
    ours = make_chain({"type": "nankeen"}, MEMBERS[1], version="1.0.0")
    theirs = Chain([ours.directories[0].parent / "none", REFERENCE], ours.document, ours.runtime)
    making, taking = (ours, theirs) if first == "ours" else (theirs, ours)
    attached = await Chain(ours.directories, {**ours.document, "plugins": [{"type": "nankeen"}]}, {}).add(pod)
    limit = ours.document["plugins"][1]
    made = await making.execute("ADD", pod, limit, attached)
    assert made.status == 0, made.output
    assert ifb_name("cbr0", pod.name) in node.run("ip link show type ifb")
    done = await taking.execute("DEL", pod, limit, json.loads(made.output))
    assert done.status == 0, done.output
    assert node.run("ip link show type ifb") == ""


async def test_what_came_before_us_is_passed_on_too(make_chain: MakeChain, pod: Net) -> None:
    chain = make_chain({"type": "loopback"}, {"type": "nankeen", "dns": {"domain": "d"}}, version="1.0.0")
    result = await chain.add(pod)
    assert [item["name"] for item in result["interfaces"]][0::3] == ["lo", "eth0"]
    assert [(item["address"], item["interface"]) for item in result["ips"]] == [
        ("127.0.0.1/8", 0), ("::1/128", 0), ("10.5.34.2/24", 3), ("fc00:5:0:60::2/64", 3),
    ]  # fmt: skip
    assert result["dns"] == {"domain": "d"}
    assert await chain.check(pod, result) == []
    await chain.delete(pod, result)


async def test_a_loopback_alone_comes_up_and_is_told(make_chain: MakeChain, pod: Net) -> None:
    chain = make_chain({"type": "loopback"}, version="1.0.0")
    result = await chain.add(pod)
    [interface] = result["interfaces"]
    assert interface == {"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": f"/run/netns/{pod.name}"}
    assert [(item["address"], item["interface"]) for item in result["ips"]] == [("127.0.0.1/8", 0), ("::1/128", 0)]
    assert await chain.check(pod, result) == []
    for _ in range(2):
        await chain.delete(pod)
    assert "DOWN" in pod.run("ip -brief link show lo")


@pytest.mark.parametrize("kind", ["portmap", "bandwidth", "tuning", "loopback"])
async def test_a_pod_that_is_gone_is_no_hindrance_to_its_end(make_chain: MakeChain, node: Net, kind: str) -> None:
    chain = make_chain({"type": kind})
    gone = Net("nk-test-gone", node.namespace, node.socket)
    await chain.delete(gone)
    done = await chain.execute("ADD", gone, {"type": kind, **LIMITS}, {"cniVersion": "0.3.1", "interfaces": []})
    assert (done.status, json.loads(done.output)["code"]) == (1, 3)


async def test_a_pod_without_a_veth_cannot_be_limited(make_chain: MakeChain, pod: Net) -> None:
    pod.run("ip link add eth0 type bridge")
    chain = make_chain({"type": "bandwidth", **LIMITS})
    done = await chain.execute("ADD", pod, chain.document["plugins"][0], {"cniVersion": "0.3.1"})
    error = json.loads(done.output)
    assert (error["code"], error["msg"]) == (2, "bandwidth: the pod's eth0 has no other end on the node")


async def test_a_setting_that_the_kernel_does_not_have_is_named(make_chain: MakeChain, pod: Net) -> None:
    plugin = {"type": "tuning", "sysctl": {"net.core.nothing": "1"}}
    done = await make_chain(plugin).execute("ADD", pod, plugin, {"cniVersion": "0.3.1"})
    error = json.loads(done.output)
    assert (error["code"], error["msg"]) == (100, "cannot set net/core/nothing = 1: No such file or directory")


async def test_settings_are_those_of_the_pod_and_not_of_the_node(make_chain: MakeChain, node: Net, pod: Net) -> None:
    before = node.run("cat /proc/sys/net/core/somaxconn")
    plugin = {"type": "tuning", "sysctl": {"net.core.somaxconn": "77"}}
    chain = make_chain(plugin)
    await Chain(chain.directories, {**chain.document, "plugins": [{"type": "nankeen"}]}, {}).add(pod)
    done = await chain.execute("ADD", pod, plugin, {"cniVersion": "0.3.1"})
    assert done.status == 0, done.output
    assert pod.run("cat /proc/sys/net/core/somaxconn") == "77\n"
    assert node.run("cat /proc/sys/net/core/somaxconn") == before


async def execute(path: Path, verb: str, document: dict[str, Any]) -> Executed:
    return await Client(path, path).run(json.dumps(document).encode(), CNI_COMMAND=verb, CNI_PATH=str(path.parent))
