"""VXLAN and IPIP with `DirectRouting`: a plain route where the peer is on-link, the tunnel where it is not."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.backend import Backend, Node, claim, open_backend
from nankeen.backend.routing import RouteTable
from nankeen.model.diff import Verb, diff
from nankeen.model.errors import InputError
from nankeen.model.lease import Lease
from nankeen.model.netconf import BackendConfig
from nankeen.model.state import PROTOCOL_NANKEEN, Link, Route, State
from tests.unit.backend.fabric import IPV4, IPV6, endpoint, endpoint6, lease, node
from tests.unit.backend.routes import ON_LINK, table
from tests.unit.backend.test_routing import routes

ROUTED = ("10.99.0.1/32 dev eth0", "10.99.0.0/16 via 10.99.0.254 dev eth0", "fd99::/16 via fd99::fe dev eth0")
PEER = lease(2, endpoint(2), endpoint6(2))


def direct(name: str = "vxlan") -> Backend:
    return open_backend(BackendConfig(name, {"DirectRouting": True}))


def here(*lines: str) -> Node:
    return replace(node(str(IPV4), str(IPV6)), routes=table(*lines))


def lines(backend: Backend, on: Node, peer: Lease = PEER) -> list[str]:
    return [str(item) for item in backend.peer(on, peer)]


def test_a_peer_on_the_same_link_takes_a_plain_route_for_each_family() -> None:
    assert lines(direct(), here(*ON_LINK)) == [
        "10.5.2.0/24 via 10.99.0.2 dev eth0 proto 110",
        "fc00:5:0:2::/64 via fd99::2 dev eth0 proto 110 metric 1024",
    ]


def test_a_peer_behind_a_router_takes_the_tunnel() -> None:
    plain = open_backend(BackendConfig("vxlan"))
    assert direct().peer(here(*ROUTED), PEER) == plain.peer(here(*ROUTED), PEER)
    assert direct().peer(here(), PEER) == plain.peer(here(), PEER)


def test_a_peer_on_the_link_of_another_device_takes_the_tunnel() -> None:
    assert "10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink" in lines(direct(), here("10.99.0.0/24 dev eth1"))


def test_each_family_goes_its_own_way() -> None:
    assert lines(direct(), here(ON_LINK[0], ROUTED[2])) == [
        "10.5.2.0/24 via 10.99.0.2 dev eth0 proto 110",
        "02:00:00:00:06:02 dev flannel-v6.1 dst fd99::2 self permanent",
        "fc00:5:0:2:: dev flannel-v6.1 lladdr 02:00:00:00:06:02 PERMANENT",
        "fc00:5:0:2::/64 via fc00:5:0:2:: dev flannel-v6.1 metric 1024 onlink",
    ]


def test_without_the_option_everybody_takes_the_tunnel() -> None:
    plain = open_backend(BackendConfig("vxlan", {"DirectRouting": False}))
    assert plain == open_backend(BackendConfig("vxlan"))
    assert plain.peer(here(*ON_LINK), PEER) == plain.peer(here(*ROUTED), PEER)


def test_the_nodes_own_tunnel_end_point_and_mtu_stay_whatever_the_routes() -> None:
    plain = open_backend(BackendConfig("vxlan"))
    for known in (ON_LINK, ROUTED):
        assert direct().state(here(*known), []) == plain.state(here(), [])
        assert direct().mtu(here(*known)) == plain.mtu(here())
        assert direct().devices(here(*known)) == plain.devices(here())


def test_a_wrong_lease_is_refused_also_where_its_hardware_address_is_not_needed() -> None:
    with pytest.raises(InputError, match="is not a hardware address"):
        direct().peer(here(*ON_LINK), lease(2, endpoint(2, data="{}")))


def test_a_peer_that_comes_on_link_is_rerouted_before_its_tunnel_is_taken_down() -> None:
    before, after = (direct().state(here(*known), [lease(2)]) for known in (ROUTED, ON_LINK))
    assert [str(change) for change in diff(after, before, claim(direct(), here()))] == [
        "~ 10.5.2.0/24 via 10.99.0.2 dev eth0 proto 110  (was: 10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink)",
        "- 10.5.2.0 dev flannel.1 lladdr 02:00:00:00:04:02 PERMANENT",
        "- 02:00:00:00:04:02 dev flannel.1 dst 10.99.0.2 self permanent",
    ]


def test_a_peer_that_goes_off_link_has_its_tunnel_before_it_is_rerouted() -> None:
    before, after = (direct().state(here(*known), [lease(2)]) for known in (ON_LINK, ROUTED))
    assert [change.verb for change in diff(after, before, claim(direct(), here()))] == [
        Verb.ADD,
        Verb.ADD,
        Verb.REPLACE,
    ]


@pytest.mark.parametrize("name", ["vxlan", "ipip"])
@given(st.lists(routes(), max_size=8), st.lists(routes(), max_size=8))
def test_law_from_table_to_table_nothing_of_the_old_way_is_left(
    name: str, before: list[Route], after: list[Route]
) -> None:
    on = node(str(IPV4))
    old, new = (direct(name).state(replace(on, routes=RouteTable(known)), [lease(2)]) for known in (before, after))
    changes = diff(new, old, claim(direct(name), on))
    left = {identity: item for identity, item in old.items() if item not in [c.observed for c in changes]}
    built = {change.object.identity: change.object for change in changes if change.verb is not Verb.REMOVE}
    assert State([*left.values(), *built.values()]) == new


def test_ipip_routes_by_the_tunnel_or_by_the_link() -> None:
    on_link, routed = (replace(node(str(IPV4)), routes=table(*known)) for known in (ON_LINK, ROUTED))
    assert lines(direct("ipip"), on_link) == ["10.5.2.0/24 via 10.99.0.2 dev eth0 proto 110"]
    assert lines(direct("ipip"), routed) == ["10.5.2.0/24 via 10.99.0.2 dev flannel.ipip onlink"]


def test_a_direct_route_is_told_by_its_protocol_alone() -> None:
    state = direct().state(here(*ON_LINK), [PEER])
    assert {route.protocol for route in state.of(Route)} == {PROTOCOL_NANKEEN}
    assert {route.destination for route in state.of(Route)} == {
        ip_network("10.5.2.0/24"),
        ip_network("fc00:5:0:2::/64"),
    }
    assert {link.name for link in state.of(Link)} == {"flannel.1", "flannel-v6.1"}
