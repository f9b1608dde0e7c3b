"""Ways that are told from memory: they are those that are walked."""

from __future__ import annotations

import random
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nankeen.forwarding import Delivered, Dropped, Host, World, echo_request, walk
from nankeen.forwarding.derived import completed
from nankeen.forwarding.leg import Leg
from nankeen.forwarding.packet import Packet
from nankeen.model.address import IPAddress
from nankeen.model.state import State
from tests.unit.forwarding.cluster import cluster, node, pod
from tests.unit.forwarding.lines import host, state

LINES = {"node1": node(1), "node2": node(2), "pod1": pod(1, 5), "pod2": pod(2, 5), "pod3": pod(1, 7)}
ADDRESSES: list[IPAddress] = [
    ip_address(text)
    for text in ("10.244.1.5", "10.244.1.7", "10.244.2.5", "10.244.1.1", "192.168.0.12", "10.244.1.255", "10.9.9.9")
]


def damaged(seed: int) -> World:
    """The cluster, with a line less here and there."""
    chance = random.Random(seed)
    world = cluster()
    for name, text in LINES.items():
        kept = [item for item in state(text) if chance.random() < 0.97]
        world = world.with_host(Host(name, completed(State(kept))))
    return world


@given(st.integers(0, 2**32), st.lists(st.tuples(st.sampled_from(ADDRESSES), st.integers(0, 3000)), max_size=8))
@settings(max_examples=60, deadline=None)
def test_what_is_told_from_memory_is_what_is_walked_stage_by_stage(
    seed: int, packets: list[tuple[IPAddress, int]]
) -> None:
    """Who asks for passages has every stage walked."""
    remembering = damaged(seed)
    for to, size in packets:
        packet = echo_request(ADDRESSES[0], to, size)
        told, walked = walk(remembering, packet, "pod1"), walk(damaged(seed), packet, "pod1", passages=True)
        assert (told.end, told.last, told.hops) == (walked.end, walked.last, walked.hops)


def of(world: World) -> dict[tuple[str, str], Leg]:
    return {key[:2]: found for key, found in world.legs.items() if found}


def sent(world: World, to: str, payload: int = 56, source: str = "10.244.1.5") -> object:
    return walk(world, echo_request(ip_address(source), ip_address(to), payload)).end


def test_a_way_is_remembered_from_host_to_host() -> None:
    world = cluster()
    assert isinstance(sent(world, "10.244.2.5"), Delivered)
    legs = {place: (leg.host.name, leg.device) for place, leg in of(world).items()}
    assert legs == {
        ("pod1", "eth0"): ("node1", "cni0"),
        ("node1", "eth0"): ("node2", "eth0"),
        ("node2", "cni0"): ("pod2", "eth0"),
    }


def test_a_packet_that_might_be_too_big_is_walked() -> None:
    small = cluster(pod2=host("pod2", pod(2, 5).replace("mtu 1450", "mtu 1300")))
    assert isinstance(sent(small, "10.244.2.5"), Delivered)
    assert of(small)["node2", "cni0"].limit == 1300
    assert isinstance(sent(small, "10.244.2.5", 1300), Dropped)
    assert isinstance(sent(small, "10.244.2.5", 1276), Delivered)  # 1304 bytes: room for a VLAN tag is left


@pytest.mark.parametrize("to", ["10.244.1.255", "255.255.255.255"])
def test_what_is_for_all_is_not_told_from_memory(to: str) -> None:
    world = cluster()
    sent(world, to)
    assert not of(world)


def test_a_world_with_another_host_remembers_nothing_of_the_one_before() -> None:
    world = cluster()
    assert isinstance(sent(world, "10.244.2.5"), Delivered)
    unplugged = world.with_host(host("node2", node(2).replace("veth mtu 1450 master cni0", "veth mtu 1450")))
    assert not isinstance(sent(unplugged, "10.244.2.5"), Delivered)


def test_a_frame_is_not_remembered_beyond_its_headers() -> None:
    world = cluster()
    first = walk(world, echo_request(ADDRESSES[0], ADDRESSES[2], 10))
    second = walk(world, echo_request(ADDRESSES[0], ADDRESSES[2], 900, ttl=9))
    assert [type(hop.entry) for hop in first.hops] == [type(hop.entry) for hop in second.hops]
    assert second.hops[-1].after == Packet(second.last.headers, 900)
