"""From an expression to a program: facts first, then terms as jumps, each to where the answer is known."""

from __future__ import annotations

from ipaddress import IPv4Network

from nankeen.inspect.filter.assemble import Label, assemble
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
from nankeen.inspect.filter.facts import find_facts
from nankeen.inspect.filter.program import INNER, OUTER, Code, Fact, place
from nankeen.model.address import IPNetwork
from nankeen.model.bpf import Op, Program
from nankeen.model.packet import ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, LinkType, Protocol, TunnelPorts

KEPT = 1 << 18
"""Octets of a frame that are kept: more than any has."""

_ETHERTYPES = {Kind.ARP: ETHERTYPE_ARP, Kind.IPV4: ETHERTYPE_IPV4, Kind.IPV6: ETHERTYPE_IPV6}
_PROTOCOLS = {
    Kind.ICMP: (Protocol.ICMP, Protocol.ICMPV6),
    Kind.TCP: (Protocol.TCP,),
    Kind.UDP: (Protocol.UDP,),
}
_ADDRESSES = {
    ETHERTYPE_IPV4: {Side.SOURCE: 12, Side.DESTINATION: 16},
    ETHERTYPE_ARP: {Side.SOURCE: 14, Side.DESTINATION: 24},
    ETHERTYPE_IPV6: {Side.SOURCE: 8, Side.DESTINATION: 24},
}
"""Where addresses are, from the network header's beginning."""
_PORTS = {Side.SOURCE: 0, Side.DESTINATION: 2}


def compile_filter(expression: Expression, link: LinkType, ports: TunnelPorts | None = None) -> Program:
    """The program that keeps the frames of which the expression holds, on devices of that link type.

    Raises `InputError` where it is longer than the kernel takes.
    """
    code = Code()
    find_facts(code, link, ports or TunnelPorts(), inner=_asks_inside(expression))
    kept, dropped = Label(), Label()
    _holds(code, expression, kept, dropped)
    code.put(kept)
    code.do(Op.RETURN, KEPT)
    code.put(dropped)
    code.do(Op.RETURN, 0)
    return assemble(code.items)


def _asks_inside(expression: Expression) -> bool:
    match expression:
        case Not(operand=operand):
            return _asks_inside(operand)
        case And(left=left, right=right) | Or(left=left, right=right):
            return _asks_inside(left) or _asks_inside(right)
        case _:
            return expression.level is not Level.OUTER


def _holds(code: Code, expression: Expression, true: Label, false: Label) -> None:
    """Goes to one of both; nothing follows by itself."""
    match expression:
        case Not(operand=operand):
            _holds(code, operand, false, true)
        case And(left=left, right=right):
            both = Label()
            _holds(code, left, both, false)
            code.put(both)
            _holds(code, right, true, false)
        case Or(left=left, right=right):
            other = Label()
            _holds(code, left, true, other)
            code.put(other)
            _holds(code, right, true, false)
        case _:
            _term(code, expression, true, false)


def _term(code: Code, term: Term, true: Label, false: Label) -> None:
    levels = {Level.ANY: (OUTER, INNER), Level.OUTER: (OUTER,), Level.INNER: (INNER,)}[term.level]
    for level in levels:
        match term:
            case Is():
                _is(code, term, level, true)
            case InNetwork():
                for network in term.networks:
                    _in_network(code, network, term.side, level, true)
            case OnPort():
                _on_port(code, term, level, true)
    code.go(false)


def _is(code: Code, term: Is, level: int, true: Label) -> None:
    """Goes on with what follows where it does not hold, as the other two do."""
    if term.kind in _ETHERTYPES:
        code.load(place(level, Fact.ETHERTYPE))
        code.branch(Op.JUMP_EQUAL, _ETHERTYPES[term.kind], true)
        return
    code.load(place(level, Fact.PROTOCOL))
    for protocol in _PROTOCOLS[term.kind]:
        code.branch(Op.JUMP_EQUAL, protocol, true)


def _in_network(code: Code, network: IPNetwork, side: Side, level: int, true: Label) -> None:
    sides = (Side.SOURCE, Side.DESTINATION) if side is Side.EITHER else (side,)
    for ethertype in (ETHERTYPE_IPV4, ETHERTYPE_ARP) if isinstance(network, IPv4Network) else (ETHERTYPE_IPV6,):
        other = Label()
        code.load(place(level, Fact.ETHERTYPE))
        code.branch(Op.JUMP_EQUAL, ethertype, None, other)
        code.load_x(place(level, Fact.NETWORK))
        for each in sides:
            _address_in(code, network, _ADDRESSES[ethertype][each], true)
        code.put(other)


def _address_in(code: Code, network: IPNetwork, at: int, true: Label) -> None:
    """Compares word by word, as many as the prefix has bits in."""
    differs = Label()
    prefix, mask = network.network_address.packed, network.netmask.packed
    for word in range(0, len(prefix), 4):
        wanted, bits = (int.from_bytes(part[word : word + 4], "big") for part in (prefix, mask))
        if not bits:
            break
        code.do(Op.LOAD_WORD_AT_X, at + word)
        if bits != 0xFFFF_FFFF:
            code.do(Op.AND, bits)
        code.branch(Op.JUMP_EQUAL, wanted, None, differs)
    code.go(true)
    code.put(differs)


def _on_port(code: Code, term: OnPort, level: int, true: Label) -> None:
    other = Label()
    if term.kind is not None:
        code.load(place(level, Fact.PROTOCOL))
        code.branch(Op.JUMP_EQUAL, _PROTOCOLS[term.kind][0], None, other)
    code.load(place(level, Fact.PORTS))
    code.branch(Op.JUMP_EQUAL, 0, other)
    code.do(Op.TO_X)
    for side in _PORTS if term.side is Side.EITHER else (term.side,):
        code.do(Op.LOAD_HALF_AT_X, _PORTS[side])
        for low, high in term.ranges:
            outside = Label()
            code.branch(Op.JUMP_AT_LEAST, low, None, outside)
            code.branch(Op.JUMP_GREATER, high, None, true)
            code.put(outside)
    code.put(other)
