"""CHECK: an attachment that stands is left in peace, and whatever is wrong with one is named."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.kernel.cni.runtime import BRIDGE_PLUGIN, Runtime, veths
from tests.kernel.conftest import Net
from tests.unit.cni.conftest import Client

pytestmark = pytest.mark.parametrize("contents", ["python"], indirect=True)
"""Which of the twins asks makes no difference here."""
VERSIONS = ["0.4.0", "1.0.0", "1.1.0"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_attachment_that_stands_passes_in_each_version(runtime: Runtime, pod: Net, version: str) -> None:
    result = await runtime.add(pod, {"cniVersion": version})
    await runtime.succeed("CHECK", pod, {"cniVersion": version, "prevResult": result})


@pytest.mark.parametrize(
    "damage, told",
    [
        ("pod: ip link set eth0 down", "the pod's eth0 is down"),
        ("pod: ip link set eth0 mtu 1400", "the pod's eth0 has MTU 1400, not 1450"),
        ("pod: ip link set eth0 address 02:00:00:00:00:01", "has hardware address 02:00:00:00:00:01, not 0a:58:0a:05:"),
        ("pod: ip address del 10.5.34.2/24 dev eth0", "the pod's eth0 has no address 10.5.34.2/24"),
        ("pod: ip address del fc00:5:0:60::2/64 dev eth0", "the pod's eth0 has no address fc00:5:0:60::2/64"),
        ("pod: ip route del default", "the pod has no route to 0.0.0.0/0 by 10.5.34.1"),
        ("pod: ip route replace 10.5.0.0/16 via 10.5.34.9", "the pod has no route to 10.5.0.0/16 by 10.5.34.1"),
        ("pod: ip link del eth0", "the pod has no interface eth0; the node has no veth"),
        ("node: ip link set HOST down", "the node's HOST is down"),
        ("node: ip link set HOST nomaster", "the node's HOST is no port of cni0"),
        ("node: ip link set HOST address 02:00:00:00:00:01", "the node's HOST has hardware address"),
        ("node: ip link set HOST mtu 1400", "the node's HOST has MTU 1400, not 1450"),
        ("node: ip link set cni0 down", "the bridge cni0 is down"),
        ("node: ip link del cni0", "the node has no bridge cni0"),
    ],
)
async def test_what_is_wrong_is_named(runtime: Runtime, node: Net, pod: Net, damage: str, told: str) -> None:
    result = await runtime.add(pod)
    [host] = veths(node)
    where, _, command = damage.partition(": ")
    {"pod": pod, "node": node}[where].run(command.replace("HOST", host))
    code, text = await runtime.refusal("CHECK", pod, {"prevResult": result})
    assert code == 103
    assert told.replace("HOST", host) in text


async def test_an_address_that_is_not_reserved_is_named(runtime: Runtime, pod: Net) -> None:
    result = await runtime.add(pod)
    (runtime.addresses / "10.5.34.2").write_text("somebody\r\neth0")
    assert await runtime.refusal("CHECK", pod, {"prevResult": result}) == (
        103,
        "CHECK: 10.5.34.2 is not reserved for the pod",
    )


async def test_the_end_of_another_pair_is_noticed(runtime: Runtime, node: Net, pod: Net) -> None:
    result = await runtime.add(pod)
    [host] = veths(node)
    address = result["interfaces"][2]["mac"]
    pod.run("ip link set eth0 name eth1")
    pod.run(f"ip link add eth0 mtu 1450 address {address} type veth peer name other")
    _, text = await runtime.refusal("CHECK", pod, {"prevResult": result})
    assert f"the node's {host} is not the other end of the pod's eth0" in text


async def test_an_mtu_that_the_agent_has_given_since_is_right(runtime: Runtime, node: Net, pod: Net) -> None:
    result = await runtime.add(pod)
    result["interfaces"][1]["mtu"] = result["interfaces"][2]["mtu"] = 1500  # as it was when the pod came
    await runtime.succeed("CHECK", pod, {"prevResult": result})
    assert "mtu 1450" in node.run(f"ip link show {veths(node)[0]}")


@pytest.mark.parametrize(
    "previous, code",
    [(None, 7), ({}, 103), ([], 7), ({"cniVersion": "9.0.0"}, 1), ({"ips": [{"address": "x"}]}, 7), ({"ips": 5}, 7)],
)
async def test_without_a_true_result_it_is_refused(runtime: Runtime, pod: Net, previous: Any, code: int) -> None:  # noqa: ANN401
    assert (await runtime.refusal("CHECK", pod, {"prevResult": previous}))[0] == code


async def test_a_pod_that_has_gone_is_named(runtime: Runtime, pod: Net) -> None:
    result = await runtime.add(pod)
    assert (await runtime.refusal("CHECK", pod, {"prevResult": result}, CNI_NETNS="/run/netns/gone"))[0] == 3


async def test_before_version_0_4_0_there_is_no_check(runtime: Runtime, pod: Net) -> None:
    result = await runtime.add(pod)
    assert (await runtime.refusal("CHECK", pod, {"cniVersion": "0.3.1", "prevResult": result}))[0] == 1


async def test_checks_of_many_pods_at_once_pass(runtime: Runtime, make_net: Callable[[], Net]) -> None:
    pods = [make_net() for _ in range(4)]
    results = [await runtime.add(pod) for pod in pods]
    checks = (runtime.succeed("CHECK", pod, {"prevResult": result}) for pod, result in zip(pods, results, strict=True))
    await asyncio.gather(*checks)


@pytest.mark.skipif(not BRIDGE_PLUGIN.exists(), reason="the reference plugins are not installed")
async def test_a_pod_that_the_reference_plugins_attached_passes(runtime: Runtime, pod: Net) -> None:
    ipam = {"type": "host-local", "dataDir": str(runtime.addresses.parent), "ranges": [[{"subnet": "10.5.34.0/24"}]]}
    config = {"cniVersion": "1.0.0", "name": "cbr0", "type": "bridge", "isDefaultGateway": True, "mtu": 1450}
    environment = {"CNI_CONTAINERID": pod.name, "CNI_IFNAME": "eth0", "CNI_PATH": str(BRIDGE_PLUGIN.parent)}
    bridge = Client(BRIDGE_PLUGIN, runtime.client.socket)
    done = await bridge.run(
        json.dumps({**config, "ipam": ipam}).encode(),
        CNI_COMMAND="ADD",
        CNI_NETNS=f"/run/netns/{pod.name}",
        **environment,
    )
    assert done.status == 0, done.output
    await runtime.succeed("CHECK", pod, {"cniVersion": "1.0.0", "prevResult": json.loads(done.output)})


@pytest.mark.skipif(not BRIDGE_PLUGIN.exists(), reason="the reference plugins are not installed")
@pytest.mark.parametrize("version", ["0.4.0", "1.0.0"])
async def test_the_reference_plugin_finds_nothing_wrong_with_ours(runtime: Runtime, pod: Net, version: str) -> None:
    result = await runtime.add(pod, {"cniVersion": version})
    ranges = [[{"subnet": "10.5.34.0/24"}], [{"subnet": "fc00:5:0:60::/64"}]]
    routes = [{"dst": "10.5.0.0/16"}, {"dst": "fc00:5::/48"}]
    config = {
        "cniVersion": version,
        "name": "cbr0",
        "type": "bridge",
        "isDefaultGateway": True,
        "mtu": 1450,
        "prevResult": result,
        "ipam": {"type": "host-local", "dataDir": str(runtime.addresses.parent), "ranges": ranges, "routes": routes},
    }
    done = await Client(BRIDGE_PLUGIN, runtime.client.socket).run(
        json.dumps(config).encode(),
        CNI_COMMAND="CHECK",
        CNI_CONTAINERID=pod.name,
        CNI_NETNS=f"/run/netns/{pod.name}",
        CNI_IFNAME="eth0",
        CNI_PATH=str(BRIDGE_PLUGIN.parent),
    )
    assert (done.status, done.output) == (0, b"")
