"""Who may place frames in the pod network: peers, and nobody else. Each way in is shown open first, then closed."""

from __future__ import annotations

from ipaddress import ip_network

from nankeen.model.address import Family
from tests.kernel.firewall.world import BOTH, PORT, World, firewall, frame, inside, underlay


def injected(world: World, family: Family, *, at: int, sender: str, to: str, source: str = "") -> bool:
    """Whether a forged frame comes out of that node's tunnel. What is sent after it tells when to stop waiting."""
    with world.listen(f"node{at}", family) as receiver:
        world.send(sender, to, frame(at, family), port=PORT, source=source)
        world.send(sender, to, b"marker", source=source)
        first = receiver.next()[1]
        if first == b"forged":
            assert receiver.next()[1] == b"marker"
        return first == b"forged"


@BOTH
def test_a_pod_cannot_inject_into_the_tunnel_of_its_node(world: World, family: Family) -> None:
    for to in (inside(1, 1, family), underlay(1, family)):
        assert injected(world, family, at=1, sender="pod1", to=to)
    world.filter().converge(firewall())
    for to in (inside(1, 1, family), underlay(1, family)):
        assert not injected(world, family, at=1, sender="pod1", to=to)


@BOTH
def test_a_host_that_is_no_peer_cannot_inject(world: World, family: Family) -> None:
    assert injected(world, family, at=1, sender="lan", to=underlay(1, family))
    world.filter().converge(firewall())
    assert not injected(world, family, at=1, sender="lan", to=underlay(1, family))


@BOTH
def test_a_pod_cannot_borrow_its_nodes_address_by_masquerade_to_inject_elsewhere(world: World, family: Family) -> None:
    world.filter("node2").converge(firewall(2, peers=(1,)))
    world.filter("node1").converge(firewall(protect=False, ip_masq=True))
    assert injected(world, family, at=2, sender="pod1", to=underlay(2, family))
    world.filter("node1").converge(firewall(ip_masq=True))
    assert not injected(world, family, at=2, sender="pod1", to=underlay(2, family))


@BOTH
def test_a_pod_cannot_inject_through_the_tunnel_with_the_address_of_a_peer(world: World, family: Family) -> None:
    forged = underlay(7, family)  # another node, as far as node2 knows
    world.nets["pod1"].run(f"ip address add {forged} dev lo")
    to = inside(2, 1, family)
    assert injected(world, family, at=2, sender="pod1", to=to, source=forged)
    world.filter("node1").converge(firewall(peers=(2, 7)))
    world.filter("node2").converge(firewall(2, peers=(1, 7)))
    assert not injected(world, family, at=2, sender="pod1", to=to, source=forged)


@BOTH
def test_peers_reach_each_other_and_a_peer_that_left_does_not(world: World, family: Family) -> None:
    filters = {number: world.filter(f"node{number}") for number in (1, 2)}
    for number, opened in filters.items():
        opened.converge(firewall(number, peers=(3 - number,)))
    assert world.source_seen("pod1", inside(2, 5, family), "pod2") == inside(1, 5, family)
    assert world.source_seen("pod2", inside(1, 5, family), "pod1") == inside(2, 5, family)
    assert injected(world, family, at=2, sender="node1", to=underlay(2, family))
    filters[2].converge(firewall(2, peers=()))
    assert not injected(world, family, at=2, sender="node1", to=underlay(2, family))


@BOTH
def test_a_pod_may_use_the_port_towards_another_pod(world: World, family: Family) -> None:
    for number in (1, 2):
        world.filter(f"node{number}").converge(firewall(number, peers=(3 - number,), ip_masq=True))
    with world.listen("pod2", family, PORT) as receiver:
        world.send("pod1", inside(2, 5, family), b"no tunnel", port=PORT)
        assert receiver.next() == (inside(1, 5, family), b"no tunnel")


@BOTH
def test_a_network_that_is_trusted_may_send_tunnel_packets(world: World, family: Family) -> None:
    trusted = (ip_network("192.168.50.8/29"), ip_network("fd50::8/125"))
    world.filter().converge(firewall(tunnel_sources=trusted))
    assert injected(world, family, at=1, sender="lan", to=underlay(1, family))


def test_what_is_dropped_is_counted(world: World) -> None:
    world.filter().converge(firewall())
    assert not injected(world, Family.IPV4, at=1, sender="lan", to=underlay(1, Family.IPV4))
    listing = world.nets["node1"].run("nft list chain inet nankeen tunnel")
    assert listing.count("counter packets 1 ") == 1
