from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface

import pytest

from nankeen.agent.underlay import choose
from nankeen.model.address import Family
from nankeen.model.errors import InputError
from nankeen.model.state import Address, Device, Link, Route, State

HOST = State([
    Link("lo", Device(""), 65536),
    Link("eth0", Device(""), 1500),
    Link("eth1", Device(""), 9000),
    Address("eth0", IPv6Interface("fe80::1/64")),
    Address("eth0", IPv4Interface("192.168.0.11/24")),
    Address("eth0", IPv6Interface("fd00::11/64")),
    Address("eth1", IPv4Interface("10.99.0.1/24")),
    Route(IPv4Network("0.0.0.0/0"), "eth1", IPv4Address("10.99.0.254"), metric=100),
    Route(IPv4Network("0.0.0.0/0"), "eth0", IPv4Address("192.168.0.1"), metric=50),
])  # fmt: skip


def test_the_device_of_the_best_default_route_is_chosen() -> None:
    underlay = choose(HOST, None, [Family.IPV4])
    assert (underlay.device, underlay.mtu, underlay.addresses) == ("eth0", 1500, (IPv4Address("192.168.0.11"),))


def test_an_interface_is_chosen_by_name() -> None:
    assert choose(HOST, "eth1", [Family.IPV4]).mtu == 9000


def test_an_interface_is_chosen_by_its_address() -> None:
    assert choose(HOST, "10.99.0.1", [Family.IPV4]).device == "eth1"


def test_a_global_address_goes_before_a_link_local_one() -> None:
    underlay = choose(HOST, "eth0", [Family.IPV4, Family.IPV6])
    assert underlay.addresses == (IPv4Address("192.168.0.11"), IPv6Address("fd00::11"))


@pytest.mark.parametrize(
    "interface,families,said",
    [
        ("eth7", [Family.IPV4], "interface eth7: there is no such interface; the interfaces are eth0, eth1"),
        ("10.1.1.1", [Family.IPV4], "no interface has this address"),
        ("eth1", [Family.IPV6], "interface eth1: it has no IPv6 address"),
        (None, [Family.IPV6], "there is no default route"),
    ],
)
def test_what_cannot_be_the_underlay_is_refused_with_what_could(
    interface: str | None, families: list[Family], said: str
) -> None:
    with pytest.raises(InputError) as refusal:
        choose(HOST, interface, families)
    assert said in str(refusal.value)
