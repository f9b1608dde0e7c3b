from __future__ import annotations

from ipaddress import ip_address

import pytest

from nankeen.backend import Backend, open_backend
from nankeen.model.errors import ConfigError
from nankeen.model.gojson import JSON
from nankeen.model.lease import Reach
from nankeen.model.netconf import BackendConfig
from nankeen.model.state import State
from tests.unit.backend.fabric import IPV4, IPV6, endpoint, endpoint6, lease, node


def ipip(**options: JSON) -> Backend:
    return open_backend(BackendConfig("ipip", options))


def lines(state: State) -> list[str]:
    return [str(item) for item in state]


def test_a_node_alone_has_its_end_of_the_tunnels() -> None:
    assert lines(ipip().state(node(), [])) == [
        "flannel.ipip: ipip remote any local 10.99.0.1 mtu 1480 up",
        "inet 10.5.1.0/32 dev flannel.ipip",
    ]
    assert ipip().devices(node()) == {"flannel.ipip"}
    assert ipip().needs == {"ipip"}
    assert ipip().mtu(node(mtu=9000)) == 8980


def test_a_node_without_a_subnet_holds_nothing_yet() -> None:
    assert ipip().state(node(own=False), []) == State()


def test_a_peer_takes_one_route_whose_gateway_is_the_far_end_of_the_tunnel() -> None:
    peer = lease(2, endpoint(2, data=None), endpoint6(2), backend="ipip")
    assert lines(State(ipip().peer(node(), peer))) == ["10.5.2.0/24 via 10.99.0.2 dev flannel.ipip onlink"]


def test_packets_leave_from_the_underlays_own_address_also_behind_nat() -> None:
    behind_nat = node(public="192.0.2.1")
    assert ipip().reaches(behind_nat) == (Reach(ip_address("192.0.2.1")),)
    assert "local 10.99.0.1" in lines(ipip().state(behind_nat, []))[0]


def test_a_node_announces_its_address_and_no_data() -> None:
    assert ipip().announces == "ipip"
    assert ipip().reaches(node()) == (Reach(ip_address("10.99.0.1")),)
    assert ipip().announced(lease(1)) == {}


@pytest.mark.parametrize("networks", [(str(IPV6),), (str(IPV4), str(IPV6))])
def test_a_pod_network_of_ipv6_is_refused(networks: tuple[str, ...]) -> None:
    for ask in (ipip().devices, ipip().reaches):
        with pytest.raises(ConfigError, match="ipip carries IPv4 only, and the pod network fc00:5::/48 is IPv6"):
            ask(node(*networks))


def test_a_wrong_option_is_told() -> None:
    with pytest.raises(ConfigError, match=r'Backend.DirectRouting is "yes"; it must be true or false'):
        ipip(DirectRouting="yes")
    assert ipip(MTU=1400) == ipip()  # no option of this backend: flannel passes it over
