# ruff: noqa: ANN401  (pyroute2 has no types)
"""Our messages, read by another implementation of netlink (pyroute2), and back by our own parsers."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from nankeen.kernel.netlink import address, link, neighbour, route
from nankeen.kernel.netlink.message import HEADER, attribute, attributes, message
from nankeen.model.address import HardwareAddress, IPNetwork
from nankeen.model.state import Address, Bridge, Device, ForwardingEntry, Ipip, Link, Neighbour, Route, Veth, Vxlan

INDEXES = {"eth0": 2, "flannel.1": 7, "cni0": 9}
NAMES = {index: name for name, index in INDEXES.items()}

devices = st.sampled_from(sorted(INDEXES))
hardware = st.binary(min_size=6, max_size=6).map(HardwareAddress)
ipv4 = st.integers(1, 2**32 - 1).map(IPv4Address)
ipv6 = st.integers(1, 2**128 - 1).map(IPv6Address)
network4 = st.tuples(ipv4, st.integers(0, 32)).map(lambda pair: IPv4Network(pair, strict=False))
network6 = st.tuples(ipv6, st.integers(0, 128)).map(lambda pair: IPv6Network(pair, strict=False))


def decoded(kind: type[Any], raw: bytes) -> Any:
    """The message as pyroute2 reads it."""
    found = kind(raw)
    found.decode()
    return found


def attr(found: Any, name: str) -> Any:
    return found.get_attr(name)


def address_in(found: Any, name: str) -> Any:
    """An address attribute; the two libraries spell `::1:0` differently."""
    text = found.get_attr(name)
    return None if text is None else ip_address(text)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    destination = draw(st.one_of(network4, network6))
    addresses: st.SearchStrategy[Any] = ipv4 if destination.version == 4 else ipv6
    return Route(
        destination=destination,
        device=draw(devices),
        gateway=draw(st.none() | addresses | (ipv6 if destination.version == 4 else st.nothing())),
        onlink=draw(st.booleans()),
        metric=draw(st.integers(1, 2**32 - 1)),
        table=draw(st.integers(1, 2**32 - 1)),
        protocol=draw(st.integers(0, 255)),
        source=draw(st.none() | addresses),
    )


@given(st.one_of(network4, network6))
def test_a_blackhole_leads_by_no_device(network: IPNetwork) -> None:
    wanted = Route.blackhole_of(network)
    for raw in (route.add(wanted, {}), route.remove(wanted, {})):
        found = decoded(rtmsg, raw)
        assert (found["type"], found["dst_len"], attr(found, "RTA_OIF")) == (6, network.prefixlen, None)
    assert route.parse(route.add(wanted, {})[16:], {}) == wanted


def test_blackholes_of_others_are_not_seen() -> None:
    theirs = replace(Route.blackhole_of(IPv4Network("10.5.2.0/24")), protocol=3)
    assert route.parse(route.add(theirs, {})[16:], {}) is None


@given(routes())
def test_a_route_means_the_same_to_another_implementation(wanted: Route) -> None:
    found = decoded(rtmsg, route.add(wanted, INDEXES))
    assert found["dst_len"] == wanted.destination.prefixlen
    assert attr(found, "RTA_OIF") == INDEXES[wanted.device]
    assert _next_hop(found) == wanted.gateway
    assert attr(found, "RTA_PRIORITY") == wanted.metric
    assert (attr(found, "RTA_TABLE") or found["table"]) == wanted.table
    assert found["proto"] == wanted.protocol
    if wanted.destination.prefixlen:
        assert address_in(found, "RTA_DST") == wanted.destination.network_address


def _next_hop(found: Any) -> Any:
    via = attr(found, "RTA_VIA")
    return address_in(found, "RTA_GATEWAY") if via is None else ip_address(via["addr"])


@given(routes())
def test_a_route_is_read_back_as_it_was_written(wanted: Route) -> None:
    assert route.parse(route.add(wanted, INDEXES)[16:], NAMES) == wanted


@given(devices, st.one_of(ipv4, ipv6), hardware)
def test_a_neighbour_means_the_same_to_another_implementation(
    device: str, destination: Any, mac: HardwareAddress
) -> None:
    wanted = Neighbour(device, destination, mac)
    raw = neighbour.add(wanted, INDEXES)
    found = decoded(ndmsg, raw)
    assert address_in(found, "NDA_DST") == destination
    assert attr(found, "NDA_LLADDR") == str(mac)
    assert found["state"] == 0x80
    assert neighbour.parse(raw[16:], NAMES) == wanted


@given(devices, st.one_of(ipv4, ipv6), hardware)
def test_a_forwarding_entry_means_the_same_to_another_implementation(
    device: str, destination: Any, mac: HardwareAddress
) -> None:
    wanted = ForwardingEntry(device, mac, destination)
    raw = neighbour.add(wanted, INDEXES)
    found = decoded(ndmsg, raw)
    assert found["family"] == neighbour.AF_BRIDGE
    assert found["flags"] == 0x02
    assert attr(found, "NDA_LLADDR") == str(mac)
    assert neighbour.parse(raw[16:], NAMES) == wanted


@given(
    devices,
    st.one_of(
        st.tuples(ipv4, st.integers(1, 32)).map(IPv4Interface), st.tuples(ipv6, st.integers(1, 128)).map(IPv6Interface)
    ),
)
def test_an_address_means_the_same_to_another_implementation(device: str, interface: Any) -> None:
    wanted = Address(device, interface)
    raw = address.add(wanted, INDEXES)
    found = decoded(ifaddrmsg, raw)
    assert address_in(found, "IFA_LOCAL") == interface.ip
    assert found["prefixlen"] == interface.network.prefixlen
    assert address.parse(raw[16:], NAMES) == wanted


@st.composite
def links(draw: st.DrawFn) -> Link:
    vxlan = st.builds(
        Vxlan,
        vni=st.integers(0, 2**24 - 1),
        underlay=st.sampled_from(["eth0", "cni0"]),
        local=st.one_of(ipv4, ipv6),
        port=st.integers(1, 65535),
        learning=st.booleans(),
        gbp=st.booleans(),
    )
    ipip = st.builds(Ipip, st.none() | ipv4, st.none() | ipv4)
    return Link(
        name="flannel.1",
        kind=draw(st.one_of(vxlan, ipip, st.just(Bridge()), st.just(Veth()), st.just(Device("dummy")))),
        mtu=draw(st.integers(68, 65535)),
        address=draw(hardware),
        up=False,
        master=draw(st.sampled_from(["cni0", ""])),
        txqlen=draw(st.integers(0, 10_000)),
        gso_max_size=draw(st.integers(1, 2**19)),
    )


@given(links())
def test_a_link_means_the_same_to_another_implementation(wanted: Link) -> None:
    raw = link.create(wanted, INDEXES)
    found = decoded(ifinfmsg, raw)
    assert attr(found, "IFLA_IFNAME") == wanted.name
    assert attr(found, "IFLA_MTU") == wanted.mtu
    assert attr(found, "IFLA_ADDRESS") == str(wanted.address)
    if isinstance(wanted.kind, Vxlan):
        info = attr(found, "IFLA_LINKINFO")
        data = info.get_attr("IFLA_INFO_DATA")
        assert info.get_attr("IFLA_INFO_KIND") == "vxlan"
        assert data.get_attr("IFLA_VXLAN_ID") == wanted.kind.vni
        assert data.get_attr("IFLA_VXLAN_PORT") == wanted.kind.port
        assert data.get_attr("IFLA_VXLAN_LINK") == INDEXES[wanted.kind.underlay or ""]
    if isinstance(wanted.kind, Ipip):
        info = attr(found, "IFLA_LINKINFO")
        assert info.get_attr("IFLA_INFO_KIND") == "ipip"
        data = info.get_attr("IFLA_INFO_DATA")
        ends = [data and address_in(data, f"IFLA_IPIP_{end}") for end in ("LOCAL", "REMOTE")]
        assert ends == [wanted.kind.local, wanted.kind.remote]
    assert attr(found, "IFLA_GSO_MAX_SIZE") == wanted.gso_max_size
    assert link.parse(raw[16:], NAMES) == wanted


@given(st.binary(max_size=200), st.integers(0, 40))
def test_attributes_of_any_bytes_are_read_without_an_exception(data: bytes, offset: int) -> None:
    for kind, payload in attributes(data, offset).items():
        assert 0 <= kind < 0x4000
        assert payload in data


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=30)))
def test_attributes_are_read_as_they_were_written(wanted: dict[int, bytes]) -> None:
    assert attributes(b"".join(attribute(kind, payload) for kind, payload in wanted.items())) == wanted


@given(st.binary(max_size=40))
def test_a_message_is_padded_to_four_bytes_and_tells_its_own_length(body: bytes) -> None:
    raw = message(16, 0, body)
    assert len(raw) % 4 == 0
    assert HEADER.unpack_from(raw)[0] == 16 + len(body)


def test_a_veth_peer_is_made_in_the_namespace_behind_the_descriptor() -> None:
    raw = link.veth("veth1", "eth0", 33, mtu=1450, master=9, up=True)
    found = decoded(ifinfmsg, raw)
    peer = found.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    assert peer.get_attr("IFLA_IFNAME") == "eth0"
    assert peer.get_attr("IFLA_NET_NS_FD") == 33
    assert peer["flags"] == 0
    assert found["flags"] == 1
    assert found.get_attr("IFLA_MASTER") == 9


def test_a_dump_of_routes_asks_for_nothing_in_particular() -> None:
    assert struct.unpack_from("=H", route.dump(), 4)[0] == route.RTM_GETROUTE
