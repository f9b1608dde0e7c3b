"""A packet's headers as they are drawn: name, length, what each says."""

from __future__ import annotations

from dataclasses import dataclass

from nankeen.forwarding import Packet
from nankeen.forwarding.packet import (
    Arp,
    Ethernet,
    Header,
    Icmp,
    Ip,
    Sctp,
    Tcp,
    Udp,
    VxlanHeader,
    WireguardHeader,
)


@dataclass(frozen=True, slots=True)
class Row:
    """One header of a packet."""

    name: str
    size: int
    """In bytes."""
    says: str


def rows(packet: Packet) -> tuple[Row, ...]:
    """From the outside in; what the last header carries is no row."""
    version = 4
    found = []
    for header in packet.headers:
        version = header.version if isinstance(header, Ip) else version
        found.append(Row(_name(header, version), header.size, _says(header, version)))
    return tuple(found)


def names(packet: Packet) -> tuple[str, ...]:
    """The names alone."""
    return tuple(row.name for row in rows(packet))


def lifetime(header: Ip) -> str:
    """What the version calls how far a packet may still go (RFC 791, RFC 8200)."""
    return "ttl" if header.version == 4 else "hop limit"


def overhead(before: Packet, after: Packet) -> int:
    """Bytes that a packet has more than before."""
    return after.size - before.size


_NAMES: dict[type, str] = {
    Ethernet: "Ethernet",
    Arp: "ARP",
    Udp: "UDP",
    Tcp: "TCP",
    Sctp: "SCTP",
    VxlanHeader: "VXLAN",
    WireguardHeader: "WireGuard",
}


def _name(header: Header, version: int) -> str:
    if isinstance(header, Ip):
        return f"IPv{version}"
    if isinstance(header, Icmp):
        return "ICMP" if version == 4 else "ICMPv6"
    return _NAMES[type(header)]


def _says(header: Header, version: int) -> str:
    match header:
        case Ethernet(source, destination):
            return f"{source} → {destination}"
        case Ip():
            return str(header).partition(" ")[2].replace(" ttl ", f" {lifetime(header)} ")
        case Udp(0, port):
            return f"destination port {port}"
        case Icmp():
            return header.kind.told(version) + (f", mtu {header.mtu}" if header.mtu else "")
        case VxlanHeader(vni):
            return f"VNI {vni}"
    return str(header).partition(" ")[2]
