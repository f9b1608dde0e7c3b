"""A frame read header by header, tunnels opened, to the first header that makes no sense."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from nankeen.model.address import Family
from nankeen.model.errors import InputError
from nankeen.model.packet.ethernet import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    ETHERTYPE_SERVICE_VLAN,
    ETHERTYPE_VLAN,
    Arp,
    Ethernet,
    Vlan,
)
from nankeen.model.packet.icmp import Icmp, NeighbourMessage
from nankeen.model.packet.ip import EXTENSIONS, Extension, Fragment, IPv4, IPv6, Protocol
from nankeen.model.packet.sctp import Sctp
from nankeen.model.packet.stack import Fault, Header, Packet
from nankeen.model.packet.transport import Tcp, Udp
from nankeen.model.packet.vxlan import Vxlan

TAGS = 2
"""VLAN tags of one frame that are read: a customer's in a provider's (IEEE 802.1ad)."""
DEPTH = 4
"""Packets inside one another that are opened."""


class LinkType(Enum):
    """What a captured packet begins with."""

    ETHERNET = "Ethernet"
    IP = "IP"
    """TUN devices, WireGuard, tunnels of IP in IP."""


@dataclass(frozen=True, slots=True)
class TunnelPorts:
    """The UDP destination ports behind which tunnels end."""

    vxlan: frozenset[int] = frozenset({8472, 4789})
    """Linux' own, and IANA's (RFC 7348)."""
    udp: frozenset[int] = frozenset({8285})
    """Flannel's backend of that name: IP packets in UDP, without a header of their own."""


_DEFAULT_PORTS = TunnelPorts()


def dissect(data: bytes, link: LinkType = LinkType.ETHERNET, ports: TunnelPorts = _DEFAULT_PORTS) -> Packet:
    """The packet in a frame. Never raises: what is not understood is payload, what is broken a `Fault`."""
    reader = _Reader(data, ports)
    step: _Step | None = _ethernet if link is LinkType.ETHERNET else _by_version(reader)
    while step is not None:
        reading = step
        try:
            step = reading(reader)
        except InputError as error:
            return Packet(tuple(reader.headers), data[reader.at : reader.end], Fault(_NAMES[reading], error.problem))
    return Packet(tuple(reader.headers), data[reader.at : reader.end], reader.shortfall)


class _Reader:
    """Where in a frame reading stands: `at`, and where what is being read ends."""

    __slots__ = ("at", "data", "end", "extensions", "headers", "is_fragment", "networks", "ports", "shortfall", "tags")

    def __init__(self, data: bytes, ports: TunnelPorts) -> None:
        self.data, self.ports = data, ports
        self.at, self.end = 0, len(data)
        self.headers: list[Header] = []
        self.tags = self.extensions = self.networks = 0
        self.is_fragment = False
        """The innermost IP packet; then lengths further inside do not tell what is here."""
        self.shortfall: Fault | None = None
        """The first header that promises more than there is."""

    def bound(self, layer: str, start: int, length: int | None) -> None:
        """What comes later than `length` octets after `start` is padding; 0 and None are no bounds."""
        if not length:
            return
        if start + length <= self.end:
            self.end = start + length
        elif self.shortfall is None and not self.is_fragment:
            self.shortfall = Fault(layer, f"cut short: {self.end - start} of {length} bytes")


_Step = Callable[[_Reader], "_Step | None"]
"""Reads one header and says what is to be read next; None where the rest is payload. Raises `InputError`."""


def _ethernet(reader: _Reader) -> _Step | None:
    header, reader.at = Ethernet.decode(reader.data, reader.at, reader.end)
    reader.headers.append(header)
    reader.tags = 0
    return _BY_ETHERTYPE.get(header.protocol)


def _vlan(reader: _Reader) -> _Step | None:
    if reader.tags == TAGS:
        return None
    reader.tags += 1
    header, reader.at = Vlan.decode(reader.data, reader.at, reader.end)
    reader.headers.append(header)
    return _BY_ETHERTYPE.get(header.protocol)


def _arp(reader: _Reader) -> _Step | None:
    header, reader.at = Arp.decode(reader.data, reader.at, reader.end)
    reader.headers.append(header)
    return None


def _ipv4(reader: _Reader) -> _Step | None:
    if reader.networks == DEPTH:
        return None
    start = reader.at
    header, reader.at = IPv4.decode(reader.data, start, reader.end)
    reader.headers.append(header)
    reader.networks += 1
    reader.is_fragment = header.more_fragments or header.fragment_offset != 0
    reader.bound("IPv4", start, header.total_length)
    return None if header.fragment_offset else _BY_PROTOCOL.get(header.protocol)


def _ipv6(reader: _Reader) -> _Step | None:
    if reader.networks == DEPTH:
        return None
    header, reader.at = IPv6.decode(reader.data, reader.at, reader.end)
    reader.headers.append(header)
    reader.networks += 1
    reader.extensions, reader.is_fragment = 0, False
    reader.bound("IPv6", reader.at, header.payload_length)
    return _in_ipv6(header.protocol)


def _in_ipv6(protocol: int) -> _Step | None:
    return _EXTENSIONS.get(protocol) or _BY_PROTOCOL.get(protocol)


def _extension(kind: Protocol) -> _Step:
    def step(reader: _Reader) -> _Step | None:
        if reader.extensions == EXTENSIONS:
            return None
        reader.extensions += 1
        header, reader.at = Extension.decode(kind, reader.data, reader.at, reader.end)
        reader.headers.append(header)
        return _in_ipv6(header.protocol)

    return step


def _fragment(reader: _Reader) -> _Step | None:
    if reader.extensions == EXTENSIONS:
        return None
    reader.extensions += 1
    header, reader.at = Fragment.decode(reader.data, reader.at, reader.end)
    reader.headers.append(header)
    reader.is_fragment = header.more_fragments or header.fragment_offset != 0
    return None if header.fragment_offset else _in_ipv6(header.protocol)


def _icmp(family: Family) -> _Step:
    def step(reader: _Reader) -> _Step | None:
        header, reader.at = Icmp.decode(family, reader.data, reader.at, reader.end)
        reader.headers.append(header)
        return _neighbour if header.is_neighbour_message else None

    return step


def _neighbour(reader: _Reader) -> _Step | None:
    header, reader.at = NeighbourMessage.decode(reader.data, reader.at, reader.end)
    reader.headers.append(header)
    return None


def _tcp(reader: _Reader) -> _Step | None:
    header, reader.at = Tcp.decode(reader.data, reader.at, reader.end)
    reader.headers.append(header)
    return None


def _sctp(reader: _Reader) -> _Step | None:
    header, reader.at = Sctp.decode(reader.data, reader.at, reader.end)
    reader.headers.append(header)
    return None


def _udp(reader: _Reader) -> _Step | None:
    start = reader.at
    header, reader.at = Udp.decode(reader.data, start, reader.end)
    reader.headers.append(header)
    reader.bound("Udp", start, header.length)
    if header.destination in reader.ports.vxlan:
        return _vxlan
    return _by_version(reader) if header.destination in reader.ports.udp else None


def _vxlan(reader: _Reader) -> _Step | None:
    if reader.networks == DEPTH:
        return None
    header, reader.at = Vxlan.decode(reader.data, reader.at, reader.end)
    reader.headers.append(header)
    return _ethernet


def _by_version(reader: _Reader) -> _Step | None:
    """What an IP packet says of itself in its first four bits."""
    version = reader.data[reader.at] >> 4 if reader.at < reader.end else 0
    return {4: _ipv4, 6: _ipv6}.get(version)


_BY_ETHERTYPE: dict[int, _Step] = {
    ETHERTYPE_IPV4: _ipv4,
    ETHERTYPE_IPV6: _ipv6,
    ETHERTYPE_ARP: _arp,
    ETHERTYPE_VLAN: _vlan,
    ETHERTYPE_SERVICE_VLAN: _vlan,
}
_BY_PROTOCOL: dict[int, _Step] = {
    Protocol.TCP: _tcp,
    Protocol.UDP: _udp,
    Protocol.SCTP: _sctp,
    Protocol.ICMP: _icmp(Family.IPV4),
    Protocol.ICMPV6: _icmp(Family.IPV6),
    Protocol.IPV4: _ipv4,
    Protocol.IPV6: _ipv6,
}
_EXTENSIONS: dict[int, _Step] = {
    Protocol.HOP_BY_HOP: _extension(Protocol.HOP_BY_HOP),
    Protocol.ROUTING: _extension(Protocol.ROUTING),
    Protocol.DESTINATION_OPTIONS: _extension(Protocol.DESTINATION_OPTIONS),
    Protocol.FRAGMENT: _fragment,
}
_NAMES: dict[_Step, str] = {
    _ethernet: "Ethernet",
    _vlan: "Vlan",
    _arp: "Arp",
    _ipv4: "IPv4",
    _ipv6: "IPv6",
    _fragment: "Fragment",
    _neighbour: "NeighbourMessage",
    _tcp: "Tcp",
    _udp: "Udp",
    _sctp: "Sctp",
    _vxlan: "Vxlan",
    **{step: "Extension" for step in _EXTENSIONS.values() if step is not _fragment},
    _BY_PROTOCOL[Protocol.ICMP]: "Icmp",
    _BY_PROTOCOL[Protocol.ICMPV6]: "Icmp",
}
