"""Configurations of type flannel, unchanged: what flannel's plugin would have done is what stands afterwards."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nankeen.cni.request import Attachment
from nankeen.pods.interface import host_name
from tests.kernel.cni.runtime import BRIDGE_PLUGIN, Runtime, veths
from tests.kernel.conftest import Net
from tests.kernel.pods.conftest import ping
from tests.unit.cni.conftest import Client

pytestmark = pytest.mark.parametrize("contents", ["python"], indirect=True)
"""Which of the twins asks makes no difference here."""

ENV = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
DUAL = "FLANNEL_IPV6_NETWORK=fc00:5::/48\nFLANNEL_IPV6_SUBNET=fc00:5:0:60::1/64\n"


@pytest.fixture
def flannel(runtime: Runtime, tmp_path: Path) -> Runtime:
    """A runtime with flannel's list as its manifest has it."""
    (tmp_path / "subnet.env").write_text(ENV)
    runtime.config = {
        "cniVersion": "0.3.1",
        "name": "cbr0",
        "type": "flannel",
        "subnetFile": str(tmp_path / "subnet.env"),
        "dataDir": str(tmp_path / "flannel"),
        "delegate": {"hairpinMode": True, "isDefaultGateway": True},
    }
    return runtime


async def test_a_pod_is_attached_as_flannel_attaches_it(flannel: Runtime, node: Net, pod: Net, tmp_path: Path) -> None:
    result = await flannel.add(pod)
    assert [item["address"] for item in result["ips"]] == ["10.5.34.2/24"]
    assert result["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.5.34.1"}, {"dst": "10.5.0.0/16", "gw": "10.5.34.1"}]
    assert "mtu 1450" in pod.run("ip link show eth0")
    assert "hairpin on" in node.run(f"ip -details link show {veths(node)[0]}")
    assert ping(pod, "10.5.34.1")
    kept = tmp_path / "flannel" / pod.name
    assert json.loads(kept.read_text()) == {
        "cniVersion": "0.3.1",
        "name": "cbr0",
        "type": "bridge",
        "hairpinMode": True,
        "isDefaultGateway": True,
        "isGateway": True,
        "ipMasq": False,
        "mtu": 1450,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.5.34.0/24"}]], "routes": [{"dst": "10.5.0.0/16"}]},
    }
    assert (stat.S_IMODE(kept.stat().st_mode), stat.S_IMODE(kept.parent.stat().st_mode)) == (0o600, 0o700)
    for _ in range(2):
        await flannel.delete(pod)
        assert (veths(node), flannel.reserved(), list(kept.parent.iterdir())) == ([], set(), [])


async def test_both_families_come_from_the_file(flannel: Runtime, pod: Net, tmp_path: Path) -> None:
    (tmp_path / "subnet.env").write_text(ENV + DUAL)
    result = await flannel.add(pod)
    assert [item["address"] for item in result["ips"]] == ["10.5.34.2/24", "fc00:5:0:60::2/64"]
    assert {"dst": "fc00:5::/48", "gw": "fc00:5:0:60::1"} in result["routes"]
    assert {"dst": "::/0", "gw": "fc00:5:0:60::1"} in result["routes"]


async def test_without_a_default_gateway_there_is_a_route_to_the_pod_network_alone(flannel: Runtime, pod: Net) -> None:
    await flannel.add(pod, {"delegate": {}})
    assert pod.run("ip route show default") == ""
    assert "10.5.0.0/16 via 10.5.34.1" in pod.run("ip route show")


async def test_a_deletion_knows_the_delegate_by_what_was_kept(
    flannel: Runtime, node: Net, make_net: Callable[[], Net], tmp_path: Path
) -> None:
    """The subnet's file is gone, and so is what was kept of the second pod: both are taken back."""
    first, second = make_net(), make_net()
    for pod in (first, second):
        await flannel.add(pod)
    (tmp_path / "subnet.env").unlink()
    (tmp_path / "flannel" / second.name).write_text("rubbish")
    for pod in (first, second):
        await flannel.delete(pod)
    assert (veths(node), flannel.reserved(), list((tmp_path / "flannel").iterdir())) == ([], set(), [])


@pytest.mark.parametrize(
    "text, told",
    [
        (None, "failed to load flannel 'subnet.env' file: open {file}: no such file or directory"),
        ("FLANNEL_MTU=1450\n", "{file} is missing FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK, FLANNEL_SUBNET, "),
        (ENV.replace("1450", "many"), "{file}: cannot be understood: "),
        (ENV.replace("10.5.34.1/24", "10.5.34.1"), "{file}: cannot be understood: "),
    ],
)
async def test_without_a_whole_file_the_runtime_is_told_to_try_again(
    flannel: Runtime, node: Net, pod: Net, tmp_path: Path, text: str | None, told: str
) -> None:
    file = tmp_path / "subnet.env"
    file.unlink()
    if text is not None:
        file.write_text(text)
    code, message = await flannel.refusal("ADD", pod)
    assert code == 11
    assert message.startswith(told.format(file=file))
    assert await flannel.refusal("STATUS", None, {"cniVersion": "1.1.0"}) == (code, message)
    await flannel.delete(pod)
    assert veths(node) == []


@pytest.mark.parametrize(
    "delegate",
    [{"name": "x"}, {"ipam": {}}, {"type": "flannel"}, {"type": "../bridge"}, {"type": 5}, {"type": ""}, "bridge"],
)
async def test_a_delegate_that_cannot_be_is_refused(flannel: Runtime, pod: Net, delegate: object) -> None:
    for verb in ("ADD", "DEL"):
        assert (await flannel.refusal(verb, pod, {"delegate": delegate}))[0] == 7


async def test_until_the_node_has_a_network_nothing_is_delegated(flannel: Runtime, pod: Net, tmp_path: Path) -> None:
    flannel.plugin.not_ready("no lease")
    assert await flannel.refusal("ADD", pod) == (11, "the node has no pod network yet: no lease")
    assert not (tmp_path / "flannel").exists()


async def test_check_gc_and_status_reach_the_delegate(
    flannel: Runtime, node: Net, make_net: Callable[[], Net], tmp_path: Path
) -> None:
    flannel.config["cniVersion"] = "1.1.0"
    pod, forgotten = make_net(), make_net()
    result = await flannel.add(pod)
    await flannel.add(forgotten)
    await flannel.succeed("CHECK", pod, {"prevResult": result})
    await flannel.succeed("STATUS", None)
    for name in (pod.name, forgotten.name, "c0ffee"):
        (tmp_path / "flannel" / f".{name}.0123abcd").write_text("{")  # as a killed agent leaves it
    valid = [{"containerID": pod.name, "ifname": "eth0"}]
    await flannel.succeed("GC", None, {"cni.dev/valid-attachments": valid})
    assert flannel.reserved() == {"10.5.34.2"}
    assert len(veths(node)) == 1
    assert {path.name for path in (tmp_path / "flannel").iterdir()} == {pod.name, f".{pod.name}.0123abcd"}
    pod.run("ip link set eth0 down")
    assert (await flannel.refusal("CHECK", pod, {"prevResult": result}))[0] == 103
    await flannel.delete(pod)
    assert list((tmp_path / "flannel").iterdir()) == []


REFERENCE = pytest.mark.skipif(not BRIDGE_PLUGIN.exists(), reason="the reference plugins are not installed")


@REFERENCE
async def test_flannels_plugins_take_back_what_we_made(flannel: Runtime, node: Net, pod: Net, tmp_path: Path) -> None:
    """flannel's DEL executes bridge with exactly what was kept."""
    flannel.config["ipam"] = {"dataDir": str(flannel.addresses.parent)}
    await flannel.add(pod)
    kept = (tmp_path / "flannel" / pod.name).read_bytes()
    done = await Client(BRIDGE_PLUGIN, flannel.client.socket).run(
        kept,
        CNI_COMMAND="DEL",
        CNI_CONTAINERID=pod.name,
        CNI_NETNS=f"/run/netns/{pod.name}",
        CNI_IFNAME="eth0",
        CNI_PATH=str(BRIDGE_PLUGIN.parent),
    )
    assert done.status == 0, done.output
    assert (veths(node), flannel.reserved()) == ([], set())


@REFERENCE
async def test_a_delegate_of_another_type_is_executed_by_the_book(
    flannel: Runtime, node: Net, pod: Net, tmp_path: Path
) -> None:
    config: dict[str, Any] = {"delegate": {"type": "ptp"}, "ipam": {"dataDir": str(tmp_path / "networks")}}
    path = str(BRIDGE_PLUGIN.parent)
    result = await flannel.add(pod, config, CNI_PATH=f"/nowhere:{path}")
    assert result["ips"][0]["address"] == "10.5.34.2/24"
    assert json.loads((tmp_path / "flannel" / pod.name).read_text())["type"] == "ptp"
    [port] = veths(node)
    assert "master" not in node.run(f"ip link show {port}")
    (tmp_path / "subnet.env").unlink()
    await flannel.succeed("DEL", pod, config, CNI_PATH=path)
    assert (veths(node), flannel.reserved(), list((tmp_path / "flannel").iterdir())) == ([], set(), [])


@REFERENCE
async def test_what_only_the_reference_bridge_can_do_is_left_to_it(flannel: Runtime, pod: Net, tmp_path: Path) -> None:
    config = {
        "delegate": {"enabledad": True, "isDefaultGateway": True},
        "ipam": {"dataDir": str(tmp_path / "networks")},
    }
    result = await flannel.add(pod, config, CNI_PATH=str(BRIDGE_PLUGIN.parent))
    assert result["interfaces"][1]["name"] != host_name("cbr0", Attachment(pod.name, "eth0"))  # it draws its own
    await flannel.succeed("DEL", pod, config, CNI_PATH=str(BRIDGE_PLUGIN.parent))


@pytest.fixture
def plugins(tmp_path: Path) -> Callable[[str], str]:
    """A directory with a plugin `custom` that is this shell script."""

    def make(script: str) -> str:
        directory = tmp_path / "plugins"
        directory.mkdir()
        (directory / "custom").write_text(f"#!/bin/sh\n{script}\n")
        (directory / "custom").chmod(0o755)
        return str(directory)

    return make


@pytest.mark.parametrize(
    "script, code, told",
    [
        ("""echo '{"code": 117, "msg": "no", "details": "really"}'; exit 1""", 117, "no"),
        ("echo oops >&2; exit 3", 999, "oops"),
        ("exit 1", 999, "failed without a word"),
        ("echo '[]'; exit 1", 999, "[]"),
    ],
)
async def test_what_a_delegate_complains_of_is_passed_on(
    flannel: Runtime, pod: Net, plugins: Callable[[str], str], script: str, code: int, told: str
) -> None:
    config = {"delegate": {"type": "custom"}}
    refused, text = await flannel.refusal("ADD", pod, config, CNI_PATH=plugins(script))
    assert refused == code
    assert text.endswith(told)


async def test_a_delegate_that_fails_is_asked_to_take_back_what_it_did(
    flannel: Runtime, pod: Net, plugins: Callable[[str], str], tmp_path: Path
) -> None:
    heard = tmp_path / "heard"
    path = plugins(f"cat > /dev/null; echo $CNI_COMMAND >> {heard}; test $CNI_COMMAND = DEL")
    await flannel.refusal("ADD", pod, {"delegate": {"type": "custom"}}, CNI_PATH=path)
    assert heard.read_text().split() == ["ADD", "DEL"]


async def test_a_delegate_hears_what_the_specification_says_it_shall(
    flannel: Runtime, pod: Net, plugins: Callable[[str], str], tmp_path: Path
) -> None:
    path = plugins(f"env | grep CNI_ | sort > {tmp_path}/env; cat > {tmp_path}/stdin; echo '{{}}'")
    config = {"delegate": {"type": "custom", "mode": "x"}, "runtimeConfig": {"ips": ["10.5.34.9"]}}
    assert await flannel.add(pod, config, CNI_PATH=path, CNI_ARGS="A=1;B=2") == {}
    assert (tmp_path / "env").read_text().splitlines() == [
        "CNI_ARGS=A=1;B=2",
        "CNI_COMMAND=ADD",
        f"CNI_CONTAINERID={pod.name}",
        "CNI_IFNAME=eth0",
        f"CNI_NETNS=/run/netns/{pod.name}",
        f"CNI_PATH={path}",
    ]
    heard = json.loads((tmp_path / "stdin").read_text())
    assert (heard["mode"], heard["runtimeConfig"], heard["mtu"]) == ("x", {"ips": ["10.5.34.9"]}, 1450)
    assert "isGateway" not in heard


async def test_a_delegate_that_is_not_there_is_told(flannel: Runtime, pod: Net) -> None:
    code, text = await flannel.refusal("ADD", pod, {"delegate": {"type": "custom"}})
    assert code == 7
    assert text.startswith("delegate.type: failed to find plugin 'custom' in path [")
