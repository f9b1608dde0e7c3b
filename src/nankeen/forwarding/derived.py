"""What a kernel adds to what it is told: routes that come with addresses, and settings that nobody has changed.

A state that a backend decided on lacks these; with them, packets can be predicted in it before it exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Interface, IPv6Network, ip_network

from nankeen.forwarding.tables import LOCAL_TABLE
from nankeen.model.address import HardwareAddress, IPInterface
from nankeen.model.observed import NextHop, OtherRoute, RouteType
from nankeen.model.state import PROTOCOL_KERNEL, Address, Device, Link, Object, Route, State, Sysctl

_LINK_LOCAL = IPv6Network("fe80::/64")
_IPV6_METRIC = 256
"""Of routes that come with an address (IP6_RT_PRIO_ADDRCONF)."""
_ZEROS = {
    4: ("rp_filter", "accept_local", "route_localnet", "arp_ignore", "arp_filter", "proxy_arp"),
    6: ("disable_ipv6",),
}
LOOPBACK = Link("lo", Device(""), 65536, HardwareAddress(bytes(6)), up=True)


def completed(state: State) -> State:
    """The state, with what each kernel of today would have besides: where something is given, it stays as it is."""
    given = set(dict(state.items()))
    added = {item.identity: item for item in _added(State([*state, *_own_links(state)]))}
    return State([*state, *_own_links(state), *(item for identity, item in added.items() if identity not in given)])


def _own_links(state: State) -> list[Object]:
    """The loopback device, and the link-local addresses of the devices that have a hardware address and are up."""
    links: list[Object] = [] if state.get(LOOPBACK.identity) else [LOOPBACK]
    held = {address.device for address in state.of(Address) if address.interface.ip.is_link_local}
    return links + [
        Address(link.name, IPv6Interface((_eui64(link.address), 64)))
        for link in state.of(Link)
        if link.up and link.address is not None and link.name not in held and link.name != LOOPBACK.name
    ]


def _eui64(address: HardwareAddress) -> IPv6Address:
    """RFC 4291 appendix A."""
    octets = address.octets
    identifier = bytes([octets[0] ^ 0x02]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return IPv6Address(_LINK_LOCAL.network_address.packed[:8] + identifier)


def _added(state: State) -> Iterator[Object]:
    links = {link.name: link for link in state.of(Link)}
    for address in state.of(Address):
        link = links.get(address.device)
        if link is not None and link.up:
            yield from _routes(address.device, address.interface)
    yield from _settings(state, list(links))


def _routes(device: str, interface: IPInterface) -> Iterator[Object]:
    hops = (NextHop(device),)
    alone = ip_network(interface.ip)
    yield OtherRoute(RouteType.LOCAL, alone, hops, table=LOCAL_TABLE, source=interface.ip)
    network = interface.network
    if network.prefixlen == network.max_prefixlen:
        return
    if interface.version == 6:
        yield OtherRoute(RouteType.UNICAST, network, hops, _IPV6_METRIC)
        return
    yield Route(network, device, protocol=PROTOCOL_KERNEL, source=interface.ip)
    if network.prefixlen <= 30:  # a point-to-point network has no broadcast address (RFC 3021)
        broadcast = ip_network(network.broadcast_address)
        yield OtherRoute(RouteType.BROADCAST, broadcast, hops, table=LOCAL_TABLE, source=interface.ip)


def _settings(state: State, devices: list[str]) -> Iterator[Object]:
    """The kernel's defaults; forwarding as it is set for all."""
    given = {setting.path: setting.value for setting in state.of(Sysctl)}
    forwarding = {4: given.get("net/ipv4/ip_forward", "0"), 6: given.get("net/ipv6/conf/all/forwarding", "0")}
    for version, names in _ZEROS.items():
        for device in ("all", *devices):
            base = f"net/ipv{version}/conf/{device}"
            yield Sysctl(f"{base}/forwarding", given.get(f"net/ipv{version}/conf/all/forwarding", forwarding[version]))
            yield from (Sysctl(f"{base}/{name}", "0") for name in names)
