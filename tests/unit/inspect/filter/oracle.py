"""What a filter means, said a second time, of packets that were read; filters and frames to try it on."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from nankeen.inspect.filter.expression import (
    And,
    Expression,
    InNetwork,
    Is,
    Kind,
    Level,
    Not,
    OnPort,
    Or,
    Side,
    Term,
)
from nankeen.model.address import IPAddress, parse_network
from nankeen.model.packet import Arp, Extension, Fragment, Header, IPHeader, IPv4, IPv6, Packet, Tcp, Udp
from tests.unit.model.packet.strategies import PORTS, ipv4_addresses, ipv6_addresses

PROTOCOLS = {Kind.ICMP: (1, 58), Kind.TCP: (6,), Kind.UDP: (17,)}


def holds(expression: Expression, packet: Packet) -> bool:
    """Whether a packet is what the expression asks for."""
    match expression:
        case Not(operand=operand):
            return not holds(operand, packet)
        case And(left=left, right=right):
            return holds(left, packet) and holds(right, packet)
        case Or(left=left, right=right):
            return holds(left, packet) or holds(right, packet)
    asked = {Level.ANY: slice(0, 2), Level.OUTER: slice(0, 1), Level.INNER: slice(1, 2)}[expression.level]
    return any(_term_holds(expression, level) for level in packet.levels[asked])


def _term_holds(term: Term, level: Sequence[Header]) -> bool:
    match term:
        case Is(kind=Kind.ARP):
            return any(isinstance(header, Arp) for header in level)
        case Is(kind=Kind.IPV4):
            return any(isinstance(header, IPv4) for header in level)
        case Is(kind=Kind.IPV6):
            return any(isinstance(header, IPv6) for header in level)
        case Is(kind=kind):
            return _protocol(level) in PROTOCOLS[kind]
        case InNetwork(networks=networks, side=side):
            return any(address in network for address in _addresses(level, side) for network in networks)
        case OnPort(ranges=ranges, side=side, kind=kind):
            if kind is not None and _protocol(level) not in PROTOCOLS[kind]:
                return False
            return any(low <= port <= high for port in _ports(level, side) for low, high in ranges)


def _protocol(level: Sequence[Header]) -> int | None:
    found = [header.protocol for header in level if isinstance(header, IPHeader | Extension | Fragment)]
    return found[-1] if found else None


def _sides(pair: tuple[IPAddress, IPAddress] | tuple[int, int], side: Side) -> Sequence[IPAddress | int]:
    return {Side.EITHER: pair, Side.SOURCE: pair[:1], Side.DESTINATION: pair[1:]}[side]


def _addresses(level: Sequence[Header], side: Side) -> Sequence[IPAddress | int]:
    for header in level:
        match header:
            case Arp():
                return _sides((header.sender, header.target), side)
            case IPv4() | IPv6():
                return _sides((header.source, header.destination), side)
    return ()


def _ports(level: Sequence[Header], side: Side) -> Sequence[int]:
    for header in level:
        if isinstance(header, Tcp | Udp):
            return [port for port in _sides((header.source, header.destination), side) if isinstance(port, int)]
    return ()


_levels, _sides_of = st.sampled_from(Level), st.sampled_from(Side)
_networks = st.one_of(
    st.builds(lambda address, bits: parse_network(f"{address}/{bits}"), ipv4_addresses, st.integers(0, 32)),
    st.builds(lambda address, bits: parse_network(f"{address}/{bits}"), ipv6_addresses, st.integers(0, 128)),
)
_ranges = st.builds(
    lambda one, other: (min(one, other), max(one, other)), st.sampled_from(PORTS), st.sampled_from(PORTS)
)
terms: st.SearchStrategy[Expression] = st.one_of(
    st.builds(Is, st.sampled_from(Kind), _levels),
    st.builds(InNetwork, st.lists(_networks, min_size=1, max_size=3).map(tuple), _sides_of, _levels),
    st.builds(
        OnPort,
        st.lists(_ranges, min_size=1, max_size=2).map(tuple),
        _sides_of,
        st.sampled_from([None, Kind.TCP, Kind.UDP]),
        _levels,
    ),
)
expressions: st.SearchStrategy[Expression] = st.recursive(
    terms,
    lambda inner: st.one_of(st.builds(Not, inner), st.builds(And, inner, inner), st.builds(Or, inner, inner)),
    max_leaves=12,
)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A frame as it is, cut somewhere, with padding, or with some octets changed."""
    match draw(st.sampled_from(["whole", "cut", "padded", "changed"])):
        case "cut":
            return whole[: draw(st.integers(0, len(whole)))]
        case "padded":
            return whole[: draw(st.integers(0, len(whole)))] + draw(st.binary(max_size=20))
        case "changed":
            changed = bytearray(whole)
            for at in draw(st.lists(st.integers(0, min(len(whole) - 1, 120)), max_size=4)):
                changed[at] = draw(st.integers(0, 255))
            return bytes(changed)
        case _:
            return whole
