from __future__ import annotations

from ipaddress import ip_address

from nankeen.backend import open_backend
from nankeen.backend.admission import admit
from nankeen.model.lease import Reach
from nankeen.model.netconf import BackendConfig
from nankeen.model.state import State
from tests.unit.backend.fabric import IPV4, IPV6, endpoint, lease, node

ALLOC = open_backend(BackendConfig("alloc"))


def test_a_node_gets_a_subnet_and_its_kernel_nothing() -> None:
    assert ALLOC.state(node(), [lease(2, backend="")]) == State()
    assert ALLOC.devices(node()) == ALLOC.needs == frozenset()


def test_it_announces_its_addresses_and_like_flannel_no_type() -> None:
    assert ALLOC.announces == ""
    here = node(str(IPV4), str(IPV6), public="192.0.2.1")
    assert ALLOC.reaches(here) == (Reach(ip_address("192.0.2.1")), Reach(ip_address("fd99::1")))
    assert ALLOC.announced(lease(1)) == {}


def test_pods_have_the_underlays_mtu() -> None:
    assert ALLOC.mtu(node(mtu=9000)) == 9000


def test_peers_are_known_and_take_nothing() -> None:
    decided = admit([ALLOC], node(), [lease(2, endpoint(2, data=None), backend=""), lease(3)])
    assert {name: way.objects for name, way in decided.ways.items()} == {"node2": ()}
    assert list(decided.rejected) == ["node3"]
