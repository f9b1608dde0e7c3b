"""Labs of each backend and each family: packets under way while agents end, and kernels that are damaged."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.standing import FAMILIES, network, run, standing, undisturbed

if TYPE_CHECKING:
    from tests.lab.standing import Standing

BACKENDS: dict[str, dict[str, Any]] = {
    "vxlan": {"Type": "vxlan"},
    "host-gw": {"Type": "host-gw"},
    "vxlan-direct": {"Type": "vxlan", "DirectRouting": True},
    "udp": {"Type": "udp"},
}
EVERYWHERE = [
    "ip address flush dev cni0",
    "sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0",
]
DEVICE = ["ip link delete {device}", "ip link set {device} down"]
ADDRESS = ["ip -{version} address flush dev {device} scope global"]
TUNNEL = [
    "ip -{version} route delete {subnet}",
    "ip -{version} route replace {subnet} dev eth0",
    "ip -{version} neigh flush dev {device} nud permanent",
    "bridge fdb show dev {device} | while read entry; do bridge fdb delete $entry dev {device}; done",
]
PLAIN = [
    "ip -{version} route flush proto 110",
    "ip -{version} route replace {subnet} dev eth0",
]
TUN = [
    "ip link delete flannel0",
    "ip link set flannel0 down",
    "ip -{version} address flush dev flannel0",
    "ip -{version} route delete {network} dev flannel0",
    "ip link delete flannel0; ip tuntap add dev flannel0 mode tun",
]
DAMAGE = {
    "vxlan": [*DEVICE, *ADDRESS, *TUNNEL],
    "host-gw": PLAIN,
    "vxlan-direct": [*DEVICE, *ADDRESS, *PLAIN],
    "udp": TUN,
}
WORDS = {
    "ipv4": {"version": "4", "device": "flannel.1", "subnet": "10.244.2.0/24", "network": "10.244.0.0/16"},
    "ipv6": {
        "version": "6",
        "device": "flannel-v6.1",
        "subnet": "fd00:10:244:2::/64",
        "network": "fd00:10:244::/48",
    },
}


@pytest.fixture(scope="module", params=[f"{backend} {family}" for backend in BACKENDS for family in FAMILIES])
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A backend and a family."""
    backend, family = str(request.param).split()
    return backend, family


@pytest.fixture(scope="module")
def lab(kind: tuple[str, str]) -> Iterator[Standing]:
    backend, family = kind
    with standing(network(BACKENDS[backend], family)) as made:
        yield made


def test_the_pod_network_model_holds(lab: Standing) -> None:
    assert "The pod network model holds" in run("verify", "--name", lab.lab.name)


@pytest.mark.parametrize("kill", [False, True], ids=["SIGTERM", "SIGKILL"])
async def test_no_packet_is_lost_while_every_agent_ends_and_another_starts(lab: Standing, *, kill: bool) -> None:
    async with undisturbed(lab):
        for node in lab.nodes:
            await lab.restart(node.name, kill=kill)
    snapshot = await lab.snapshot()
    assert [lab.differences(node.name, snapshot) for node in lab.nodes] == [[], []]


async def test_whatever_is_broken_of_a_nodes_kernel_comes_back_and_pods_with_it(
    lab: Standing, kind: tuple[str, str]
) -> None:
    backend, family = kind
    for command in [
        *EVERYWHERE,
        *(command.format(**WORDS[each]) for each in FAMILIES[family] for command in DAMAGE[backend]),
    ]:
        await lab.damage("node1", command)
        if backend == "udp":
            await lab.settled(partial(is_read, lab))
        async with undisturbed(lab):
            pass


def is_read(lab: Standing) -> bool:
    """Whether a process has the TUN device of node1 open: it has a carrier then."""
    return ",LOWER_UP" in lab.tool("node1", "ip link show dev flannel0")


async def test_pods_come_back_when_their_bridge_was_deleted() -> None:
    with standing(network(BACKENDS["vxlan"], "ipv4")) as lab:
        await lab.damage("node1", "ip link delete cni0")
        async with undisturbed(lab):
            pass
