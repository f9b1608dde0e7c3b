"""The lookup in the main routing table, against a model that looks at every route."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.backend.routing import NextHop, RouteTable
from nankeen.model.address import IPAddress
from nankeen.model.state import Route, State
from tests.unit.backend.routes import route, table

LINES = (
    "default via 10.99.0.254 dev eth0",
    "10.99.0.0/24 dev eth0",
    "10.99.0.128/25 via 10.99.0.7 dev eth0",
    "10.98.0.0/16 dev eth1 metric 20",
    "10.98.0.0/16 via 10.99.0.9 dev eth0 metric 10",
    "10.97.0.0/16 dev eth2 table 7",
    "fd99::/64 dev eth0",
)


@pytest.mark.parametrize(
    "address, device, gateway",
    [
        ("10.99.0.2", "eth0", ""),
        ("10.99.0.129", "eth0", "10.99.0.7"),
        ("10.98.1.1", "eth0", "10.99.0.9"),
        ("10.97.1.1", "eth0", "10.99.0.254"),
        ("192.0.2.1", "eth0", "10.99.0.254"),
        ("fd99::2", "eth0", ""),
    ],
)
def test_the_longest_prefix_and_then_the_lowest_metric_lead(address: str, device: str, gateway: str) -> None:
    hop = table(*LINES).next_hop(ip_address(address))
    assert hop == NextHop(device, ip_address(gateway) if gateway else None)


def test_where_no_route_leads_there_is_no_next_hop() -> None:
    assert table(*LINES).next_hop(ip_address("2001:db8::1")) is None
    assert table().next_hop(ip_address("10.99.0.2")) is None


def test_what_the_fabric_itself_adds_to_the_table_changes_nothing() -> None:
    before = [route(line) for line in LINES]
    ours = [
        route("10.5.2.0/24 via 10.5.2.0 dev flannel.1"),
        route("10.5.3.0/24 via 10.99.0.3 dev eth0 proto 110"),
        route("10.5.1.0/24 dev cni0 proto 2"),
        route("fe80::/64 dev veth1 metric 256"),
    ]
    found = RouteTable.of(State([*before, *ours]), besides={"flannel.1", "cni0"})
    assert found == RouteTable.of(State(before)) == table(*LINES)
    assert hash(found) == hash(table(*LINES))


def test_a_table_with_another_way_is_another_table() -> None:
    assert table(*LINES) != table(*LINES[1:])
    assert table("10.99.0.0/24 dev eth0") != table("10.99.0.0/24 dev eth1")


# Few bits, so that prefixes and addresses meet.
ipv4 = st.integers(0, 255).map(lambda bits: IPv4Address(0x0A630000 + (bits >> 4 << 12) + (bits & 15)))
ipv6 = st.integers(0, 255).map(lambda bits: IPv6Address((0xFD99 << 112) + (bits >> 4 << 64) + (bits & 15)))
networks = st.one_of(
    st.builds(lambda address, length: IPv4Network((address, length), strict=False), ipv4, st.integers(0, 32)),
    st.builds(lambda address, length: IPv6Network((address, length), strict=False), ipv6, st.integers(0, 128)),
)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    network = draw(networks)
    gateways: st.SearchStrategy[IPAddress] = ipv4 if network.version == 4 else ipv6
    return Route(
        network,
        draw(st.sampled_from(["eth0", "eth1"])),
        draw(st.none() | gateways),
        metric=draw(st.integers(1, 3)),
        table=draw(st.sampled_from([254, 254, 7])),
    )


def looked_up(found: list[Route], address: IPAddress) -> NextHop | None:
    """What a router's textbook says: of the routes that match, the longest; of those, the cheapest."""
    matching = [one for one in found if one.table == 254 and address in one.destination]
    if not matching:
        return None
    best = max(matching, key=lambda one: (one.destination.prefixlen, -one.priority))
    return NextHop(best.device, best.gateway)


@given(st.lists(routes(), max_size=12, unique_by=lambda one: one.identity), st.one_of(ipv4, ipv6), st.randoms())
def test_law_a_lookup_finds_what_the_model_finds_in_any_order_of_the_routes(
    found: list[Route], address: IPAddress, chance: st.DataObject
) -> None:
    shuffled = RouteTable(sorted(found, key=lambda _: chance.random()))  # type: ignore[attr-defined]
    assert shuffled.next_hop(address) == looked_up(found, address)
    assert shuffled == RouteTable(found)


@pytest.mark.parametrize(
    "network, address, broadcast",
    [
        ("10.99.0.0/24", "10.99.0.255", True),
        ("10.99.0.0/24", "10.99.0.0", True),
        ("10.99.0.0/24", "10.99.0.1", False),
        ("10.99.0.0/24", "10.98.0.255", False),
        ("10.99.0.0/31", "10.99.0.1", False),
        ("10.99.0.7/32", "10.99.0.7", False),
        ("fd99::/64", "fd99::", False),
    ],
)
def test_the_ends_of_an_on_link_network_are_no_stations(network: str, address: str, *, broadcast: bool) -> None:
    assert RouteTable([Route(ip_network(network), "eth0")]).is_broadcast(ip_address(address)) is broadcast
    by_router = RouteTable([Route(ip_network(network), "eth0", ip_address("10.99.1.1"))])
    assert not by_router.is_broadcast(ip_address(address))
