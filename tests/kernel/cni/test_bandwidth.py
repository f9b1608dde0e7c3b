"""Limits of what pods receive and send: held against a sender that would send more, and taken back with the pod.

A token bucket's law needs no clock that is right: in any time t no more than burst + rate · t passes, so that N bytes
take (N - burst) / rate at least, on a machine however slow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nankeen.kernel.netlink import qdisc
from nankeen.model.errors import KernelError
from nankeen.model.shaping import WHOLE_PACKET
from nankeen.pods.bandwidth import ifb_name
from tests.kernel.cni.runtime import Config, Runtime, veths
from tests.kernel.conftest import Net
from tests.kernel.pods.conftest import ping
from tests.kernel.stream import seconds

pytestmark = pytest.mark.parametrize("contents", ["python"], indirect=True)
"""Which of the twins asks makes no difference here."""

RATE, BURST = 16_000_000, 1_600_000
"""Bits a second, and bits: 2 MB/s after the first 200 KB."""
BOTH = {"ingressRate": RATE, "ingressBurst": BURST, "egressRate": RATE, "egressBurst": BURST}


def limits(**asked: object) -> Config:
    return {"runtimeConfig": {"bandwidth": asked or BOTH}}


def ifbs(node: Net) -> list[str]:
    return [line.split()[0] for line in node.run("ip -brief link show type ifb").splitlines()]


def stream(source: Net, destination: Net, address: str, amount: int) -> float:
    """How many seconds so many bytes take by TCP."""
    return seconds(source.namespace, destination.namespace, address, amount)


@pytest.mark.parametrize("address", ["10.5.34.1", "fc00:5:0:60::1"])
async def test_what_a_pod_sends_keeps_to_its_limit(runtime: Runtime, node: Net, pod: Net, address: str) -> None:
    await runtime.add(pod, limits(egressRate=RATE, egressBurst=BURST))
    amount = 1_000_000
    assert stream(pod, node, address, amount) >= (amount - BURST / 8) / (RATE / 8)


@pytest.mark.parametrize("address", ["10.5.34.2", "fc00:5:0:60::2"])
async def test_what_a_pod_receives_keeps_to_its_limit(runtime: Runtime, node: Net, pod: Net, address: str) -> None:
    await runtime.add(pod, limits(ingressRate=RATE, ingressBurst=BURST))
    amount = 1_000_000
    assert stream(node, pod, address, amount) >= (amount - BURST / 8) / (RATE / 8)


async def test_the_other_direction_is_not_limited(runtime: Runtime, node: Net, pod: Net) -> None:
    """It would take a minute and more if it were."""
    await runtime.add(pod, limits(egressRate=80_000, egressBurst=80_000))
    stream(node, pod, "10.5.34.2", 2_000_000)


@pytest.mark.parametrize("burst", [8, 80_000])
async def test_a_burst_smaller_than_a_packet_holds_the_limit_and_lets_packets_through(
    runtime: Runtime, node: Net, pod: Net, burst: int
) -> None:
    """Packets that are still to be segmented are 64 KiB large here: the kernel cuts them before the bucket."""
    await runtime.add(pod, limits(egressRate=RATE, egressBurst=burst, ingressRate=RATE, ingressBurst=burst))
    amount = 500_000
    least = (amount - 16_384) / (RATE / 8)
    assert stream(pod, node, "10.5.34.1", amount) >= least
    assert stream(node, pod, "10.5.34.2", amount) >= least


async def test_what_a_runtime_writes_for_no_burst_at_all_is_none(runtime: Runtime, node: Net, pod: Net) -> None:
    """Taken at its word, half a gigabyte would pass at once."""
    await runtime.add(pod, limits(ingressRate=RATE, ingressBurst=2**32 - 1))
    amount = 1_000_000
    assert stream(node, pod, "10.5.34.2", amount) >= (amount - RATE / 80) / (RATE / 8)


SLOW = {"egressRate": 80_000, "egressBurst": 80_000, "ingressRate": 80_000, "ingressBurst": 80_000}
"""Ten kilobytes a second: what a limit of that holds would take minutes."""


@pytest.mark.parametrize("spared", [["10.5.0.0/16", "fc00:5::/48"], ["0.0.0.0/0", "::/0"]])
async def test_far_ends_that_are_spared_are_not_limited(
    runtime: Runtime, node: Net, pod: Net, spared: list[str]
) -> None:
    await runtime.add(pod, limits(**SLOW, unshapedSubnets=spared))
    for here, there in (("10.5.34.1", "10.5.34.2"), ("fc00:5:0:60::1", "fc00:5:0:60::2")):
        stream(pod, node, here, 2_000_000)
        stream(node, pod, there, 2_000_000)


@pytest.mark.parametrize("rate, burst", [(400, 8_000), (10_000_000, 4_000_000_000)])
async def test_a_bucket_that_takes_minutes_to_fill_is_made_and_checked(
    runtime: Runtime, pod: Net, rate: int, burst: int
) -> None:
    config = limits(ingressRate=rate, ingressBurst=burst, unshapedSubnets=["10.5.0.0/16"])
    result = await runtime.add(pod, config)
    await runtime.succeed("CHECK", pod, {**config, "prevResult": result})


async def test_far_ends_that_are_not_the_limited_ones_are_not_limited(runtime: Runtime, node: Net, pod: Net) -> None:
    await runtime.add(pod, limits(**SLOW, shapedSubnets=["192.0.2.0/24", "2001:db8::/32"]))
    for here, there in (("10.5.34.1", "10.5.34.2"), ("fc00:5:0:60::1", "fc00:5:0:60::2")):
        stream(pod, node, here, 2_000_000)
        stream(node, pod, there, 2_000_000)


@pytest.mark.parametrize(
    "subnets",
    [{"unshapedSubnets": ["192.0.2.0/24", "2001:db8::/32"]}, {"shapedSubnets": ["10.5.34.0/24", "fc00:5:0:60::/64"]}],
)
@pytest.mark.parametrize("ends", [("10.5.34.1", "10.5.34.2"), ("fc00:5:0:60::1", "fc00:5:0:60::2")])
async def test_far_ends_that_are_not_spared_are_limited(
    runtime: Runtime, node: Net, pod: Net, subnets: dict[str, list[str]], ends: tuple[str, str]
) -> None:
    await runtime.add(pod, limits(**BOTH, **subnets))
    amount = 500_000
    least = (amount - BURST / 8 - WHOLE_PACKET) / (RATE / 8)
    assert stream(pod, node, ends[0], amount) >= least
    assert stream(node, pod, ends[1], amount) >= least


@pytest.mark.parametrize(
    "damage",
    [
        "tc class change dev DEVICE parent 1: classid 1:30 htb rate 1mbit burst 200000",
        "tc filter del dev DEVICE parent 1: pref 6",
        "tc qdisc del dev DEVICE root",
    ],
)
async def test_limits_of_some_far_ends_are_checked(runtime: Runtime, node: Net, pod: Net, damage: str) -> None:
    config = limits(**BOTH, unshapedSubnets=["10.5.0.0/16", "fc00:5::/48"])
    result = await runtime.add(pod, config)
    before = node.run("tc class show dev " + veths(node)[0])
    assert await runtime.add(pod, config) == result
    assert node.run("tc class show dev " + veths(node)[0]) == before
    for device in (veths(node)[0], ifb_name("cbr0", pod.name)):
        await runtime.succeed("CHECK", pod, {**config, "prevResult": result})
        node.run(damage.replace("DEVICE", device))
        code, text = await runtime.refusal("CHECK", pod, {**config, "prevResult": result})
        assert (code, text) == (103, f"CHECK: {device} has no token bucket of rate 16000000 bit/s, burst 200000 bytes")
        await runtime.add(pod, config)


async def test_the_devices_are_told_as_the_reference_plugin_tells_them(runtime: Runtime, node: Net, pod: Net) -> None:
    result = await runtime.add(pod, limits())
    name = ifb_name("cbr0", pod.name)
    assert [item["name"] for item in result["interfaces"]] == ["cni0", *veths(node), "eth0", name]
    assert result["interfaces"][3]["mac"] in node.run(f"ip link show {name}")
    shown = node.run(f"tc qdisc show dev {veths(node)[0]}") + node.run(f"tc qdisc show dev {name}")
    assert shown.count("tbf 1: root") == 2
    assert shown.count("rate 16Mbit burst 200000b") == 2


async def test_the_same_again_changes_nothing_and_another_limit_does(runtime: Runtime, node: Net, pod: Net) -> None:
    first = await runtime.add(pod, limits())
    before = node.run("tc qdisc show"), node.run("ip link show type ifb")
    assert await runtime.add(pod, limits()) == first
    assert (node.run("tc qdisc show"), node.run("ip link show type ifb")) == before
    await runtime.add(pod, limits(ingressRate=8_000_000, ingressBurst=BURST))
    assert "rate 8Mbit" in node.run(f"tc qdisc show dev {veths(node)[0]}")
    assert "ingress" not in node.run(f"tc qdisc show dev {veths(node)[0]}")
    assert ifbs(node) == []


async def test_the_limits_go_with_the_pod(runtime: Runtime, node: Net, pod: Net) -> None:
    await runtime.add(pod, limits())
    for _ in range(2):
        await runtime.delete(pod)  # a runtime need not say again what it asked for
        assert (veths(node), ifbs(node)) == ([], [])


async def test_what_is_left_of_pods_that_are_no_more_is_taken_back(
    runtime: Runtime, node: Net, make_net: Callable[[], Net]
) -> None:
    pods = [make_net() for _ in range(3)]
    for pod in pods:
        await runtime.add(pod, limits())
    await runtime.add(other := make_net(), {**limits(), "name": "second"})
    node.run("ip link add bwp0123456789ab type ifb")  # somebody else's
    for path in runtime.addresses.iterdir():
        path.unlink()  # nobody knows any more who was there
    valid = [{"containerID": pods[0].name, "ifname": "eth0"}]
    await runtime.succeed("GC", None, {"cni.dev/valid-attachments": valid})
    kept = {ifb_name("cbr0", pods[0].name), ifb_name("second", other.name), "bwp0123456789ab"}
    assert set(ifbs(node)) == kept


@pytest.mark.parametrize(
    "damage, told",
    [
        ("tc qdisc del dev HOST root", "HOST has no token bucket of rate 16000000 bit/s, burst 200000 bytes"),
        ("tc qdisc replace dev HOST root tbf rate 1mbit burst 200000 limit 200000", "HOST has no token bucket"),
        ("tc qdisc replace dev HOST root tbf rate 16mbit burst 100000 limit 200000", "HOST has no token bucket"),
        ("tc qdisc del dev IFB root", "IFB has no token bucket"),
        ("tc qdisc del dev HOST ingress", "what the pod sends by HOST does not pass IFB"),
        ("tc filter del dev HOST ingress", "what the pod sends by HOST does not pass IFB"),
        ("ip link del IFB", "the node has no IFB"),
    ],
)
async def test_what_is_missing_is_named_and_made_again(
    runtime: Runtime, node: Net, pod: Net, damage: str, told: str
) -> None:
    result = await runtime.add(pod, limits())
    await runtime.succeed("CHECK", pod, {**limits(), "prevResult": result})
    names = {"HOST": veths(node)[0], "IFB": ifb_name("cbr0", pod.name)}
    for word, name in names.items():
        damage, told = damage.replace(word, name), told.replace(word, name)
    node.run(damage)
    code, text = await runtime.refusal("CHECK", pod, {**limits(), "prevResult": result})
    assert code == 103
    assert told in text
    await runtime.add(pod, limits())
    await runtime.succeed("CHECK", pod, {**limits(), "prevResult": result})


async def test_a_second_interface_of_a_pod_has_limits_of_its_own(runtime: Runtime, node: Net, pod: Net) -> None:
    await runtime.add(pod, limits())
    await runtime.add(pod, limits(), CNI_IFNAME="net1")
    assert len(ifbs(node)) == 2
    await runtime.succeed("DEL", pod, CNI_IFNAME="net1")
    assert ifbs(node) == [ifb_name("cbr0", pod.name)]


async def test_a_limit_that_cannot_be_made_leaves_nothing(
    runtime: Runtime, node: Net, pod: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> bytes:  # noqa: ANN401
        raise KernelError("Specified qdisc kind is unknown", errno=2)

    monkeypatch.setattr(qdisc, "redirect", refused)
    done = await runtime.execute("ADD", pod, limits())
    assert done.status == 1
    assert b"the kernel needs sch_tbf" in done.output
    assert (veths(node), ifbs(node), runtime.reserved()) == ([], [], set())


async def test_a_refused_limit_makes_nothing(runtime: Runtime, node: Net, pod: Net) -> None:
    code, text = await runtime.refusal("ADD", pod, limits(ingressRate=8000))
    assert code == 7
    assert "runtimeConfig.bandwidth.ingressBurst" in text
    assert (veths(node), runtime.reserved()) == ([], set())


async def test_a_limited_pod_is_reached_as_any_other(runtime: Runtime, make_net: Callable[[], Net]) -> None:
    one, two = make_net(), make_net()
    await runtime.add(one, limits())
    await runtime.add(two, limits())
    for destination in ("10.5.34.1", "10.5.34.3", "fc00:5:0:60::1", "fc00:5:0:60::3"):
        assert ping(one, destination)
