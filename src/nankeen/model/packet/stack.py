"""A whole packet: its headers from the outermost on, and what they carry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nankeen.model.address import Family
from nankeen.model.errors import InputError
from nankeen.model.packet.ethernet import Arp, Ethernet, Vlan
from nankeen.model.packet.field import checksum
from nankeen.model.packet.icmp import Icmp, NeighbourMessage
from nankeen.model.packet.ip import Extension, Fragment, IPv4, IPv6, Protocol
from nankeen.model.packet.sctp import Sctp
from nankeen.model.packet.transport import Tcp, Udp
from nankeen.model.packet.vxlan import Vxlan

IPHeader = IPv4 | IPv6
Header = Ethernet | Vlan | Arp | IPv4 | IPv6 | Extension | Fragment | Icmp | NeighbourMessage | Udp | Tcp | Sctp | Vxlan

_CHECKSUM_AT = {Udp: 6, Tcp: 16, Icmp: 2}


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a packet stops making sense: in which header, and why. What came before it stands."""

    layer: str
    """The header's name, as the class has it."""
    problem: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Packet:
    """Headers, the payload of the last one, and where it broke off if it did."""

    headers: tuple[Header, ...]
    payload: bytes = b""
    fault: Fault | None = None

    @property
    def levels(self) -> tuple[tuple[Header, ...], ...]:
        """The headers of each packet in another, the outermost first. A tunnel's own header belongs to the outer one.

        An inner packet begins after a `Vxlan`, and with every IP header after the first of its level.
        """
        levels: list[list[Header]] = [[]]
        for header in self.headers:
            if isinstance(header, IPv4 | IPv6) and any(isinstance(other, IPv4 | IPv6) for other in levels[-1]):
                levels.append([])
            levels[-1].append(header)
            if isinstance(header, Vxlan):
                levels.append([])
        return tuple(tuple(level) for level in levels)


def encode(headers: Sequence[Header], payload: bytes = b"") -> bytes:
    """The packet on the wire. Lengths and checksums that are None are put right.

    Raises `InputError` where a transport header that has no checksum is in no IP packet.
    """
    data = payload
    for number in range(len(headers) - 1, -1, -1):
        data = _encode_one(headers, number, data) + data
    return data


def _encode_one(headers: Sequence[Header], number: int, data: bytes) -> bytes:
    header = headers[number]
    match header:
        case IPv4() | IPv6():
            return header.encode(len(data))
        case NeighbourMessage():
            before = headers[number - 1] if number else None
            return header.encode(before.type if isinstance(before, Icmp) else 0)
        case Udp():
            return _checked(headers, number, header.encode(len(data)), data)
        case Sctp():
            return header.encode(data)
        case Tcp() | Icmp():
            return _checked(headers, number, header.encode(), data)
        case _:
            return header.encode()


def _checked(headers: Sequence[Header], number: int, encoded: bytes, data: bytes) -> bytes:
    """A transport header with its checksum over the pseudo-header, itself and what follows."""
    header = headers[number]
    if not isinstance(header, Udp | Tcp | Icmp) or header.checksum is not None:
        return encoded
    total = checksum(_pseudo_header(headers, number, len(encoded) + len(data)) + encoded + data)
    if total == 0 and isinstance(header, Udp):
        total = 0xFFFF  # 0 says that there is none (RFC 768)
    at = _CHECKSUM_AT[type(header)]
    return encoded[:at] + total.to_bytes(2, "big") + encoded[at + 2 :]


def _pseudo_header(headers: Sequence[Header], number: int, length: int) -> bytes:
    match headers[number]:
        case Icmp(family=Family.IPV4):
            return b""
        case Icmp():
            protocol = Protocol.ICMPV6
        case Udp():
            protocol = Protocol.UDP
        case _:
            protocol = Protocol.TCP
    for header in reversed(headers[:number]):
        if isinstance(header, IPv4 | IPv6):
            return header.pseudo_header(protocol, length)
    raise InputError("its checksum covers an IP header, and there is none", where=type(headers[number]).__name__)
