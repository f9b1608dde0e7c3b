from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.backend import Backend, Node, claim, open_backend
from nankeen.backend.admission import Admission, admit
from nankeen.backend.routing import RouteTable
from nankeen.model.address import family_of
from nankeen.model.errors import ConfigError, InputError
from nankeen.model.gojson import JSON
from nankeen.model.lease import Endpoint, Lease, Reach
from nankeen.model.netconf import BackendConfig
from nankeen.model.state import Route, State
from tests.unit.backend.fabric import IPV4, IPV6, endpoint, endpoint6, mac, node, vtep_data
from tests.unit.backend.routes import ON_LINK, table
from tests.unit.backend.test_routing import routes

DUAL = (str(IPV4), str(IPV6))


def backend(name: str = "host-gw", **options: JSON) -> Backend:
    return open_backend(BackendConfig(name, options))


def here(*lines: str, networks: tuple[str, ...] = DUAL) -> Node:
    return replace(node(*networks), routes=table(*(lines or ON_LINK)))


def lease(number: int, *endpoints: Endpoint) -> Lease:
    ends = endpoints or (endpoint(number), endpoint6(number))
    return Lease(f"node{number}", "host-gw", tuple(replace(end, reach=Reach(end.reach.address)) for end in ends))


def lines(state: State) -> list[str]:
    return [str(item) for item in state]


def admission(*leases: Lease, node: Node) -> Admission:
    return admit([backend()], node, leases)


def test_a_node_alone_holds_nothing() -> None:
    assert backend().state(here(), []) == State()
    assert backend().devices(here()) == frozenset()
    assert backend().needs == frozenset()


def test_a_peer_takes_one_route_for_each_family() -> None:
    assert lines(backend().state(here(), [lease(2)])) == [
        "10.5.2.0/24 via 10.99.0.2 dev eth0 proto 110",
        "fc00:5:0:2::/64 via fd99::2 dev eth0 proto 110 metric 1024",
    ]


def test_of_a_peer_only_the_families_of_the_cluster_are_used() -> None:
    assert lines(backend().state(here(networks=DUAL[:1]), [lease(2)])) == [
        "10.5.2.0/24 via 10.99.0.2 dev eth0 proto 110"
    ]


def test_the_routes_are_the_nodes_to_remove() -> None:
    ours = claim(backend(), here())
    assert all(ours.covers(item) for item in backend().state(here(), [lease(2)]))


def test_a_node_announces_its_addresses_and_no_data() -> None:
    assert backend().announces == "host-gw"
    assert backend().reaches(here()) == (Reach(ip_address("10.99.0.1")), Reach(ip_address("fd99::1")))
    assert backend().announced(lease(1)) == {}


def test_pods_have_the_underlays_mtu() -> None:
    assert backend().mtu(node(mtu=9000)) == 9000


def test_options_of_flannel_for_windows_are_passed_over() -> None:
    assert backend(Name="cbr0", DNSServerList="10.0.0.10") == backend()


def test_an_advertised_address_that_is_not_the_interfaces_own_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"eth0: host-gw cannot be reached at 192.0.2.1, .* the interface's own address 10.99.0.1"
    ):
        backend().reaches(node(public="192.0.2.1"))
    assert backend().reaches(node(public="10.99.0.1")) == (Reach(ip_address("10.99.0.1")),)


@pytest.mark.parametrize(
    "known, reason",
    [
        (
            ["192.168.0.0/24 dev eth0", "default via 192.168.0.1 dev eth0"],
            "192.168.1.12 is not on-link: the route to it leads via 192.168.0.1",
        ),
        (["192.168.0.0/24 dev eth0"], "192.168.1.12 is not on-link: there is no route to it"),
        (["192.168.0.0/16 dev eth1"], "192.168.1.12 is not on-link: it is at eth1, and not at eth0"),
        (
            ["192.168.0.0/16 dev eth0", "192.168.1.12/32 via 192.168.0.7 dev eth0"],
            "192.168.1.12 is not on-link: the route to it leads via 192.168.0.7",
        ),
    ],
)
def test_a_peer_that_is_not_on_link_is_refused_alone_with_the_way_to_it(known: list[str], reason: str) -> None:
    far = lease(3, endpoint(3, address="192.168.1.12"))
    with pytest.raises(InputError, match=reason):
        backend().peer(here(*ON_LINK, *known), far)
    decided = admission(lease(2), far, lease(4), node=here(*ON_LINK, *known))
    assert [peer.node for peer in decided.peers] == ["node2", "node4"]
    assert decided.rejected == {"node3": reason}


def test_a_peer_of_which_one_family_is_not_on_link_is_refused_whole() -> None:
    decided = admission(lease(2), node=here("10.99.0.0/24 dev eth0"))
    assert decided.rejected == {"node2": "fd99::2 is not on-link: there is no route to it"}


def test_a_link_local_address_is_on_every_link() -> None:
    near = lease(2, Endpoint(ip_network("fc00:5:0:2::/64"), Reach(ip_address("fe80::2"))))
    assert lines(State(backend().peer(here(*ON_LINK, "::/0 via fd99::fe dev eth0"), near))) == [
        "fc00:5:0:2::/64 via fe80::2 dev eth0 proto 110 metric 1024"
    ]


peers = st.lists(
    st.tuples(st.integers(2, 200), st.integers(0, 255), st.booleans()), max_size=8, unique_by=lambda drawn: drawn[0]
)


def drawn_lease(name: str, number: int, host: int, both: bool) -> Lease:  # noqa: FBT001  (drawn)
    address4, address6 = 0x0A630000 + (host >> 4 << 12) + (host & 15), (0xFD99 << 112) + (host >> 4 << 64) + (host & 15)
    ends = [
        Endpoint(ip_network(f"10.5.{number}.0/24"), Reach(ip_address(address4), vtep_data(mac(number)))),
        Endpoint(ip_network(f"fc00:5:0:{number:x}::/64"), Reach(ip_address(address6), vtep_data(mac(number, 6)))),
    ]
    return Lease(f"node{number}", name, tuple(ends[: 1 + both]))


@pytest.mark.parametrize("name, options", [("host-gw", {}), ("vxlan", {"DirectRouting": True}), ("ipip", {})])
@given(peers, st.lists(routes(), max_size=8))
def test_law_every_admitted_peer_has_exactly_one_route_for_each_family(
    name: str, options: dict[str, JSON], drawn: list[tuple[int, int, bool]], known: list[Route]
) -> None:
    networks = DUAL[: 1 if name == "ipip" else 2]
    on = replace(node(*networks), routes=RouteTable([*known, Route(ip_network("10.99.16.0/20"), "eth0")]))
    fabric = backend(name, **options)
    leases = [drawn_lease(name, *one) for one in drawn]
    decided = admit([fabric], on, leases)
    assert {peer.node for peer in decided.peers} | set(decided.rejected) == {one.node for one in leases}
    state = fabric.state(on, decided.peers)
    for peer in decided.peers:
        used = [end for end in peer.endpoints if end.family in on.families]
        leading = [route for route in state.of(Route) if route.destination in peer.subnets]
        assert [family_of(route.destination) for route in leading] == [end.family for end in used]
    assert len(list(state.of(Route))) == sum(
        1 for peer in decided.peers for end in peer.endpoints if end.family in on.families
    )
