"""Clusters whose configuration changes while packets are under way, and clusters with a router in the middle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.standing import network, pair, run, standing, undisturbed

if TYPE_CHECKING:
    from tests.lab.standing import Standing

VXLAN = {"Type": "vxlan"}
HOST_GW = {"Type": "host-gw"}
UDP = {"Type": "udp"}
TO_NODE2 = ("ip route show 10.244.2.0/24", "ip -6 route show fd00:10:244:2::/64")
RACKS = {
    **pair(),
    **pair(3),
    "sw1": {"kind": "switch"},
    "sw2": {"kind": "switch"},
    "r1": {"kind": "router"},
}
CABLES = (
    *("node1:eth0 sw1:port1", "node2:eth0 sw1:port2", "r1:eth0 sw1:port3"),
    *("node3:eth0 sw2:port1", "node4:eth0 sw2:port2", "r1:eth1 sw2:port3"),
)
"""node1 and node2 in one subnet, node3 and node4 in another."""


@pytest.fixture
def lab() -> Iterator[Standing]:
    with standing(network(VXLAN)) as made:
        yield made


def ways(lab: Standing) -> list[str]:
    """How node1 reaches the pods of node2, as `ip route` prints it: both families."""
    return [lab.tool("node1", command).strip().removesuffix(" pref medium") for command in TO_NODE2]


def devices(lab: Standing) -> set[str]:
    """The fabric's devices on node1."""
    return {name for name in lab.tool("node1", "ls /sys/class/net").split() if name.startswith("flannel")}


async def moved(lab: Standing, backend: dict[str, Any], stood: set[str]) -> None:
    """Gives the cluster another backend; returns when all is by it, and nothing left of those devices that stood."""
    await lab.configure(backend)
    await lab.settled(lambda: not devices(lab) & stood)
    announced = "" if backend == UDP else backend["Type"]
    await lab.leased(lambda lease: lease.backend == announced and not lease.offers)
    await lab.in_step()


async def test_vxlan_to_host_gw_and_back_loses_no_packet(lab: Standing) -> None:
    by_tunnel = ways(lab)
    assert all("dev flannel" in way for way in by_tunnel)
    async with undisturbed(lab):
        await moved(lab, HOST_GW, {"flannel.1", "flannel-v6.1"})
        assert ways(lab) == [
            "10.244.2.0/24 via 192.168.0.12 dev eth0 proto 110",
            "fd00:10:244:2::/64 via fd00:192:168::12 dev eth0 proto 110 metric 1024",
        ]
        await moved(lab, VXLAN, set())
        assert ways(lab) == by_tunnel
    assert "The pod network model holds" in run("verify", "--name", lab.lab.name)


async def test_vxlan_to_udp_and_back_loses_no_packet_and_leaves_no_process(lab: Standing) -> None:
    async with undisturbed(lab):
        await moved(lab, UDP, {"flannel.1", "flannel-v6.1"})
        assert devices(lab) == {"flannel0"}
        assert ways(lab) == ["", ""]
        assert "10.244.0.0/16 dev flannel0 scope link" in lab.tool("node1", "ip route show")
        await moved(lab, VXLAN, {"flannel0"})
    for node in lab.nodes:
        assert not (node.directory / "run/nankeen/tunnel.sock").exists()
    assert "The pod network model holds" in run("verify", "--name", lab.lab.name)


async def test_a_node_sends_by_udp_only_to_those_that_it_shares_nothing_better_with(lab: Standing) -> None:
    """The preferred backend of one node is another's fallback."""
    await lab.registry.set_config(json.dumps({**network(UDP), "Fallbacks": [VXLAN]}))
    await lab.leased(lambda lease: lease.backend == "" and [offer.backend for offer in lease.offers] == ["vxlan"])
    await lab.in_step()
    async with undisturbed(lab):
        await lab.registry.set_config(json.dumps({**network(VXLAN), "Fallbacks": [UDP]}))
        await lab.leased(lambda lease: lease.backend == "vxlan" and [o.backend for o in lease.offers] == ["udp"])
        await lab.in_step()
        assert all("dev flannel" in way for way in ways(lab))


async def test_another_vni_loses_no_packet(lab: Standing) -> None:
    async with undisturbed(lab):
        await moved(lab, {"Type": "vxlan", "VNI": 7}, {"flannel.1", "flannel-v6.1"})
    assert devices(lab) == {"flannel.7", "flannel-v6.7"}
    assert [way.split(" dev ")[1].split()[0] for way in ways(lab)] == ["flannel.7", "flannel-v6.7"]


async def test_another_mtu_and_direct_routing_lose_no_packet(lab: Standing) -> None:
    async with undisturbed(lab):
        await lab.configure({"Type": "vxlan", "MTU": 1400})
        for node in lab.nodes:
            await lab.told(node.name, lambda status: status.mtu == 1330 and status.ready)
        await lab.configure({"Type": "vxlan", "MTU": 1400, "DirectRouting": True})
        await lab.settled(lambda: all("dev eth0" in way for way in ways(lab)))
        await lab.in_step()
    assert "The pod network model holds" in run("verify", "--name", lab.lab.name)


async def test_direct_routing_chooses_for_each_peer_by_whether_it_is_on_link() -> None:
    with standing(network({"Type": "vxlan", "DirectRouting": True}), RACKS, *CABLES) as lab:
        assert [way.split(" dev ")[1].split()[0] for way in ways(lab)] == ["eth0", "eth0"]
        for command in ("ip route show 10.244.3.0/24", "ip route show 10.244.4.0/24"):
            assert "dev flannel.1 onlink" in lab.tool("node1", command)
        assert "The pod network model holds" in run("verify", "--name", lab.lab.name)
        async with lab.traffic("pod1", "pod2") as near, lab.traffic("pod1", "pod3") as far:
            for node in lab.nodes:
                await lab.restart(node.name, kill=True)
        assert (near.lost, far.lost) == (0, 0)


async def test_host_gw_names_the_peers_that_a_router_keeps_it_from() -> None:
    with standing(network(HOST_GW, "ipv4"), RACKS, *CABLES) as lab:
        status = await lab.told("node1", lambda status: status.ready)
        assert status.peers == 1
        assert dict(status.rejected) == {
            "node3": "192.168.1.11 is not on-link: the route to it leads via 192.168.0.1",
            "node4": "192.168.1.12 is not on-link: the route to it leads via 192.168.0.1",
        }
        async with undisturbed(lab):
            pass
