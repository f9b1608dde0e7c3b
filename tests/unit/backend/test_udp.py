from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from nankeen.backend import Backend, open_backend
from nankeen.backend.admission import admit
from nankeen.backend.routing import RouteTable
from nankeen.model.errors import ConfigError, InputError
from nankeen.model.gojson import JSON
from nankeen.model.lease import Lease, Offer, Reach
from nankeen.model.netconf import BackendConfig
from nankeen.model.state import Route, State
from tests.unit.backend.fabric import IPV4, IPV6, endpoint, endpoint6, lease, node


def udp(**options: JSON) -> Backend:
    return open_backend(BackendConfig("udp", options))


def lines(state: State) -> list[str]:
    return [str(item) for item in state]


def peer(number: int) -> Lease:
    return lease(number, endpoint(number, data=None), endpoint6(number, data=None), backend="")


def test_a_node_alone_has_a_device_for_both_families_and_the_way_to_all_pods() -> None:
    assert lines(udp().state(node(str(IPV4), str(IPV6)), [])) == [
        "flannel0: tun type tun pi off multi_queue persist on mtu 1452 up",
        "net/ipv4/conf/flannel0/accept_local = 1",
        "net/ipv6/conf/flannel0/accept_ra = 0",
        "net/ipv6/conf/flannel0/addr_gen_mode = 1",
        "inet 10.5.1.0/32 dev flannel0",
        "udp flannel0 local 10.99.0.1:8285 subnet 10.5.1.0/24",
        "inet6 fc00:5:0:1::/128 dev flannel0",
        "udp flannel0 local [fd99::1]:8285 subnet fc00:5:0:1::/64",
        "10.5.0.0/16 dev flannel0",
        "fc00:5::/48 dev flannel0 metric 1024",
    ]
    assert udp().devices(node()) == {"flannel0"}
    assert udp().needs == {"tun"}


def test_a_node_without_a_subnet_holds_nothing_yet() -> None:
    assert udp().state(node(own=False), []) == State()


def test_a_peer_takes_no_object_of_the_kernels_but_one_for_each_family_of_its_subnets() -> None:
    assert lines(State(udp().peer(node(str(IPV4), str(IPV6)), peer(2)))) == [
        "udp flannel0 10.5.2.0/24 to 10.99.0.2:8285 node node2",
        "udp flannel0 fc00:5:0:2::/64 to [fd99::2]:8285 node node2",
    ]


def test_the_peers_port_is_our_own() -> None:
    assert "to 10.99.0.2:9000 node" in lines(State(udp(Port=9000).peer(node(), peer(2))))[0]
    assert "local 10.99.0.1:9000 " in lines(udp(Port=9000).state(node(), []))[5]
    assert udp(Port=0).receives(node()) == {"flannel0": 8285}


def test_headers_are_counted_in_the_family_that_carries_them() -> None:
    assert udp().mtu(node(mtu=1500)) == 1472
    assert udp().mtu(node(str(IPV4), str(IPV6), mtu=1500)) == 1452
    with pytest.raises(ConfigError, match="an outer MTU of 1320 leaves pods 1272 bytes, and IPv6 needs 1280"):
        udp().mtu(node(str(IPV6), mtu=1320))


def test_it_announces_its_addresses_and_like_flannel_no_type() -> None:
    here = node(str(IPV4), str(IPV6), public="192.0.2.1")
    assert (udp().name, udp().announces) == ("udp", "")
    assert udp().reaches(here) == (Reach(ip_address("192.0.2.1")), Reach(ip_address("fd99::1")))
    assert "local 10.99.0.1:8285" in lines(udp().state(here, []))[5]


def test_a_lease_without_a_type_is_taken_for_one_of_udp() -> None:
    assert list(admit([udp()], node(), [peer(2)]).ways) == ["node2"]


def test_an_offer_carries_the_name_and_not_what_flannel_leaves_out() -> None:
    offering = lease(2, endpoint(2), backend="host-gw")
    for backend, accepted in (("udp", ["node2"]), ("", [])):
        offered = Lease(offering.node, offering.backend, offering.endpoints, None, (Offer(backend, (None,)),))
        assert list(admit([udp()], node(), [offered]).ways) == accepted


def test_a_lease_of_another_backend_is_refused_where_flannel_would_send_to_it() -> None:
    assert admit([udp()], node(), [lease(2, backend="host-gw")]).rejected == {
        "node2": "its backend is 'host-gw', and this node's 'udp'"
    }


def test_a_peer_that_is_sent_to_by_another_backend_may_send_by_udp_all_the_same() -> None:
    """It may have heard of our lease before we hear of its own."""
    host_gw = open_backend(BackendConfig("host-gw"))
    here = replace(node(), routes=RouteTable([Route(ip_network("10.99.0.0/24"), "eth0")]))
    way = admit([host_gw, udp()], here, [lease(2, endpoint(2, data=None), backend="host-gw")]).ways["node2"]
    assert way.backend == way.back == host_gw
    assert lines(State(way.objects)) == [
        "10.5.2.0/24 via 10.99.0.2 dev eth0 proto 110",
        "udp flannel0 10.5.2.0/24 to 10.99.0.2:8285 node node2",
    ]


def test_nothing_is_received_from_a_link_local_address() -> None:
    assert udp().receiving(node(str(IPV6)), lease(2, endpoint6(2, address="fe80::2", data=None))) == ()


def test_no_datagram_is_sent_to_a_link_local_address() -> None:
    astray = lease(2, endpoint6(2, address="fe80::2", data=None), backend="")
    with pytest.raises(InputError, match="fe80::2 is link-local"):
        udp().peer(node(str(IPV6)), astray)


@pytest.mark.parametrize("wrong", [-1, 65_536, "8285"])
def test_a_wrong_port_is_refused(wrong: JSON) -> None:
    with pytest.raises(ConfigError, match=r"Backend\.Port"):
        udp(Port=wrong)
