from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.agent.underlay import choose, hindrance
from nankeen.agent.wish import DEFAULT_ROUTE, Wish
from nankeen.backend import Underlay
from nankeen.model.address import IPNetwork
from nankeen.model.errors import InputError
from nankeen.model.state import Address, AddressFlag, Bridge, Device, Link, Object, Route, State

IPV4: tuple[IPNetwork, ...] = (ip_network("10.244.0.0/16"),)
IPV6: tuple[IPNetwork, ...] = (ip_network("fd44::/48"),)
DUAL = (*IPV4, *IPV6)


def address(device: str, text: str, flags: AddressFlag | None = None) -> Address:
    return Address(device, ip_interface(text), flags)


def default(device: str, gateway: str, metric: int) -> Route:
    hop = ip_address(gateway)
    return Route(ip_network("0.0.0.0/0" if hop.version == 4 else "::/0"), device, hop, metric=metric)


HOST: tuple[Object, ...] = (
    Link("lo", Device(""), 65536),
    Link("cni0", Bridge(), 1450),
    Link("eth0", Device(""), 1500),
    Link("eth1", Device(""), 9000),
    address("lo", "127.0.0.1/8"),
    address("cni0", "10.244.1.1/24"),
    address("cni0", "fd44:0:0:1::1/64"),
    address("eth0", "fe80::1/64"),
    address("eth0", "192.168.0.11/24"),
    address("eth0", "fd00::11/64"),
    address("eth1", "10.99.0.1/24"),
    address("eth1", "10.98.0.1/24"),
    default("eth1", "10.99.0.254", 100),
    default("eth0", "192.168.0.1", 50),
    Route(ip_network("10.98.0.0/24"), "eth1"),
    Route(ip_network("10.90.0.0/16"), "eth1", ip_address("10.98.0.9")),
    Route(ip_network("10.91.0.0/16"), "eth1", source=ip_address("10.98.0.1")),
    Route(ip_network("10.92.0.0/16"), ""),
)


def chosen(
    wish: Wish, networks: tuple[IPNetwork, ...] = IPV4, *more: Object, current: Underlay | None = None
) -> tuple[str, ...]:
    """The device, and the addresses."""
    underlay = choose(State([*HOST, *more]), wish, networks, current)
    return (underlay.device, *map(str, underlay.addresses))


def refusal(wish: Wish, networks: tuple[IPNetwork, ...] = IPV4, *objects: Object) -> str:
    with pytest.raises(InputError) as refused:
        choose(State(objects or HOST), wish, networks)
    return str(refused.value)


def test_without_a_wish_the_device_of_the_best_default_route_is_chosen() -> None:
    underlay = choose(State(HOST), DEFAULT_ROUTE, IPV4)
    assert underlay == Underlay("eth0", 1500, (ip_address("192.168.0.11"),))


@pytest.mark.parametrize(
    "interfaces, found",
    [
        (["eth1"], ("eth1", "10.99.0.1")),
        (["10.99.0.1"], ("eth1", "10.99.0.1")),
        (["10.98.0.1"], ("eth1", "10.98.0.1")),
        (["", "eth1"], ("eth1", "10.99.0.1")),
        (["eth7", "10.1.1.1", "eth1", "eth0"], ("eth1", "10.99.0.1")),
        (["lo", "eth0"], ("eth0", "192.168.0.11")),
    ],
)
def test_the_first_named_interface_that_can_be_used_is_chosen(interfaces: list[str], found: tuple[str, ...]) -> None:
    assert chosen(Wish.parse(interfaces)) == found


@pytest.mark.parametrize(
    "patterns, found",
    [
        (["^10[.]98"], ("eth1", "10.98.0.1")),
        (["168"], ("eth0", "192.168.0.11")),
        (["th1$"], ("eth1", "10.99.0.1")),
        (["^172[.]", "^eth1$"], ("eth1", "10.99.0.1")),
        (["^10[.]"], ("eth1", "10.99.0.1")),
        (["cni|eth1"], ("eth1", "10.99.0.1")),
    ],
)
def test_a_pattern_is_asked_of_addresses_first_and_then_of_names_and_never_of_the_pods_network(
    patterns: list[str], found: tuple[str, ...]
) -> None:
    assert chosen(Wish.parse(patterns=patterns)) == found


def test_with_two_families_a_pattern_must_match_an_address_of_each() -> None:
    wish = Wish.parse(patterns=["11$"])
    assert chosen(wish, DUAL, address("eth1", "10.97.0.11/24")) == ("eth0", "192.168.0.11", "fd00::11")


@pytest.mark.parametrize(
    "destination, found",
    [
        ("10.90.1.1", ("eth1", "10.98.0.1")),
        ("10.91.1.1", ("eth1", "10.98.0.1")),
        ("10.98.0.77", ("eth1", "10.98.0.1")),
        ("10.98.0.1", ("eth1", "10.98.0.1")),
        ("192.0.2.1", ("eth0", "192.168.0.11")),
    ],
)
def test_an_address_to_reach_tells_the_interface_and_the_source_address(
    destination: str, found: tuple[str, ...]
) -> None:
    assert chosen(Wish.parse(can_reach=destination)) == found


def test_names_go_before_patterns_and_patterns_before_an_address_to_reach() -> None:
    assert chosen(Wish.parse(["eth1"], ["eth0"], "192.0.2.1"))[0] == "eth1"
    assert chosen(Wish.parse(["eth7"], ["eth1"], "192.0.2.1"))[0] == "eth1"
    assert chosen(Wish.parse(["eth7"], ["eth8"], "192.0.2.1"))[0] == "eth0"


def test_a_public_address_that_an_interface_has_chooses_that_interface() -> None:
    assert chosen(Wish.parse(public_ip="10.98.0.1")) == ("eth1", "10.98.0.1")
    assert chosen(Wish.parse(public_ipv6="fd00::11"), DUAL) == ("eth0", "192.168.0.11", "fd00::11")


def test_a_public_address_that_nobody_has_leaves_the_choice_to_the_default_route() -> None:
    assert chosen(Wish.parse(public_ip="203.0.113.7")) == ("eth0", "192.168.0.11")


def test_a_public_address_does_not_move_a_named_interface_but_is_bound_to_where_it_has_it() -> None:
    assert chosen(Wish.parse(["eth0"], public_ip="10.98.0.1")) == ("eth0", "192.168.0.11")
    assert chosen(Wish.parse(["eth1"], public_ip="10.98.0.1")) == ("eth1", "10.98.0.1")


def test_public_addresses_of_a_family_that_is_not_in_use_mean_nothing() -> None:
    wish = Wish.parse(public_ip="203.0.113.7", public_ipv6="fd00::11")
    assert wish.public_of(IPV4) == (ip_address("203.0.113.7"),)
    assert chosen(Wish.parse(public_ipv6="fd00::11"), IPV4, default("eth1", "10.99.0.254", 1))[0] == "eth1"


@pytest.mark.parametrize(
    "flags, address_chosen",
    [
        (["", ""], "fd01::1"),
        (["DYNAMIC", ""], "fd01::2"),
        (["DYNAMIC", "DYNAMIC|TEMPORARY"], "fd01::1"),
        (["TEMPORARY", "DYNAMIC"], "fd01::1"),
        (["DEPRECATED", "DYNAMIC|TEMPORARY"], "fd01::2"),
        (["DADFAILED", "DYNAMIC"], "fd01::2"),
        (["DEPRECATED", "DADFAILED"], "fe80::2"),
    ],
)
def test_addresses_are_taken_as_flannel_orders_them(flags: list[str], address_chosen: str) -> None:
    found = [
        address("eth1", "fe80::2/64"),
        *(
            address("eth1", f"fd01::{number}/64", sum_of(names))
            for number, names in enumerate(flags, start=1)
        ),
    ]  # fmt: skip
    assert chosen(Wish.parse(["eth1"]), IPV6, *found) == ("eth1", address_chosen)


def sum_of(names: str) -> AddressFlag:
    flags = AddressFlag(0)
    for name in filter(None, names.split("|")):
        flags |= AddressFlag[name]
    return flags


def test_the_default_route_of_both_families_must_be_of_one_interface() -> None:
    assert chosen(DEFAULT_ROUTE, DUAL, default("eth0", "fd00::1", 1024)) == ("eth0", "192.168.0.11", "fd00::11")
    said = refusal(DEFAULT_ROUTE, DUAL, *HOST, default("eth1", "fd00::1", 1024))
    assert said == (
        "the default routes are not of one interface: that of IPv4 is eth0's, that of IPv6 is eth1's;"
        " name one with --iface"
    )


@pytest.mark.parametrize(
    "wish, networks, said",
    [
        (
            Wish.parse(["eth7"]),
            IPV4,
            "interface eth7: there is no such interface; the interfaces are cni0, eth0, eth1",
        ),
        (Wish.parse(["10.1.1.1"]), IPV4, "interface 10.1.1.1: no interface has this address"),
        (Wish.parse(["eth1"]), IPV6, "interface eth1: it has no IPv6 address"),
        (Wish.parse(["cni0"]), IPV4, "interface cni0: it has no IPv4 address"),
        (DEFAULT_ROUTE, IPV6, "there is no default route to tell the underlay interface by; name it with --iface"),
        (Wish.parse(patterns=["wlan"]), IPV4, "--iface-regex wlan: no interface that has an IPv4 address matches"),
        (Wish.parse(can_reach="fd99::1"), IPV4, "--iface-can-reach fd99::1: no route leads there"),
        (Wish.parse(can_reach="10.92.0.1"), IPV4, "--iface-can-reach 10.92.0.1: the route there has several next hops"),
        (
            Wish.parse(public_ip="10.99.0.1", public_ipv6="fd00::11"),
            DUAL,
            "underlay: 10.99.0.1 is on eth1 and fd00::11 is on eth0; both families must be on one interface",
        ),
        (
            Wish.parse(["10.99.0.1"], public_ipv6="fd00::11"),
            DUAL,
            "underlay: 10.99.0.1 is on eth1 and fd00::11 is on eth0; both families must be on one interface",
        ),
        (
            Wish.parse(["eth7"], ["wlan"]),
            IPV4,
            "underlay: interface eth7: there is no such interface, --iface-regex wlan: no interface that has an IPv4",
        ),
    ],
)
def test_what_cannot_be_the_underlay_is_refused_with_what_could(
    wish: Wish, networks: tuple[IPNetwork, ...], said: str
) -> None:
    assert refusal(wish, networks).startswith(said)


def test_a_default_route_of_several_next_hops_is_refused_as_such() -> None:
    several = Route(ip_network("0.0.0.0/0"), "", metric=10)
    assert refusal(DEFAULT_ROUTE, IPV4, *HOST, several).startswith("the IPv4 default route has several next hops")


def test_an_interface_without_an_mtu_is_refused() -> None:
    said = refusal(Wish.parse(["eth0"]), IPV4, Link("eth0", Device(""), 0), address("eth0", "192.168.0.11/24"))
    assert said == "interface eth0: its MTU is 0; ip link set eth0 mtu 1500"


def test_an_address_in_use_stays_in_use_while_it_is_there() -> None:
    wish, virtual = Wish.parse(["eth1"]), address("eth1", "10.99.0.100/32")
    current = Underlay("eth1", 9000, (ip_address("10.98.0.1"),))
    assert chosen(wish, IPV4, virtual, current=current) == ("eth1", "10.98.0.1")
    gone = replace(current, addresses=(ip_address("10.97.0.1"),))
    assert chosen(wish, IPV4, virtual, current=gone) == ("eth1", "10.99.0.1")


def test_a_link_local_address_in_use_gives_way_to_a_global_one() -> None:
    current = Underlay("eth0", 1500, (ip_address("fe80::1"),))
    assert chosen(Wish.parse(["eth0"]), IPV6, current=current) == ("eth0", "fd00::11")


def test_a_device_in_use_stays_in_use_while_it_has_a_default_route() -> None:
    current = Underlay("eth1", 9000, (ip_address("10.99.0.1"),))
    assert chosen(DEFAULT_ROUTE, IPV4, current=current)[0] == "eth1"
    without = [item for item in HOST if item != default("eth1", "10.99.0.254", 100)]
    assert choose(State(without), DEFAULT_ROUTE, IPV4, current).device == "eth0"
    neither = [item for item in HOST if not isinstance(item, Route)]
    assert choose(State(neither), DEFAULT_ROUTE, IPV4, current).device == "eth1"


_WISHES = st.builds(
    Wish.parse,
    st.lists(st.sampled_from(["eth0", "eth1", "eth7", "10.98.0.1", "fd00::11"]), max_size=2),
    st.lists(st.sampled_from(["eth", "^10", "::"]), max_size=1),
    st.sampled_from(["", "10.90.1.1", "192.0.2.1"]),
    st.sampled_from(["", "10.99.0.1", "203.0.113.7"]),
    st.sampled_from(["", "fd00::11", "2001:db8::7"]),
)


@given(_WISHES, st.sampled_from([IPV4, IPV6, DUAL]))
def test_what_was_chosen_is_the_nodes_own_has_every_family_and_is_chosen_again(
    wish: Wish, networks: tuple[IPNetwork, ...]
) -> None:
    try:
        underlay = choose(State(HOST), wish, networks)
    except InputError:
        return
    held = {item.interface.ip for item in HOST if isinstance(item, Address) and item.device == underlay.device}
    assert held.issuperset(underlay.addresses)
    assert [ip.version for ip in underlay.addresses] == [network.version for network in networks]
    assert choose(State(HOST), wish, networks, underlay) == underlay


@pytest.mark.parametrize(
    "link, said",
    [
        (Link("eth0", Device(""), carrier=True), ""),
        (Link("eth0", Device("")), ""),
        (Link("eth0", Device(""), carrier=False), "eth0 has no carrier"),
        (Link("eth0", Device(""), up=False, carrier=False), "eth0 is down"),
    ],
)
def test_what_is_in_the_way_of_an_underlay_is_told(link: Link, said: str) -> None:
    assert hindrance(State([link]), Underlay("eth0", 1500, ())) == said
