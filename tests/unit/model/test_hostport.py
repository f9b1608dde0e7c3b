"""Host ports: which exclude each other, and what they come to in the packet filter."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.model.address import Family, IPAddress
from nankeen.model.hostport import MAPS, HostPort, PortMapping, PortTable, Transport

TARGETS = {Family.IPV4: ip_address("10.5.34.2"), Family.IPV6: ip_address("fc00::2")}
PLACES = [None, *map(ip_address, ("0.0.0.0", "::", "127.0.0.1", "192.0.2.1", "fd50::1"))]  # noqa: S104
mappings = st.builds(
    PortMapping, st.sampled_from(Transport), st.integers(80, 82), st.integers(1, 2), st.sampled_from(PLACES)
)


def keys(mapping: PortMapping) -> set[tuple[str, bytes]]:
    """What it fills of the maps for a pod of both families."""
    ports = [
        HostPort(mapping.protocol, mapping.host_port, target, mapping.container_port, mapping.alone)
        for family, target in TARGETS.items()
        if mapping.is_in(family)
    ]
    return {(port.map, port.key) for port in ports}


@given(mappings, mappings)
def test_a_collision_is_mutual_and_everything_collides_with_itself(one: PortMapping, other: PortMapping) -> None:
    assert one.collides(other) is other.collides(one)
    assert one.collides(one)


@given(mappings, mappings)
def test_what_does_not_collide_never_fills_the_same_place_of_a_map(one: PortMapping, other: PortMapping) -> None:
    if not one.collides(other):
        assert keys(one).isdisjoint(keys(other))


def is_meant(mapping: PortMapping, address: IPAddress) -> bool:
    """Whether a packet to that address of the node, to the mapping's port, is meant."""
    place = mapping.host_address
    if place is None or place == address:
        return True
    return place.is_unspecified and place.version == address.version


@given(mappings, mappings, st.sampled_from([item for item in PLACES if item is not None and not item.is_unspecified]))
def test_mappings_collide_where_a_packet_could_go_either_way(
    one: PortMapping, other: PortMapping, address: IPAddress
) -> None:
    same = (one.protocol, one.host_port) == (other.protocol, other.host_port)
    if same and is_meant(one, address) and is_meant(other, address):
        assert one.collides(other)


@pytest.mark.parametrize(
    "port, name, key, data, text",
    [
        (
            HostPort(Transport.TCP, 8080, ip_address("10.5.34.2"), 80),
            "any4",
            "06000000 1f900000",
            "0a052202 00500000",
            "tcp . 8080 : 10.5.34.2 . 80",
        ),
        (
            HostPort(Transport.SCTP, 9000, ip_address("fc00::2"), 90, ip_address("fd50::1")),
            "one6",
            "fd500000 00000000 00000000 00000001 84000000 23280000",
            "fc000000 00000000 00000000 00000002 005a0000",
            "fd50::1 . sctp . 9000 : fc00::2 . 90",
        ),
    ],
)
def test_an_element_is_what_nft_makes_of_its_words(port: HostPort, name: str, key: str, data: str, text: str) -> None:
    assert (port.map, port.key, port.data) == (name, bytes.fromhex(key), bytes.fromhex(data))
    assert str(port) == text


def test_each_port_is_an_element_of_one_map_and_none_is_a_rule() -> None:
    ports = frozenset(HostPort(Transport.UDP, number, TARGETS[Family.IPV4], 53) for number in range(1, 100))
    table = PortTable((ip_network("10.5.34.0/24"),), ports)
    assert sum(len(table.elements(name)) for name in MAPS) == 99
    assert str(table) == str(PortTable(table.networks))


def test_only_packets_for_the_node_itself_are_looked_at() -> None:
    lines = str(PortTable()).split("\n")
    ways = [line.strip() for line in lines if "jump" in line]
    assert ways == ["fib daddr type local jump ports"] * 2
