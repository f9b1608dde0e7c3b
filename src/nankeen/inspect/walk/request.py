"""From the words of a request to the question: who sends which packet. Nothing is sent here."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import ip_address

from nankeen.forwarding import Packet, walk
from nankeen.forwarding.packet import Header, Icmp, IcmpKind, Ip, Sctp, Tcp, Udp
from nankeen.inspect.nearest import unknown
from nankeen.inspect.walk.journey import Question
from nankeen.inspect.walk.surroundings import Role, Surroundings
from nankeen.model.address import Family, IPAddress, family_of
from nankeen.model.errors import InputError
from nankeen.model.printable import LONGEST_NAME, printable

DEFAULT_SIZE = 84
"""Length of the packet in bytes, IP header included: what `ping` sends over IPv4."""
LARGEST = 65_535
SOURCE_PORT = 40_000
SERVICE = 80
"""The port that is asked for where none is said."""
_IDENTIFIER = 1
_FIRST_UNUSED = 61_000
"""From here on no port is given to applications that ask for none in particular (net.ipv4.ip_local_port_range)."""


class Protocol(Enum):
    """What the packet carries."""

    ICMP = "icmp"
    TCP = "tcp"
    UDP = "udp"
    SCTP = "sctp"


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asked for. What is None was left open."""

    source: str
    """A name or an address."""
    destination: str
    """A name, an address, or an address with a port: 192.168.0.12:8080, [fd00::12]:8080."""
    protocol: Protocol | None = None
    port: int | None = None
    source_port: int | None = None
    size: int | None = None
    """Of the IP packet, its header included."""
    ttl: int = 64
    fragment: bool = False
    """Whether the packet may be cut on its way: DF is not set."""
    family: Family | None = None
    drawn: int | None = None
    """The source port, or an echo's identifier, where none was asked for."""

    def with_drawn(self) -> Request:
        """With a port, or identifier, that no packet before had: what hosts remember of those says nothing of this."""
        return replace(self, drawn=_FIRST_UNUSED + secrets.randbelow(LARGEST - _FIRST_UNUSED))


def question(request: Request, around: Surroundings) -> Question:
    """The packet, and who sends it. Raises `InputError`."""
    place, port = _endpoint(request.destination)
    port = _port(request, port)
    source, destination = _addresses(request, place, around)
    sender = _sender(request.source, source, around)
    header = Ip(source, destination, request.ttl, dont_fragment=not request.fragment)
    packet = _sized(request, header, _carried(request, port))
    if request.source == sender:
        packet = _as_sent(packet, sender, around)
    return Question(sender, request.destination, packet)


def _as_sent(packet: Packet, sender: str, around: Surroundings) -> Packet:
    """With the source address that the sender's kernel chooses: a node has several. Without a route, the one given."""
    header = packet.ip
    nobody = ip_address("0.0.0.0" if header.version == 4 else "::")  # noqa: S104  (nothing is bound to it)
    hops = walk(around.world, packet.with_ip(replace(header, source=nobody)), sender).hops
    chosen = hops[0].after.ip.source if hops else header.source
    return packet.with_ip(replace(header, source=chosen))


def _endpoint(word: str) -> tuple[str, int | None]:
    """A name or address, and the port that is said with it."""
    if word.startswith("["):
        place, bracket, rest = word[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise InputError(
                "is no address with a port", where=printable(word, LONGEST_NAME), remedy="write [fd00::12]:8080"
            )
        return place, _number(rest[1:], word) if rest else None
    if word.count(":") == 1:
        place, _, port = word.partition(":")
        return place, _number(port, word)
    return word, None


def _number(text: str, where: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(LARGEST)) and 0 < int(text) <= LARGEST):
        remedy = "a port is a number from 1 to 65535"
        raise InputError(f"{text[:20]!r} is no port", where=printable(where, LONGEST_NAME), remedy=remedy)
    return int(text)


def _port(request: Request, said: int | None) -> int | None:
    """The destination port. Raises `InputError` where two are said, or one with a protocol that has none."""
    if said is not None and request.port is not None and said != request.port:
        raise InputError(f"two ports are asked for: {said} and {request.port}", where=printable(request.destination))
    port = said if said is not None else request.port
    if request.protocol is Protocol.ICMP and (port or request.source_port):
        raise InputError("ICMP has no ports", remedy="use --proto tcp, udp or sctp")
    return port


def _addresses(request: Request, place: str, around: Surroundings) -> tuple[IPAddress, IPAddress]:
    """An address of each, of one family: the asked one, else that of whoever is named by an address, else IPv4."""
    sources = [each for each in _of(request.source, around) if _fits(each, request.family)]
    destinations = [each for each in _of(place, around) if _fits(each, request.family)]
    for source in sources:
        for destination in destinations:
            if source.version == destination.version:
                return source, destination
    where = printable(f"{request.source} → {request.destination}")
    raise InputError("they have no addresses of one family", where=where)


def _fits(address: IPAddress, family: Family | None) -> bool:
    return family is None or family_of(address) is family


def _of(word: str, around: Surroundings) -> tuple[IPAddress, ...]:
    """The addresses that a word stands for. Raises `InputError`."""
    try:
        return (ip_address(word),)
    except ValueError:
        names = [name for name, role in around.roles.items() if role is not Role.SWITCH]
    if word not in names:
        raise unknown(word, names, "node, pod or address")
    found = around.addresses.get(word, ())
    if not found:
        raise InputError("it has no address", where=word)
    return found


def _sender(word: str, source: IPAddress, around: Surroundings) -> str:
    if word in around.roles:
        return word
    holder = around.holder(source) or _asked_of_all(source, around)
    if holder is None:
        raise InputError("not one host has this address", where=word, remedy="name the pod or node that sends")
    return holder


def _asked_of_all(address: IPAddress, around: Surroundings) -> str | None:
    """Who has an address that nobody was given: a bridge's, a tunnel's. Every host is read."""
    found = around.world.holder(address)
    return found.name if found else None


def _carried(request: Request, port: int | None) -> Header:
    ports = request.source_port or request.drawn or SOURCE_PORT, port or SERVICE
    asked = port is not None or request.source_port is not None
    match request.protocol or (Protocol.TCP if asked else Protocol.ICMP):
        case Protocol.TCP:
            return Tcp(*ports)
        case Protocol.UDP:
            return Udp(*ports)
        case Protocol.SCTP:
            return Sctp(*ports)
    return Icmp(IcmpKind.ECHO_REQUEST, request.drawn or _IDENTIFIER)


def _sized(request: Request, header: Ip, carried: Header) -> Packet:
    """With so much payload that it is as long as is asked. TCP's first segment carries none by default."""
    least = header.size + carried.size
    size = request.size if request.size is not None else least if isinstance(carried, Tcp | Sctp) else DEFAULT_SIZE
    if request.size is None:
        size = max(size, least)
    if not least <= size <= LARGEST:
        problem = f"a packet of {size} bytes is asked for, and its headers alone have {least}"
        raise InputError(problem, where="--size", remedy=f"ask for {least} to {LARGEST}")
    return Packet((header, carried), size - least)
