"""Between the two values that a packet has: as forwarding sees it, and as it is on the wire (`nankeen.model.packet`).

What decides on a packet's way is in both. What forwarding does not keep (identifications, checksums, flow labels) is
given its usual value on the way to the wire, and left out on the way back.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from nankeen.forwarding import packet as forwarding
from nankeen.forwarding.packet import IcmpKind, Protocol
from nankeen.model import packet as wire
from nankeen.model.address import Family
from nankeen.model.errors import InputError
from nankeen.model.packet.sctp import INIT_LENGTH
from nankeen.model.packet.stack import IPHeader

_KINDS = {
    (version, kind.number(version)): kind
    for version in (4, 6)
    for kind in reversed(IcmpKind)
    if kind.number(version) is not None
}
"""Where several have one number, the first of them."""


def sent(packet: forwarding.Packet) -> tuple[wire.Header, ...]:
    """The headers of an IP packet as its sender makes them; `wire.encode` puts lengths and checksums right.

    Raises `InputError` for a packet that no process sends: a frame, or one in a tunnel.
    """
    first, *others = packet.headers
    if not isinstance(first, forwarding.Ip) or len(others) > 1:
        raise InputError("only a plain IP packet can be sent", where=str(packet))
    inner = [_transport(each, first.version) for each in others]
    protocol = Protocol.ICMP if first.version == 4 else Protocol.ICMPV6
    if others and isinstance(others[0], forwarding.Udp | forwarding.Tcp | forwarding.Sctp):
        protocol = others[0].protocol
    return (_network(first, protocol), *inner)


def captured(packet: wire.Packet) -> forwarding.Packet:
    """A packet that was captured. What no header of forwarding's stands for is payload, and all that follows it."""
    headers: list[forwarding.Header] = []
    rest = list(packet.headers)
    while rest:
        found = _known(rest[0], rest[1:])
        if found is None:
            break
        header, count = found
        headers.append(header)
        del rest[:count]
    stood_for = packet.headers[: len(packet.headers) - len(rest)]
    fragments = sum(isinstance(each, wire.Fragment) for each in stood_for)
    octets = len(packet.payload) + sum(len(wire.encode([each])) for each in rest)
    octets += fragments * wire.Fragment.LENGTH
    if headers and isinstance(headers[-1], forwarding.Sctp):  # which stands for the chunk INIT, too
        octets = max(octets - INIT_LENGTH, 0)
    return forwarding.Packet(tuple(headers), octets)


def _network(header: forwarding.Ip, protocol: int) -> IPHeader:
    source, destination = header.source, header.destination
    if isinstance(source, IPv4Address) and isinstance(destination, IPv4Address):
        return wire.IPv4(source, destination, protocol, header.ttl, header.dont_fragment)
    if isinstance(source, IPv6Address) and isinstance(destination, IPv6Address):
        return wire.IPv6(source, destination, protocol, header.ttl)
    raise InputError("its addresses are of two families", where=str(header))


def _transport(header: forwarding.Header, version: int) -> wire.Header:
    match header:
        case forwarding.Udp(source, destination):
            return wire.Udp(source, destination)
        case forwarding.Tcp(source, destination, syn):
            return wire.Tcp(source, destination, flags=wire.TcpFlag.SYN if syn else wire.TcpFlag.ACK)
        case forwarding.Sctp(source, destination):
            return wire.Sctp(source, destination)
        case forwarding.Icmp() if (number := header.kind.number(version)) is not None:
            kind, code = number
            return wire.Icmp(Family.IPV4 if version == 4 else Family.IPV6, kind, code, header.identifier << 16)
    raise InputError("this cannot be sent", where=str(header))


def _known(first: wire.Header, others: Sequence[wire.Header]) -> tuple[forwarding.Header, int] | None:
    """What stands for the first header, and for how many it does; None where there is nothing that would."""
    match first:
        case wire.Ethernet():
            return forwarding.Ethernet(first.source, first.destination), 1
        case wire.IPv4():
            length = first.total_length or 0
            fragment = length if first.more_fragments or first.fragment_offset else 0
            header = forwarding.Ip(first.source, first.destination, first.ttl, first.dont_fragment, fragment)
            return None if first.options else (header, 1)
        case wire.IPv6():
            return _ipv6(first, others)
        case wire.Udp():
            return forwarding.Udp(first.source, first.destination), 1
        case wire.Tcp():
            syn = bool(first.flags & wire.TcpFlag.SYN)
            return None if first.options else (forwarding.Tcp(first.source, first.destination, syn), 1)
        case wire.Sctp():
            return forwarding.Sctp(first.source, first.destination), 1
        case wire.Vxlan():
            return forwarding.VxlanHeader(first.vni), 1
    return _others(first, others)


def _ipv6(first: wire.IPv6, others: Sequence[wire.Header]) -> tuple[forwarding.Header, int]:
    """With the fragment header behind it, where there is one."""
    fragment = others[0] if others and isinstance(others[0], wire.Fragment) else None
    length = 0 if fragment is None else wire.IPv6.LENGTH + (first.payload_length or 0)
    return forwarding.Ip(first.source, first.destination, first.ttl, fragment=length), 1 if fragment is None else 2


def _others(first: wire.Header, others: Sequence[wire.Header]) -> tuple[forwarding.Header, int] | None:
    match first:
        case wire.Arp() if first.operation in (wire.ArpOperation.REQUEST, wire.ArpOperation.REPLY):
            reply = first.operation == wire.ArpOperation.REPLY
            return forwarding.Arp(first.sender, first.sender_hardware, first.target, reply), 1
        case wire.Icmp():
            kind = _KINDS.get((4 if first.family is Family.IPV4 else 6, (first.type, first.code)))
            if kind is None:
                return None
            about = next((each.target for each in others if isinstance(each, wire.NeighbourMessage)), None)
            echo = first.identifier if first.is_echo else 0
            return forwarding.Icmp(kind, echo, first.mtu or 0, about), 1 if about is None else 2
    return None
