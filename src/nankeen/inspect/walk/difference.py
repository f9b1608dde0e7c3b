"""What of a captured packet is otherwise than it was predicted, field by field, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nankeen.forwarding.packet import (
    Arp,
    Ethernet,
    Header,
    Icmp,
    Ip,
    Packet,
    Sctp,
    Tcp,
    Udp,
    VxlanHeader,
    WireguardHeader,
)

_NAMES = {
    Ethernet: "Ethernet",
    Arp: "ARP",
    Icmp: "ICMP",
    Udp: "UDP",
    Tcp: "TCP",
    Sctp: "SCTP",
    VxlanHeader: "VXLAN",
    WireguardHeader: "WireGuard",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that is not as it was predicted."""

    field: str
    predicted: str
    seen: str

    def __str__(self) -> str:
        return f"{self.field} {self.seen} instead of {self.predicted}"


def differences(predicted: Packet, seen: Packet) -> tuple[Difference, ...]:
    """Those of two packets at one place. What cannot be predicted is not compared: the port that VXLAN draws."""
    stacks = _stack(predicted), _stack(seen)
    if stacks[0] != stacks[1]:
        return (Difference("headers", *stacks),)
    found = [each for pair in _paired(predicted, seen) for each in _between(*pair)]
    if predicted.size != seen.size:
        found.append(Difference("length", *(f"{_length(packet)} bytes" for packet in (predicted, seen))))
    return tuple(found)


def _stack(packet: Packet) -> str:
    return " | ".join(_name(header) for header in packet.headers)


def _name(header: Header) -> str:
    return f"IPv{header.version}" if isinstance(header, Ip) else _NAMES[type(header)]


def _length(packet: Packet) -> int:
    """Of the outermost IP packet."""
    return packet.size - (Ethernet.size if packet.headers and isinstance(packet.headers[0], Ethernet) else 0)


def _paired(predicted: Packet, seen: Packet) -> Iterator[tuple[str, Header, Header]]:
    """Header by header; before each, of which of two packets in one another it is."""
    inner = max((place for place, header in enumerate(predicted.headers) if isinstance(header, Ip)), default=0)
    tunnelled = sum(isinstance(header, Ip) for header in predicted.headers) > 1
    begins = inner - 1 if inner and isinstance(predicted.headers[inner - 1], Ethernet) else inner
    for place, (one, other) in enumerate(zip(predicted.headers, seen.headers, strict=True)):
        where = ("outer " if place < begins else "inner ") if tunnelled else ""
        yield where, one, other


def _between(where: str, predicted: Header, seen: Header) -> Iterator[Difference]:
    drawn = "source port" if isinstance(predicted, Udp) and not predicted.source else ""
    for (field, value), (_, other) in zip(_fields(predicted), _fields(seen), strict=True):
        if value != other and field != drawn:
            yield Difference(f"{where}{field}", value, other)


def _fields(header: Header) -> Iterator[tuple[str, str]]:
    """What is compared of a header, by its name."""
    match header:
        case Ethernet(source, destination):
            yield "Ethernet source", str(source)
            yield "Ethernet destination", str(destination)
        case Ip():
            yield "source address", str(header.source)
            yield "destination address", str(header.destination)
            yield "TTL" if header.version == 4 else "hop limit", str(header.ttl)
            if header.version == 4:
                yield "DF bit", "set" if header.dont_fragment else "not set"
            yield "fragment", f"of {header.fragment} bytes" if header.fragment else "none"
        case Udp(source, destination) | Tcp(source, destination) | Sctp(source, destination):
            yield "source port", str(source)
            yield "destination port", str(destination)
        case Icmp():
            yield "ICMP message", header.kind.words
            yield "ICMP identifier", str(header.identifier)
        case VxlanHeader(vni):
            yield "VNI", str(vni)
