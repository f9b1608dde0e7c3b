"""What a runtime does and sees: it executes the client, which asks the server, which attaches pods."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from nankeen.cni.error import CniError, Code
from nankeen.cni.request import Request, parse_request
from nankeen.pods.network import PodNetwork
from nankeen.pods.plugin import Plugin
from tests.kernel.cni.runtime import BRIDGE_PLUGIN, Runtime, veths
from tests.kernel.conftest import Net
from tests.kernel.pods.conftest import NETWORK, ping
from tests.unit.cni.conftest import Client


async def test_a_pod_is_attached_and_the_result_tells_how(runtime: Runtime, node: Net, pod: Net) -> None:
    result = await runtime.add(pod)
    [host] = veths(node)
    host_address = json.loads(node.run(f"ip -json link show {host}"))[0]["address"]
    assert result == {
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "cni0", "mac": "0a:58:0a:05:22:01"},
            {"name": host, "mac": host_address, "mtu": 1450},
            {"name": "eth0", "mac": "0a:58:0a:05:22:02", "mtu": 1450, "sandbox": f"/run/netns/{pod.name}"},
        ],
        "ips": [
            {"interface": 2, "address": "10.5.34.2/24", "gateway": "10.5.34.1"},
            {"interface": 2, "address": "fc00:5:0:60::2/64", "gateway": "fc00:5:0:60::1"},
        ],
        "routes": [
            {"dst": "0.0.0.0/0", "gw": "10.5.34.1"},
            {"dst": "10.5.0.0/16", "gw": "10.5.34.1"},
            {"dst": "::/0", "gw": "fc00:5:0:60::1"},
            {"dst": "fc00:5::/48", "gw": "fc00:5:0:60::1"},
        ],
        "dns": {},
    }
    assert pod.run("ip route show") == (
        "default via 10.5.34.1 dev eth0 \n"
        "10.5.0.0/16 via 10.5.34.1 dev eth0 \n"
        "10.5.34.0/24 dev eth0 proto kernel scope link src 10.5.34.2 \n"
    )
    assert runtime.reserved() == {"10.5.34.2", "fc00:5:0:60::2"}


async def test_pods_reach_each_other(runtime: Runtime, make_net: Callable[[], Net]) -> None:
    first, second = make_net(), make_net()
    await runtime.add(first)
    result = await runtime.add(second)
    assert [item["address"] for item in result["ips"]] == ["10.5.34.3/24", "fc00:5:0:60::3/64"]
    assert ping(first, "10.5.34.3")
    assert ping(first, "fc00:5:0:60::3")


async def test_a_pods_packets_are_no_larger_than_a_data_path_outside_the_kernel_sends_at_once(
    runtime: Runtime, pod: Net
) -> None:
    runtime.plugin.ready(replace(NETWORK, gso_max_size=62_888))
    await runtime.add(pod)
    assert "gso_max_size 62888 " in pod.run("ip -details link show eth0")
    runtime.plugin.ready(NETWORK)
    await runtime.delete(pod)
    await runtime.add(pod)
    assert "gso_max_size 65536 " in pod.run("ip -details link show eth0")


async def test_the_same_request_again_has_the_same_result(runtime: Runtime, pod: Net) -> None:
    assert await runtime.add(pod) == await runtime.add(pod)
    assert len(runtime.reserved()) == 2


async def test_a_deletion_takes_everything_back_and_can_be_repeated(runtime: Runtime, node: Net, pod: Net) -> None:
    await runtime.add(pod)
    for _ in range(2):
        await runtime.delete(pod)
        assert veths(node) == []
        assert runtime.reserved() == set()


async def test_a_pod_that_is_gone_is_deleted_all_the_same(runtime: Runtime, node: Net, pod: Net) -> None:
    await runtime.add(pod)
    for path in ("/run/netns/gone", "", "/etc/hostname"):
        done = await runtime.execute("DEL", pod, CNI_NETNS=path)
        assert (done.status, done.output) == (0, b"")
    assert veths(node) == []
    assert runtime.reserved() == set()


async def test_until_the_node_has_a_network_the_runtime_is_told_why(runtime: Runtime, node: Net, pod: Net) -> None:
    runtime.plugin.not_ready("no answer from the registry")
    assert await runtime.refusal("ADD", pod) == (11, "the node has no pod network yet: no answer from the registry")
    await runtime.delete(pod)
    assert veths(node) == []
    assert runtime.reserved() == set()


@pytest.mark.parametrize(
    "path, code", [("/run/netns/gone", 3), ("/etc/hostname", 8), ("/proc/self/ns/mnt", 8), ("/proc/self/ns/net", 8)]
)
async def test_a_namespace_that_is_none_is_refused(runtime: Runtime, node: Net, pod: Net, path: str, code: int) -> None:
    assert (await runtime.refusal("ADD", pod, CNI_NETNS=path))[0] == code
    assert veths(node) == []
    assert runtime.reserved() == set()


async def test_a_refused_pod_keeps_no_address(runtime: Runtime, pod: Net) -> None:
    pod.run("ip link add eth0 type bridge")
    assert (await runtime.refusal("ADD", pod))[0] == 102
    assert runtime.reserved() == set()


async def test_a_pod_that_is_already_attached_keeps_its_address_when_a_repair_fails(
    runtime: Runtime, node: Net, pod: Net
) -> None:
    await runtime.add(pod)
    node.run("ip link delete cni0")
    assert (await runtime.refusal("ADD", pod))[0] == 11
    assert runtime.reserved() == {"10.5.34.2", "fc00:5:0:60::2"}


async def test_many_at_once_get_different_addresses_and_leave_nothing(
    runtime: Runtime, node: Net, make_net: Callable[[], Net], open_descriptors: Callable[[], int]
) -> None:
    pods = [make_net() for _ in range(12)]
    await runtime.delete(pods[0])  # which opens what is kept open
    before = open_descriptors()
    results = await asyncio.gather(*(runtime.add(pod) for pod in pods))
    assert len({result["ips"][0]["address"] for result in results}) == len(pods)
    assert len(veths(node)) == len(pods)
    await asyncio.gather(*(runtime.delete(pod) for pod in pods))
    assert veths(node) == []
    assert runtime.reserved() == set()
    assert open_descriptors() == before


async def test_an_addition_and_its_deletion_are_served_in_the_order_they_came(
    runtime: Runtime, node: Net, pod: Net
) -> None:
    """As when a runtime gives up an ADD and sends the DEL while the address store is locked by another process."""

    def request(verb: str) -> Request:
        environment = {"CNI_COMMAND": verb, "CNI_CONTAINERID": "c0ffee", "CNI_NETNS": "x", "CNI_IFNAME": "eth0"}
        return parse_request(environment, b'{"name": "cbr0"}')

    runtime.addresses.mkdir(parents=True)
    with (runtime.addresses / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tasks = [
            asyncio.create_task(runtime.plugin(request(verb), pod.namespace.descriptor)) for verb in ("ADD", "DEL")
        ]
        await asyncio.sleep(0)  # both have begun now, and wait
    await asyncio.gather(*tasks)
    assert veths(node) == []
    assert runtime.reserved() == set()


@pytest.mark.skipif(not BRIDGE_PLUGIN.exists(), reason="the reference plugins are not installed")
async def test_a_pod_that_the_reference_plugins_attached_is_taken_over(
    runtime: Runtime, node: Net, make_net: Callable[[], Net]
) -> None:
    theirs, ours = make_net(), make_net()
    ipam = {"type": "host-local", "dataDir": str(runtime.addresses.parent), "ranges": [[{"subnet": "10.5.34.0/24"}]]}
    config = {"cniVersion": "0.3.1", "name": "cbr0", "type": "bridge", "isDefaultGateway": True, "ipam": ipam}
    bridge = Client(BRIDGE_PLUGIN, runtime.client.socket)
    environment = {"CNI_CONTAINERID": theirs.name, "CNI_IFNAME": "eth0", "CNI_PATH": str(BRIDGE_PLUGIN.parent)}
    namespace = f"/run/netns/{theirs.name}"
    done = await bridge.run(json.dumps(config).encode(), CNI_COMMAND="ADD", CNI_NETNS=namespace, **environment)
    assert done.status == 0, done.output
    assert runtime.reserved() == {"10.5.34.2"}
    await runtime.add(ours)
    assert ping(ours, "10.5.34.2")
    await runtime.delete(theirs)
    assert len(veths(node)) == 1
    assert "10.5.34.2" not in runtime.reserved()


async def test_host_local_frees_what_we_reserved(runtime: Runtime, pod: Net) -> None:
    host_local = BRIDGE_PLUGIN.with_name("host-local")
    if not host_local.exists():
        pytest.skip("the reference plugins are not installed")
    await runtime.add(pod)
    ipam = {"type": "host-local", "dataDir": str(runtime.addresses.parent), "ranges": [[{"subnet": "10.5.34.0/24"}]]}
    config = json.dumps({"cniVersion": "0.3.1", "name": "cbr0", "ipam": ipam}).encode()
    environment = {
        "CNI_CONTAINERID": pod.name,
        "CNI_NETNS": os.devnull,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/usr/lib/cni",
    }
    done = await Client(host_local, runtime.client.socket).run(config, CNI_COMMAND="DEL", **environment)
    assert done.status == 0, done.output
    assert runtime.reserved() == set()


async def test_an_add_right_after_the_agents_start_waits_for_the_network(tmp_path: Path) -> None:
    plugin = Plugin(tmp_path / "networks", ports=tmp_path / "ports")
    request = parse_request(
        {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": "/n", "CNI_IFNAME": "eth0", "CNI_PATH": "/p"},
        b'{"cniVersion":"1.0.0","name":"cbr0","type":"nankeen"}',
    )
    waiting = asyncio.ensure_future(plugin(request, None))
    await asyncio.sleep(0)
    assert not waiting.done()
    plugin.ready(PodNetwork((IPv4Network("10.244.1.0/24"),), 1450))
    with pytest.raises(CniError) as caught:  # it goes on, and finds that it was lent no namespace
        await waiting
    assert caught.value.code is Code.CONTAINER_UNKNOWN
