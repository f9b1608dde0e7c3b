"""The network and transport headers of one level, as a filter's program reads them: just as `dissect` does."""

from __future__ import annotations

from nankeen.inspect.filter.assemble import Label
from nankeen.inspect.filter.program import (
    AT,
    LENGTH,
    Code,
    Fact,
    bound,
    found_network,
    need,
    need_length,
    place,
    step,
    version,
)
from nankeen.model.bpf import Op
from nankeen.model.packet import ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Protocol
from nankeen.model.packet.ip import EXTENSIONS

_ARP_KIND = 0x0001_0800, 0x0604
_FRAGMENT_OFFSET = 0x1FFF
_IPV6_FRAGMENT_OFFSET = 0xFFF8
_OPTIONS = (Protocol.HOP_BY_HOP, Protocol.ROUTING, Protocol.DESTINATION_OPTIONS)


def networks(code: Code, level: int, labels: tuple[Label, Label], carried: Label, done: Label) -> None:
    """An IPv4 or an IPv6 packet at `AT`, by the label that is jumped to."""
    transport = Label()
    ipv4, ipv6 = labels
    code.put(ipv4)
    _ipv4(code, level, done)
    code.go(transport)
    code.put(ipv6)
    _ipv6(code, level, transport, done)
    code.put(transport)
    _transport(code, level, carried)
    code.go(carried)


def arp(code: Code, level: int, done: Label) -> None:
    need(code, 28, done)
    code.load_x(AT)
    code.do(Op.LOAD_WORD_AT_X, 0)
    code.branch(Op.JUMP_EQUAL, _ARP_KIND[0], None, done)
    code.do(Op.LOAD_HALF_AT_X, 4)
    code.branch(Op.JUMP_EQUAL, _ARP_KIND[1], None, done)
    found_network(code, level, ETHERTYPE_ARP)
    code.go(done)


def _ipv4(code: Code, level: int, done: Label) -> None:
    """Leaves `AT` behind the header. Later fragments are done with, once their addresses and protocol are known."""
    need(code, 20, done)
    version(code)
    code.branch(Op.JUMP_EQUAL, 4, None, done)
    code.do(Op.LOAD_BYTE_AT_X, 0)
    code.do(Op.AND, 0x0F)
    code.do(Op.LEFT, 2)
    code.branch(Op.JUMP_AT_LEAST, 20, None, done)
    code.store(LENGTH)
    need_length(code, done)
    unbounded, bounded = Label(), Label()
    code.load_x(AT)
    code.do(Op.LOAD_HALF_AT_X, 2)
    code.branch(Op.JUMP_EQUAL, 0, unbounded)
    code.load_x(LENGTH)
    code.branch(Op.JUMP_AT_LEAST_X, 0, bounded, done)
    code.put(bounded)
    bound(code, 0)
    code.put(unbounded)
    found_network(code, level, ETHERTYPE_IPV4)
    code.load_x(AT)
    code.do(Op.LOAD_BYTE_AT_X, 9)
    code.store(place(level, Fact.PROTOCOL))
    code.do(Op.LOAD_HALF_AT_X, 6)
    code.branch(Op.JUMP_ANY_BIT, _FRAGMENT_OFFSET, done)
    code.load(LENGTH)
    code.do(Op.ADD_X)
    code.store(AT)


def _ipv6(code: Code, level: int, transport: Label, done: Label) -> None:
    """Leaves `AT` behind the header and up to `EXTENSIONS` extension headers."""
    unbounded = Label()
    need(code, 40, done)
    version(code)
    code.branch(Op.JUMP_EQUAL, 6, None, done)
    found_network(code, level, ETHERTYPE_IPV6)
    code.load_x(AT)
    code.do(Op.LOAD_HALF_AT_X, 4)
    code.branch(Op.JUMP_EQUAL, 0, unbounded)
    bound(code, 40)
    code.put(unbounded)
    code.load_x(AT)
    code.do(Op.LOAD_BYTE_AT_X, 6)
    code.store(place(level, Fact.PROTOCOL))
    step(code, 40)
    for _ in range(EXTENSIONS):
        _extension(code, level, transport, done)


def _extension(code: Code, level: int, transport: Label, done: Label) -> None:
    """Steps over one extension header, if `Fact.PROTOCOL` is one."""
    options, fragment, following = Label(), Label(), Label()
    code.load(place(level, Fact.PROTOCOL))
    for kind in _OPTIONS:
        code.branch(Op.JUMP_EQUAL, kind, options)
    code.branch(Op.JUMP_EQUAL, Protocol.FRAGMENT, fragment, transport)
    code.put(options)
    need(code, 8, done)
    code.load_x(AT)
    code.do(Op.LOAD_BYTE_AT_X, 1)
    code.do(Op.ADD, 1)
    code.do(Op.LEFT, 3)
    code.store(LENGTH)
    need_length(code, done)
    code.load_x(AT)
    code.do(Op.LOAD_BYTE_AT_X, 0)
    code.store(place(level, Fact.PROTOCOL))
    code.load(LENGTH)
    code.do(Op.ADD_X)
    code.store(AT)
    code.go(following)
    code.put(fragment)
    need(code, 8, done)
    code.load_x(AT)
    code.do(Op.LOAD_BYTE_AT_X, 0)
    code.store(place(level, Fact.PROTOCOL))
    code.do(Op.LOAD_HALF_AT_X, 2)
    code.branch(Op.JUMP_ANY_BIT, _IPV6_FRAGMENT_OFFSET, done)
    step(code, 8)
    code.put(following)


def _transport(code: Code, level: int, carried: Label) -> None:
    """Notes where ports are, if the header that has them is sound."""
    tcp, udp, sound = Label(), Label(), Label()
    code.load(place(level, Fact.PROTOCOL))
    code.branch(Op.JUMP_EQUAL, Protocol.TCP, tcp)
    code.branch(Op.JUMP_EQUAL, Protocol.UDP, udp, carried)
    code.put(tcp)
    need(code, 20, carried)
    code.load_x(AT)
    code.do(Op.LOAD_BYTE_AT_X, 12)
    code.do(Op.RIGHT, 4)
    code.do(Op.LEFT, 2)
    code.branch(Op.JUMP_AT_LEAST, 20, None, carried)
    code.store(LENGTH)
    need_length(code, carried)
    code.go(sound)
    code.put(udp)
    need(code, 8, carried)
    code.load_x(AT)
    code.do(Op.LOAD_HALF_AT_X, 4)
    code.branch(Op.JUMP_EQUAL, 0, sound)
    code.branch(Op.JUMP_AT_LEAST, 8, None, carried)
    code.put(sound)
    code.load(AT)
    code.store(place(level, Fact.PORTS))
