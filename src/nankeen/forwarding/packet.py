"""A packet as forwarding sees it: a stack of headers, the outermost first, and the length of what they carry, in bytes.

Only what decides on a packet's way is kept of a header, and nothing of the payload: `nankeen.model.packet` has packets
as they are on the wire. Headers of both versions of IP are one type, as are their ICMPs; what is printed is the
version's own name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from ipaddress import IPv4Address
from typing import ClassVar

from nankeen.model.address import HardwareAddress, IPAddress

_LONGEST_HEADER = 48
"""WireGuard's, with all the padding that there may be."""
BROADCAST = HardwareAddress(b"\xff" * 6)


class Protocol(IntEnum):
    """What an IP header carries (IANA, protocol numbers)."""

    ICMP = 1
    IPIP = 4
    TCP = 6
    UDP = 17
    IPV6 = 41
    ICMPV6 = 58
    SCTP = 132


@dataclass(frozen=True, slots=True)
class Ethernet:
    """Of a frame (IEEE 802.3); what it carries is told by the next header."""

    source: HardwareAddress
    destination: HardwareAddress

    size: ClassVar[int] = 14

    def __str__(self) -> str:
        return f"Ethernet {self.source} → {self.destination}"


@dataclass(frozen=True, slots=True)
class Arp:
    """A question for a hardware address, or its answer (RFC 826)."""

    sender: IPAddress
    sender_address: HardwareAddress
    target: IPAddress
    reply: bool = False

    size: ClassVar[int] = 28

    def __str__(self) -> str:
        if self.reply:
            return f"ARP {self.sender} is at {self.sender_address}"
        return f"ARP who has {self.target}? tell {self.sender}"


@dataclass(frozen=True, slots=True)
class Ip:
    """Of IPv4 (RFC 791) or IPv6 (RFC 8200), by its addresses. An IPv6 packet is never fragmented on its way."""

    source: IPAddress
    destination: IPAddress
    ttl: int = 64
    """Time to live, or hop limit."""
    dont_fragment: bool = False
    """The DF bit of IPv4; of IPv6, that its sender does not fragment it either."""
    fragment: int = 0
    """Length of the largest fragment that the packet travels in, this header included; 0 while it is whole."""

    @property
    def version(self) -> int:
        return 4 if type(self.source) is IPv4Address else 6

    @property
    def size(self) -> int:
        return 20 if type(self.source) is IPv4Address else 40

    def __str__(self) -> str:
        parts = [f"IPv{self.version} {self.source} → {self.destination}", f"ttl {self.ttl}"]
        parts += ["DF"] if self.dont_fragment and self.version == 4 else []
        parts += [f"in fragments of {self.fragment}"] if self.fragment else []
        return " ".join(parts)


class IcmpKind(Enum):
    """What an ICMP message says, as type and code of ICMP (RFC 792, RFC 1812) and of ICMPv6 (RFC 4443, RFC 4861)."""

    ECHO_REQUEST = "echo request", (8, 0), (128, 0)
    ECHO_REPLY = "echo reply", (0, 0), (129, 0)
    NO_ROUTE = "network unreachable", (3, 0), (1, 0)
    HOST_UNREACHABLE = "host unreachable", (3, 1), (1, 3)
    PORT_UNREACHABLE = "port unreachable", (3, 3), (1, 4)
    PROHIBITED = "administratively prohibited", (3, 13), (1, 1)
    HOST_PROHIBITED = "host administratively prohibited", (3, 10), (1, 1)
    NET_PROHIBITED = "network administratively prohibited", (3, 9), (1, 1)
    BEYOND_SCOPE = "beyond scope of source address", None, (1, 2)
    TOO_BIG = "fragmentation needed", (3, 4), (2, 0)
    TIME_EXCEEDED = "time exceeded", (11, 0), (3, 0)
    NEIGHBOUR_SOLICITATION = "neighbour solicitation", None, (135, 0)
    NEIGHBOUR_ADVERTISEMENT = "neighbour advertisement", None, (136, 0)

    __hash__ = object.__hash__  # there is one of each, looked up often, and an enumeration's own hash is slow

    def __init__(self, words: str, ipv4: tuple[int, int] | None, ipv6: tuple[int, int] | None) -> None:
        self.words = words
        self.ipv4 = ipv4
        self.ipv6 = ipv6

    def number(self, version: int) -> tuple[int, int] | None:
        """Type and code in that version of IP; None where it knows no such message."""
        return self.ipv4 if version == 4 else self.ipv6

    def told(self, version: int) -> str:
        """The message's name in that version."""
        return {IcmpKind.TOO_BIG: "packet too big", IcmpKind.NO_ROUTE: "no route to destination"}.get(
            self if version == 6 else IcmpKind.ECHO_REPLY, self.words
        )


ABOUT_NEIGHBOURS = (IcmpKind.NEIGHBOUR_SOLICITATION, IcmpKind.NEIGHBOUR_ADVERTISEMENT)


@dataclass(frozen=True, slots=True)
class Icmp:
    """Of ICMP or ICMPv6: the IP header before it tells which."""

    kind: IcmpKind
    identifier: int = 0
    mtu: int = 0
    """Of the link that the packet was too big for."""
    target: IPAddress | None = None
    """Whom neighbour discovery is about."""
    about: Packet | None = None
    """What an error is about."""

    size: ClassVar[int] = 8

    def __str__(self) -> str:
        return f"ICMP {self.kind.words}" + (f", mtu {self.mtu}" if self.mtu else "")


@dataclass(frozen=True, slots=True)
class Udp:
    """RFC 768."""

    source: int
    destination: int

    size: ClassVar[int] = 8
    protocol: ClassVar[Protocol] = Protocol.UDP

    def __str__(self) -> str:
        return f"UDP {self.source} → {self.destination}"


@dataclass(frozen=True, slots=True)
class Tcp:
    """RFC 9293, without options."""

    source: int
    destination: int
    syn: bool = True
    """Whether the segment opens a connection."""

    size: ClassVar[int] = 20
    protocol: ClassVar[Protocol] = Protocol.TCP

    def __str__(self) -> str:
        return f"TCP {self.source} → {self.destination}{' SYN' if self.syn else ''}"


@dataclass(frozen=True, slots=True)
class Sctp:
    """RFC 9260: the common header, and the chunk INIT that opens an association."""

    source: int
    destination: int

    size: ClassVar[int] = 32
    protocol: ClassVar[Protocol] = Protocol.SCTP

    def __str__(self) -> str:
        return f"SCTP {self.source} → {self.destination} INIT"


@dataclass(frozen=True, slots=True)
class VxlanHeader:
    """RFC 7348 §5."""

    vni: int

    size: ClassVar[int] = 8

    def __str__(self) -> str:
        return f"VXLAN {self.vni}"


@dataclass(frozen=True, slots=True)
class WireguardHeader:
    """Of a transport message: 16 bytes, and the authentication tag of 16 that follows what it carries."""

    device_key: str
    """Public key of the sender: what a session stands for."""
    padding: int = 0
    """What fills the packet up to a multiple of 16."""

    @property
    def size(self) -> int:
        return 32 + self.padding

    def __str__(self) -> str:
        return f"WireGuard from {self.device_key}"


Header = Ethernet | Arp | Ip | Icmp | Udp | Tcp | Sctp | VxlanHeader | WireguardHeader


@dataclass(frozen=True, slots=True)
class Packet:
    """Headers from the outside in, and the bytes that follow them."""

    headers: tuple[Header, ...]
    payload: int = 0

    @property
    def size(self) -> int:
        """Length of the packet, all headers included; of one in fragments, the length of the largest."""
        size = self.payload
        for header in reversed(self.headers):
            size += header.size
            if type(header) is Ip and header.fragment:
                size = min(size, header.fragment)
        return size

    def exceeds(self, limit: int) -> bool:
        """Whether the packet is longer than that: mostly seen without adding up its headers."""
        return self.payload + _LONGEST_HEADER * len(self.headers) > limit and self.size > limit

    @property
    def ip(self) -> Ip:
        """The outermost IP header, which stands first or behind Ethernet's. Raises `TypeError` where there is none."""
        first = self.headers[0]
        header = self.headers[1] if type(first) is Ethernet else first
        if type(header) is Ip:
            return header
        raise TypeError(f"{self} is no IP packet")

    def within(self, *outer: Header) -> Packet:
        """The packet inside of further headers, the outermost first."""
        return Packet((*outer, *self.headers), self.payload)

    def without(self, count: int = 1) -> Packet:
        """What is left when that many outer headers are taken off."""
        return Packet(self.headers[count:], self.payload)

    def with_ip(self, header: Ip) -> Packet:
        """The packet with another first header, which is IP's."""
        return Packet((header, *self.headers[1:]), self.payload)

    def routed(self) -> Packet:
        """The IP packet as a router sends it on: its time to live is one less (RFC 1812 §5.3.1)."""
        was = self.ip
        return self.with_ip(Ip(was.source, was.destination, was.ttl - 1, was.dont_fragment, was.fragment))

    def __str__(self) -> str:
        return " | ".join([*map(str, self.headers), *([f"{self.payload} bytes"] if self.payload else [])])


def echo_request(source: IPAddress, destination: IPAddress, payload: int = 56, *, ttl: int = 64) -> Packet:
    """What `ping` sends."""
    return Packet((Ip(source, destination, ttl), Icmp(IcmpKind.ECHO_REQUEST, 1)), payload)


def datagram(
    source: IPAddress, destination: IPAddress, port: int, payload: int = 0, *, source_port: int = 40000
) -> Packet:
    """One UDP datagram."""
    return Packet((Ip(source, destination), Udp(source_port, port)), payload)
