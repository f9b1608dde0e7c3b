"""GC, what a full range finds by itself, and STATUS."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_network

import pytest

from nankeen.pods.leftovers import FORGOTTEN_SECONDS
from nankeen.pods.network import PodNetwork
from tests.kernel.cni.runtime import Config, Runtime, veths
from tests.kernel.conftest import Net
from tests.kernel.pods.conftest import NETWORK, ping

pytestmark = pytest.mark.parametrize("contents", ["python"], indirect=True)
"""Which of the twins asks makes no difference here."""


def valid(pods: Sequence[Net]) -> Config:
    """What a runtime says stands."""
    attachments = [{"containerID": pod.name, "ifname": "eth0"} for pod in pods]
    return {"cni.dev/valid-attachments": attachments, "cni.dev/attachments": attachments}


async def test_what_is_left_of_pods_that_are_no_more_is_taken_back(
    runtime: Runtime, node: Net, make_net: Callable[[], Net]
) -> None:
    pods = [make_net() for _ in range(4)]
    for pod in pods:
        await runtime.add(pod)
    await runtime.succeed("GC", None, valid(pods[:2]))
    assert len(veths(node)) == 2
    assert runtime.reserved() == {"10.5.34.2", "fc00:5:0:60::2", "10.5.34.3", "fc00:5:0:60::3"}
    assert ping(pods[0], "10.5.34.3")
    for pod in pods:
        await runtime.delete(pod)
    assert veths(node) == []


async def test_an_interface_whose_address_is_lost_is_taken_back_too(runtime: Runtime, node: Net, pod: Net) -> None:
    await runtime.add(pod)
    for path in runtime.addresses.iterdir():
        path.unlink()
    await runtime.succeed("GC", None, valid([]))
    assert veths(node) == []


async def test_what_others_have_on_the_bridge_stays(runtime: Runtime, node: Net, make_net: Callable[[], Net]) -> None:
    pod, other = make_net(), make_net()
    await runtime.add(pod)
    await runtime.add(other, {"name": "second"})
    node.run("ip link add veth01234567 master cni0 type veth peer name x")
    await runtime.succeed("GC", None, valid([]))
    assert len(veths(node)) == 3  # of the other network, and somebody's pair
    assert (runtime.addresses.parent / "second" / "10.5.34.2").exists()


async def test_a_holder_that_names_no_interface_is_known_by_its_container(runtime: Runtime) -> None:
    runtime.addresses.mkdir(parents=True)
    (runtime.addresses / "10.5.34.7").write_text("old")
    (runtime.addresses / "10.5.34.8").write_text("gone")
    await runtime.succeed("GC", None, {"cni.dev/valid-attachments": [{"containerID": "old", "ifname": "eth0"}]})
    assert runtime.reserved() == {"10.5.34.7"}


@pytest.mark.parametrize("listed", [{}, {"cni.dev/valid-attachments": None}, {"cni.dev/valid-attachments": "all"}])
async def test_without_a_list_of_what_stands_nothing_goes(runtime: Runtime, pod: Net, listed: Config) -> None:
    await runtime.add(pod)
    assert (await runtime.refusal("GC", None, listed))[0] == 7
    assert len(runtime.reserved()) == 2


@pytest.mark.parametrize("verb", ["GC", "STATUS"])
async def test_before_version_1_1_0_there_is_none(runtime: Runtime, verb: str) -> None:
    assert (await runtime.refusal(verb, None, {**valid([]), "cniVersion": "1.0.0"}))[0] == 1


async def test_a_full_range_finds_who_was_forgotten(runtime: Runtime, pod: Net) -> None:
    """The runtime keeps a result of one of two pods: the other was deleted while nobody looked."""
    runtime.plugin.ready(PodNetwork((ip_network("10.5.34.0/29"),), 1450))
    results = runtime.addresses.parents[1] / "results"
    results.mkdir()
    runtime.addresses.mkdir(parents=True)
    long_ago = time.time() - FORGOTTEN_SECONDS - 1
    for number in range(2, 7):
        path = runtime.addresses / f"10.5.34.{number}"
        path.write_text(f"c{number}\r\neth0")
        os.utime(path, (long_ago, long_ago))
        if number != 4:
            (results / f"cbr0-c{number}-eth0").write_text("{}")
    assert (await runtime.add(pod))["ips"][0]["address"] == "10.5.34.4/29"


async def test_a_full_range_takes_nothing_from_who_stands_on_another_bridge(
    runtime: Runtime, node: Net, pod: Net, make_net: Callable[[], Net]
) -> None:
    """Whatever his file says of its age, as after a clock was set."""
    ranges = [[{"subnet": "10.7.0.0/30"}]]
    config: Config = {"bridge": "br7", "isGateway": True, "ipam": {"type": "host-local", "ranges": ranges}}
    await runtime.add(pod, config)
    for path in runtime.addresses.glob("10.7.*"):
        os.utime(path, (0, 0))
    assert (await runtime.refusal("ADD", make_net(), config))[0] != 0
    assert "10.7.0.2" in runtime.reserved()
    assert veths(node)


@pytest.mark.parametrize("kept, ago", [(True, FORGOTTEN_SECONDS + 1), (False, 0.0)])
async def test_a_full_range_takes_nothing_from_who_is_known_or_new(
    runtime: Runtime, pod: Net, *, kept: bool, ago: float
) -> None:
    runtime.plugin.ready(PodNetwork((ip_network("10.5.34.0/30"),), 1450))
    runtime.addresses.mkdir(parents=True)
    path = runtime.addresses / "10.5.34.2"
    path.write_text("c\r\neth0")
    os.utime(path, (time.time() - ago,) * 2)
    results = runtime.addresses.parents[1] / "results"
    results.mkdir()
    (results / ("cbr0-c-eth0" if kept else "another-c-eth0")).write_text("{}")
    code, text = await runtime.refusal("ADD", pod)
    assert (code, text.partition(": ")[2]) == (
        101,
        "failed to allocate for range 0: no IP addresses available in range set: 10.5.34.1-10.5.34.2",
    )
    assert runtime.reserved() == {"10.5.34.2"}


async def test_nothing_outlives_a_boot(runtime: Runtime, pod: Net) -> None:
    runtime.plugin.ready(PodNetwork((ip_network("10.5.34.0/30"),), 1450))
    runtime.addresses.mkdir(parents=True)
    path = runtime.addresses / "10.5.34.2"
    path.write_text("c\r\neth0")
    os.utime(path, (1_000_000, 1_000_000))
    assert (await runtime.add(pod))["ips"][0]["address"] == "10.5.34.2/30"


async def test_a_pod_with_an_interface_keeps_its_address_however_old(
    runtime: Runtime, make_net: Callable[[], Net]
) -> None:
    """As after a clock that was wrong when the pod came."""
    runtime.plugin.ready(PodNetwork((ip_network("10.5.34.0/30"),), 1450))
    await runtime.add(make_net())
    os.utime(runtime.addresses / "10.5.34.2", (1_000_000, 1_000_000))
    assert (await runtime.refusal("ADD", make_net()))[0] == 101


async def test_the_status_says_whether_an_add_would_be_served(runtime: Runtime, pod: Net) -> None:
    await runtime.succeed("STATUS", None)
    runtime.plugin.not_ready("no answer from the registry")
    expected = "the node has no pod network yet: no answer from the registry"
    assert await runtime.refusal("STATUS", None) == (50, expected)
    runtime.plugin.ready(NETWORK)
    await runtime.add(pod)
    runtime.plugin.not_ready("no answer from the registry")
    assert await runtime.refusal("STATUS", None) == (51, expected)


async def test_a_refusal_of_the_status_is_in_the_version_asked_for(runtime: Runtime) -> None:
    runtime.plugin.not_ready("starting")
    done = await runtime.execute("STATUS", None, {"cniVersion": "1.1.0"})
    assert json.loads(done.output)["cniVersion"] == "1.1.0"
