"""What holds of every walk, whatever the tables say."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv4Network, ip_address

from hypothesis import given, settings
from hypothesis import strategies as st

from nankeen.forwarding import Delivered, Host, echo_request, reply_to, walk
from nankeen.forwarding.derived import completed
from nankeen.forwarding.hop import Consulted
from nankeen.forwarding.packet import Ip, Packet, Udp, VxlanHeader
from nankeen.forwarding.prefixes import Prefixes
from nankeen.model.state import Route, State
from tests.unit.forwarding.cluster import cluster, node, pod
from tests.unit.forwarding.lines import state

ADDRESSES = (
    "10.244.1.5",
    "10.244.1.7",
    "10.244.2.5",
    "10.244.1.1",
    "10.244.2.1",
    "192.168.0.11",
    "192.168.0.12",
    "10.9.9.9",
)
LINES = {"node1": node(1), "node2": node(2), "pod1": pod(1, 5), "pod2": pod(2, 5), "pod3": pod(1, 7)}
NETWORKS = st.builds(
    lambda value, length: IPv4Network((value >> (32 - length) << (32 - length), length)),
    st.integers(0, 2**32 - 1),
    st.integers(1, 32),
)


@given(st.integers(0, 2**32), st.sampled_from(ADDRESSES), st.integers(1, 64), st.integers(0, 3000))
@settings(max_examples=150, deadline=None)
def test_every_walk_ends_and_each_router_takes_one_from_the_time_to_live(
    seed: int, to: str, ttl: int, size: int
) -> None:
    """Routes are altered at random: to other gateways, devices and hosts."""
    chance = random.Random(seed)
    world = cluster()
    for name, text in LINES.items():
        items = list(state(text))
        for number, item in enumerate(items):
            if isinstance(item, Route) and chance.random() < 0.3:
                gateway = ip_address(chance.choice(ADDRESSES))
                assert isinstance(gateway, IPv4Address)
                items[number] = Route(
                    item.destination, chance.choice(["eth0", "cni0", "flannel.1"]), gateway, onlink=True
                )
        kept = [item for item in items if chance.random() < 0.97]
        world = world.with_host(Host(name, completed(State(kept))))
    found = walk(world, echo_request(ip_address("10.244.1.5"), ip_address(to), size, ttl=ttl), "pod1")
    inner = [hop for hop in found.hops if hop.consulted is Consulted.ROUTE and len(hop.before.headers) == 2]
    crossed = sum(hop.before.ip.ttl - hop.after.ip.ttl for hop in inner)
    if isinstance(found.end, Delivered):
        assert found.last.ip.ttl == ttl - crossed
        assert found.last.payload == size
        assert found.last.ip.destination == ip_address(to)


@given(st.sampled_from(ADDRESSES[:7]), st.integers(0, 1400))
@settings(max_examples=30, deadline=None)
def test_what_is_delivered_in_a_sound_cluster_is_answered(to: str, size: int) -> None:
    world = cluster()
    there = walk(world, echo_request(ip_address("10.244.1.5"), ip_address(to), size))
    assert isinstance(there.end, Delivered)
    back = walk(world, reply_to(there), there.end.host, there.connections)
    assert isinstance(back.end, Delivered)
    assert back.end.address == ip_address("10.244.1.5")


@given(st.integers(0, 1400), st.integers(1, 2**24 - 1))
def test_to_encapsulate_and_to_decapsulate_again_is_the_identity(size: int, vni: int) -> None:
    packet = echo_request(ip_address("10.244.1.5"), ip_address("10.244.2.5"), size)
    outer = (Ip(ip_address("192.168.0.11"), ip_address("192.168.0.12")), Udp(0, 8472), VxlanHeader(vni))
    wrapped = packet.within(*outer)
    assert wrapped.size == packet.size + 36
    assert wrapped.without(3) == packet


@given(st.integers(576, 1500), st.integers(0, 3000))
def test_a_packet_in_fragments_is_as_long_as_its_largest(fragment: int, payload: int) -> None:
    whole = Packet((Ip(ip_address("10.0.0.1"), ip_address("10.0.0.2")), Udp(1, 2)), payload)
    cut = Packet((Ip(ip_address("10.0.0.1"), ip_address("10.0.0.2"), fragment=fragment), Udp(1, 2)), payload)
    assert cut.size == min(whole.size, fragment)


@given(st.lists(NETWORKS, max_size=40), st.integers(0, 2**32 - 1))
def test_the_longest_prefix_is_the_one_that_a_look_at_all_finds(networks: list[IPv4Network], value: int) -> None:
    address = IPv4Address(value)
    fitting = [network for network in networks if address in network]
    longest = Prefixes((network, network) for network in networks).longest(address)
    assert longest == max(fitting, key=lambda network: network.prefixlen, default=None)


@given(st.sampled_from(sorted(LINES)))
def test_what_a_kernel_adds_is_added_once(name: str) -> None:
    once = completed(state(LINES[name]))
    assert completed(once) == once
