"""The way of one packet from pod to pod, told step by step from the tables of those it passes.

A function from observed states to steps: it prints nothing and sends nothing. Each step names the table that was asked,
by the command a person would ask it with, and the line that decided. The table of the udp backend's data path is not
the kernel's: whoever asks for the story adds its `TunnelSocket` and `TunnelPeer` to a node's state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nankeen.model.address import HardwareAddress, IPAddress
from nankeen.model.state import (
    MAIN_TABLE,
    Address,
    ForwardingEntry,
    Link,
    Neighbour,
    Object,
    Route,
    State,
    Tun,
    Vxlan,
)
from nankeen.model.tunnel import TunnelPeer, TunnelSocket

ETHERNET_HEADER = 14
UDP_HEADER = 8
VXLAN_HEADER = 8
"""RFC 7348 §5."""

_READER = "nankeen.tunnel"
"""The process that has the udp backend's device open."""


@dataclass(frozen=True, slots=True)
class Host:
    """A pod or node that the packet passes."""

    name: str
    state: State


@dataclass(frozen=True, slots=True)
class Journey:
    """A packet's two ends and the nodes they are on."""

    pod: Host
    node: Host
    peer_node: Host
    peer_pod: Host
    source: IPAddress
    destination: IPAddress


@dataclass(frozen=True, slots=True)
class Header:
    """One header of a packet, from the outside in."""

    name: str
    size: int
    """In bytes."""
    says: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the way."""

    title: str
    host: str
    """Where it happens."""
    command: str
    """What shows the table that decides."""
    line: str
    """The table's own line; empty where it has none, and the packet ends here."""
    tells: str
    """What the line means for the packet."""
    headers: tuple[Header, ...] = ()
    """The packet as it is after the step, where the step adds to it."""


def tell(journey: Journey) -> tuple[Step, ...]:
    """The steps from pod to pod. A step whose line is missing is the last one: it says what is missing."""
    steps = []
    for step in _steps(journey):
        steps.append(step)
        if not step.line:
            break
    return tuple(steps)


def route_to(state: State, destination: IPAddress) -> Route | None:
    """The route of the main table that the kernel takes: the longest prefix, then the lowest metric (RFC 1812)."""
    fitting = (route for route in state.of(Route) if route.table == MAIN_TABLE and destination in route.destination)
    return min(fitting, key=lambda route: (-route.destination.prefixlen, route.priority), default=None)


def _steps(journey: Journey) -> Iterator[Step]:
    yield _container_route(journey)
    route = route_to(journey.node.state, journey.destination)
    yield _host_route(journey, route)
    if route is None:
        return
    link = _link(journey.node.state, route.device)
    if link is not None and isinstance(link.kind, Vxlan) and route.gateway is not None:
        yield from _through_vxlan(journey, link, link.kind, route.gateway)
        yield _delivery(journey, "Decapsulation and delivery", f"{_vteps(journey)} unwraps the packet, unchanged, and ")
    elif link is not None and isinstance(link.kind, Tun):
        yield _through_udp(journey, link)
        unwraps = f"{_READER} there writes the payload to {link.name} as it is, and "
        yield _delivery(journey, "Decapsulation and delivery", unwraps)
    else:
        yield _delivery(journey, "Delivery", "")


def _container_route(journey: Journey) -> Step:
    route = route_to(journey.pod.state, journey.destination)
    if route is None:
        tells = f"{journey.pod.name} has no route to {journey.destination}"
    elif route.gateway is None:
        tells = f"{journey.destination} is on the pod's own network: the packet leaves by {route.device} straight to it"
    else:
        bridge = _device_of(journey.node.state, route.gateway)
        tells = f"The packet leaves by {route.device} to the next hop {route.gateway}: {bridge} on {journey.node.name}"
    return Step("Container route", journey.pod.name, _show_route(journey.destination), _line(route), tells)


def _host_route(journey: Journey, route: Route | None) -> Step:
    if route is None:
        tells = f"{journey.node.name} has no route to {journey.destination}"
    elif route.gateway is None and _is_tun(journey.node.state, route.device):
        tells = f"All of {route.destination} is behind {route.device}: {_READER} has that open, and reads the packet"
    elif route.gateway is None:
        tells = f"{route.destination} is on {journey.node.name} itself, behind {route.device}"
    else:
        tells = f"All of {route.destination} is behind {route.device}, next hop {route.gateway}"
    return Step("Host route", journey.node.name, _show_route(journey.destination), _line(route), tells)


def _through_vxlan(journey: Journey, link: Link, vxlan: Vxlan, gateway: IPAddress) -> Iterator[Step]:
    node, device = journey.node, link.name
    neighbour = node.state.get((Neighbour, device, gateway))
    vtep = neighbour.address if isinstance(neighbour, Neighbour) else None
    inner = _inner_headers(journey, link, vtep)
    yield Step(
        "VXLAN encapsulation",
        node.name,
        f"ip neigh show dev {device}",
        _line(neighbour),
        f"The VTEP that holds {gateway} has the address {vtep}; the inner frame goes to that"
        if vtep
        else f"No neighbour entry tells the VTEP that holds {gateway}",
        inner,
    )
    if vtep is None:
        return
    entry = node.state.get((ForwardingEntry, device, vtep))
    peer = entry.destination if isinstance(entry, ForwardingEntry) else None
    headers = _outer_headers(vxlan, peer) + inner if peer else ()
    yield Step(
        "Second encapsulation",
        node.name,
        f"ip -d link show {device}",
        _line(link),
        _wrapping(vxlan, headers, link),
        headers,
    )
    yield Step(
        "UDP to the peer",
        node.name,
        f"bridge fdb show dev {device}",
        _line(entry),
        f"That VTEP is at {peer}, {journey.peer_node.name}: UDP port {vxlan.port}, out by {_way_out(node, peer, vxlan)}"
        if peer
        else f"No forwarding entry tells the node where the VTEP {vtep} is",
    )


def _through_udp(journey: Journey, link: Link) -> Step:
    """One step: the process that has the TUN device open looks the peer up, and sends."""
    state, destination = journey.node.state, journey.destination
    peers = [peer for peer in state.of(TunnelPeer) if peer.device == link.name and destination in peer.subnet]
    peer = next(iter(peers), None)
    headers = _datagram(journey, peer) if peer else ()
    if peer is None:
        tells = f"{_READER} knows no peer that has {destination}"
    else:
        overhead = sum(header.size for header in headers[:-1])
        tells = f"{_READER} sends the packet to {journey.peer_node.name} as the payload of a datagram"
        tells += (
            f": {overhead} bytes more, so that a packet of {link.mtu} bytes becomes one of {overhead + (link.mtu or 0)}"
        )
    return Step("UDP to the peer", journey.node.name, f"{_READER}: its peers", _line(peer), tells, headers)


def _datagram(journey: Journey, peer: TunnelPeer) -> tuple[Header, ...]:
    sockets = journey.node.state.of(TunnelSocket)
    local = next((item.local for item in sockets if item.local.version == peer.endpoint.version), "the node")
    return (
        Header(f"IPv{peer.endpoint.version}", _ip_header(peer.endpoint), f"{local} → {peer.endpoint}"),
        Header("UDP", UDP_HEADER, f"destination port {peer.port}"),
        _inner_ip(journey),
    )


def _wrapping(vxlan: Vxlan, headers: tuple[Header, ...], link: Link) -> str:
    """The overhead is all that is outside of the inner IP packet."""
    overhead = sum(header.size for header in headers[:-1])
    text = f"The frame is wrapped once more, with VNI {vxlan.vni}, into UDP and IP that the underlay carries"
    if not overhead or link.mtu is None:
        return text
    return f"{text}: {overhead} bytes more, so that a packet of {link.mtu} bytes becomes one of {overhead + link.mtu}"


def _inner_headers(journey: Journey, link: Link, vtep: HardwareAddress | None) -> tuple[Header, ...]:
    return (
        Header("Ethernet", ETHERNET_HEADER, f"{link.address} → {vtep}"),
        _inner_ip(journey),
    )


def _inner_ip(journey: Journey) -> Header:
    says = f"{journey.source} → {journey.destination}"
    return Header(f"IPv{journey.source.version}", _ip_header(journey.source), says)


def _outer_headers(vxlan: Vxlan, peer: IPAddress) -> tuple[Header, ...]:
    return (
        Header(f"IPv{peer.version}", _ip_header(peer), f"{vxlan.local} → {peer}"),
        Header("UDP", UDP_HEADER, f"destination port {vxlan.port}"),
        Header("VXLAN", VXLAN_HEADER, f"VNI {vxlan.vni}"),
    )


def _delivery(journey: Journey, title: str, before: str) -> Step:
    route = route_to(journey.peer_node.state, journey.destination)
    holder = _device_of(journey.peer_pod.state, journey.destination)
    if route is None:
        tells = f"{journey.peer_node.name} has no route to {journey.destination}"
    else:
        tells = f"{before}{route.device} hands it to {holder} of {journey.peer_pod.name}"
    return Step(title, journey.peer_node.name, _show_route(journey.destination), _line(route), tells)


def _vteps(journey: Journey) -> str:
    """The VXLAN devices of the peer's node."""
    found = [link.name for link in journey.peer_node.state.of(Link) if isinstance(link.kind, Vxlan)]
    return ", ".join(found) or f"nothing on {journey.peer_node.name}"


def _way_out(node: Host, peer: IPAddress | None, vxlan: Vxlan) -> str:
    """The device that packets to the peer leave by."""
    route = route_to(node.state, peer) if peer else None
    return route.device if route else vxlan.underlay or "no device"


def _device_of(state: State, address: IPAddress) -> str:
    """The device that holds an address."""
    held = (item.device for item in state.of(Address) if item.interface.ip == address)
    return next(held, f"nobody (no device holds {address})")


def _is_tun(state: State, name: str) -> bool:
    link = _link(state, name)
    return link is not None and isinstance(link.kind, Tun)


def _link(state: State, name: str) -> Link | None:
    found = state.get((Link, name))
    return found if isinstance(found, Link) else None


def _show_route(destination: IPAddress) -> str:
    return "ip route" if destination.version == 4 else "ip -6 route"


def _ip_header(address: IPAddress) -> int:
    return 20 if address.version == 4 else 40


def _line(found: Object | None) -> str:
    return "" if found is None else str(found)
