"""What a filter's program first finds out about a frame: where its headers are, and those of the packet in its tunnel.

It reads as `dissect` does. Terms then only look at what was found.
"""

from __future__ import annotations

from nankeen.inspect.filter.assemble import Label
from nankeen.inspect.filter.network import arp, networks
from nankeen.inspect.filter.program import (
    AT,
    END,
    INNER,
    LENGTH,
    NO_PROTOCOL,
    OUTER,
    Code,
    Fact,
    bound,
    need,
    place,
    step,
    version,
)
from nankeen.model.bpf import Op
from nankeen.model.packet import ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, LinkType, Protocol, TunnelPorts
from nankeen.model.packet.dissect import TAGS
from nankeen.model.packet.ethernet import ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN
from nankeen.model.packet.vxlan import VNI_IS_VALID


def find_facts(code: Code, link: LinkType, ports: TunnelPorts, *, inner: bool) -> None:
    """Puts down the facts of the outer packet and, where `inner` is asked for, of the one in its tunnel."""
    done = Label()
    for level in (OUTER, INNER) if inner else (OUTER,):
        for fact in (Fact.ETHERTYPE, Fact.NETWORK, Fact.PORTS):
            code.set(place(level, fact), 0)
        code.set(place(level, Fact.PROTOCOL), NO_PROTOCOL)
    code.set(AT, 0)
    code.do(Op.LOAD_LENGTH)
    code.store(END)
    tunnel = Label()
    if link is LinkType.ETHERNET:
        _frame(code, OUTER, tunnel, done)
    else:
        _packet_by_version(code, OUTER, tunnel, done)
    code.put(tunnel)
    if inner:
        _enter_tunnel(code, ports, done)
    code.put(done)


def _frame(code: Code, level: int, carried: Label, done: Label) -> None:
    """An Ethernet header and tags at `AT`. Goes on at `carried` behind a sound IP header, at `done` otherwise."""
    ethertype = Label()
    for tag in range(TAGS + 1):
        need(code, 14, done)
        code.load_x(AT)
        code.do(Op.LOAD_HALF_AT_X, 12)
        if tag == TAGS:
            break
        tagged = Label()
        code.branch(Op.JUMP_EQUAL, ETHERTYPE_VLAN, tagged)
        code.branch(Op.JUMP_EQUAL, ETHERTYPE_SERVICE_VLAN, tagged, ethertype)
        code.put(tagged)
        step(code, 4)
    code.put(ethertype)
    code.store(LENGTH)
    step(code, 14)
    code.load(LENGTH)
    ipv4, ipv6, other = Label(), Label(), Label()
    code.branch(Op.JUMP_EQUAL, ETHERTYPE_IPV4, ipv4)
    code.branch(Op.JUMP_EQUAL, ETHERTYPE_IPV6, ipv6)
    code.branch(Op.JUMP_EQUAL, ETHERTYPE_ARP, other, done)
    networks(code, level, (ipv4, ipv6), carried, done)
    code.put(other)
    arp(code, level, done)


def _packet_by_version(code: Code, level: int, carried: Label, done: Label) -> None:
    """An IP packet at `AT`, of the version that its first four bits say."""
    ipv4, ipv6 = Label(), Label()
    need(code, 1, done)
    version(code)
    code.branch(Op.JUMP_EQUAL, 4, ipv4)
    code.branch(Op.JUMP_EQUAL, 6, ipv6, done)
    networks(code, level, (ipv4, ipv6), carried, done)


def _enter_tunnel(code: Code, ports: TunnelPorts, done: Label) -> None:
    """From behind the outer IP header, or at the outer UDP header, into what is tunnelled."""
    udp, ipv4, ipv6, unbounded = Label(), Label(), Label(), Label()
    code.load(place(OUTER, Fact.PROTOCOL))
    code.branch(Op.JUMP_EQUAL, Protocol.UDP, udp)
    code.branch(Op.JUMP_EQUAL, Protocol.IPV4, ipv4)
    code.branch(Op.JUMP_EQUAL, Protocol.IPV6, ipv6, done)
    code.put(udp)
    code.load(place(OUTER, Fact.PORTS))
    code.branch(Op.JUMP_EQUAL, 0, done)
    code.load_x(AT)
    code.do(Op.LOAD_HALF_AT_X, 4)
    code.branch(Op.JUMP_EQUAL, 0, unbounded)
    bound(code, 0)
    code.put(unbounded)
    _by_port(code, ports, done)
    networks(code, INNER, (ipv4, ipv6), done, done)


def _by_port(code: Code, ports: TunnelPorts, done: Label) -> None:
    vxlan, udp = Label(), Label()
    code.load_x(AT)
    code.do(Op.LOAD_HALF_AT_X, 2)
    for port in sorted(ports.vxlan):
        code.branch(Op.JUMP_EQUAL, port, vxlan)
    for port in sorted(ports.udp - ports.vxlan):
        code.branch(Op.JUMP_EQUAL, port, udp)
    code.go(done)
    code.put(vxlan)
    need(code, 16, done)
    code.load_x(AT)
    code.do(Op.LOAD_BYTE_AT_X, 8)
    code.branch(Op.JUMP_ANY_BIT, VNI_IS_VALID, None, done)
    step(code, 16)
    _frame(code, INNER, done, done)
    code.put(udp)
    step(code, 8)
    _packet_by_version(code, INNER, done, done)
