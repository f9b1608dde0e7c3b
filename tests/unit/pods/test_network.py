"""The bridge as a value, and hardware addresses that follow from IP addresses."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from nankeen.model.address import HardwareAddress, IPNetwork
from nankeen.model.state import Bridge, Link
from nankeen.pods.network import bridge_state, hardware_address

V4: IPNetwork = ip_network("10.5.34.0/24")
V6: IPNetwork = ip_network("fc00:5:0:60::/64")


def lines(*subnets: IPNetwork) -> list[str]:
    return [str(item) for item in bridge_state(subnets, 1450)]


def test_the_bridge_is_the_first_address_of_each_subnet() -> None:
    assert lines(V4, V6) == [
        "cni0: bridge mtu 1450 address 0a:58:0a:05:22:01 up",
        "net/ipv6/conf/cni0/accept_ra = 0",
        "inet 10.5.34.1/24 dev cni0",
        "inet6 fc00:5:0:60::1/64 dev cni0",
        "net/ipv4/ip_forward = 1",
        "net/ipv6/conf/all/forwarding = 1",
        "net/ipv6/conf/cni0/accept_dad = 0",
    ]


def test_a_node_of_one_family_leaves_the_other_alone_but_for_router_advertisements() -> None:
    assert lines(V4) == [
        "cni0: bridge mtu 1450 address 0a:58:0a:05:22:01 up",
        "net/ipv6/conf/cni0/accept_ra = 0",
        "inet 10.5.34.1/24 dev cni0",
        "net/ipv4/ip_forward = 1",
    ]
    assert "net/ipv4/ip_forward = 1" not in lines(V6)


def test_a_bridge_with_pods_keeps_its_hardware_address() -> None:
    kept = HardwareAddress.parse("12:c6:65:89:b4:e3")
    [bridge] = bridge_state([V4], 1450, "br-pods", kept).of(Link)
    assert bridge == Link("br-pods", Bridge(), 1450, kept)


def test_an_ip_address_has_one_hardware_address() -> None:
    assert str(hardware_address(ip_address("10.5.34.2"))) == "0a:58:0a:05:22:02"
    first, second = hardware_address(ip_address("fc00::2")), hardware_address(ip_address("fc00::3"))
    assert first != second
    assert first == hardware_address(ip_address("fc00::2"))
    assert first.octets[:2] == second.octets[:2] == b"\x0a\x58"
