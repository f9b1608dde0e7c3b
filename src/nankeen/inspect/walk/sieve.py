"""The kernel's filter for one probe: one program of classic BPF for all devices, whatever their frames begin with.

It keeps the probe by the number in its IP header, its answer, errors about it, and questions of neighbours. What it
lets through is looked at in full by whoever reads it (`sighting.role_of`). Answers are looked for behind IP headers
without options: a probe has none, and what answers it has none either.
"""

from __future__ import annotations

from nankeen.inspect.filter.assemble import Label, assemble
from nankeen.inspect.filter.facts import find_facts
from nankeen.inspect.filter.program import INNER, OUTER, Code, Fact, place
from nankeen.inspect.walk.tag import Tag
from nankeen.kernel.everytap import HARDWARE_TYPE
from nankeen.kernel.tap import ETHERNET
from nankeen.model.bpf import Op, Program
from nankeen.model.packet import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    ArpOperation,
    Fragment,
    Icmp,
    IPv4,
    IPv6,
    LinkType,
    Protocol,
    TunnelPorts,
)
from nankeen.model.packet.icmp import IcmpType, Icmpv6Type

_FLOW_LABEL = 0xF_FFFF
_KEPT = 1 << 18
_NEXT_HEADER = 6
"""Where IPv6's header has it."""
_NUMBER_AT = 4
"""Where SCTP's verification tag is, and TCP's sequence number, from the transport header on."""
_ANSWER_AT = 8
"""Where the payload of an echo begins, and TCP's acknowledgement number."""


def program(tag: Tag, ports: TunnelPorts) -> Program:
    """Keeps the probe, its answer, errors about it, and questions of neighbours; the first two also in tunnels."""
    code, kept, dropped, ethernet = Code(), Label(), Label(), Label()
    code.do(Op.LOAD_WORD, HARDWARE_TYPE)
    for kind in sorted(ETHERNET):
        code.branch(Op.JUMP_EQUAL, kind, ethernet)
    _look(code, tag, LinkType.IP, ports, kept)
    code.go(dropped)
    code.put(ethernet)
    _look(code, tag, LinkType.ETHERNET, ports, kept)
    code.put(dropped)
    code.do(Op.RETURN, 0)
    code.put(kept)
    code.do(Op.RETURN, _KEPT)
    return assemble(code.items)


def _look(code: Code, tag: Tag, link: LinkType, ports: TunnelPorts, kept: Label) -> None:
    """Goes to `kept` where the frame is wanted; what is cut short ends the program, and is not."""
    find_facts(code, link, ports, inner=True)
    for level in (OUTER, INNER):
        ipv4, ipv6, following = Label(), Label(), Label()
        code.load(place(level, Fact.ETHERTYPE))
        code.branch(Op.JUMP_EQUAL, ETHERTYPE_IPV4, ipv4)
        code.branch(Op.JUMP_EQUAL, ETHERTYPE_IPV6, ipv6)
        code.branch(Op.JUMP_EQUAL, ETHERTYPE_ARP, None, following)
        code.load_x(place(level, Fact.NETWORK))
        code.do(Op.LOAD_HALF_AT_X, 6)
        code.branch(Op.JUMP_EQUAL, ArpOperation.REQUEST, kept, following)
        code.put(ipv4)
        _look_at_ipv4(code, tag, level, kept, following)
        code.put(ipv6)
        _look_at_ipv6(code, tag, level, kept, following)
        code.put(following)


def _look_at_ipv4(code: Code, tag: Tag, level: int, kept: Label, following: Label) -> None:
    icmp, segment, answer = Label(), Label(), Label()
    code.load_x(place(level, Fact.NETWORK))
    code.do(Op.LOAD_HALF_AT_X, 4)
    code.branch(Op.JUMP_EQUAL, tag.identification, kept)
    code.load(place(level, Fact.PROTOCOL))
    code.branch(Op.JUMP_EQUAL, Protocol.ICMP, icmp)
    for protocol in (Protocol.TCP, Protocol.SCTP):
        code.branch(Op.JUMP_EQUAL, protocol, segment)
    code.go(following)
    code.put(segment)
    _look_for_number(code, tag, IPv4.LENGTH, kept)
    code.go(answer)
    code.put(icmp)
    code.do(Op.LOAD_BYTE_AT_X, IPv4.LENGTH)
    code.branch(Op.JUMP_EQUAL, IcmpType.ECHO_REPLY, answer)
    code.do(Op.LOAD_HALF_AT_X, IPv4.LENGTH + Icmp.LENGTH + 4)
    code.branch(Op.JUMP_EQUAL, tag.identification, kept, following)
    code.put(answer)
    _look_for_answer(code, tag, IPv4.LENGTH, kept, following)


def _look_at_ipv6(code: Code, tag: Tag, level: int, kept: Label, following: Label) -> None:
    icmp, segment, answer = Label(), Label(), Label()
    code.load_x(place(level, Fact.NETWORK))
    code.do(Op.LOAD_WORD_AT_X, 0)
    code.do(Op.AND, _FLOW_LABEL)
    code.branch(Op.JUMP_EQUAL, tag.number, kept)
    code.load(place(level, Fact.PROTOCOL))
    code.branch(Op.JUMP_EQUAL, Protocol.ICMPV6, icmp)
    for protocol in (Protocol.TCP, Protocol.SCTP):
        code.branch(Op.JUMP_EQUAL, protocol, segment)
    code.go(following)
    code.put(segment)
    _look_for_number(code, tag, IPv6.LENGTH, kept)
    code.go(answer)
    code.put(icmp)
    code.do(Op.LOAD_BYTE_AT_X, _NEXT_HEADER)
    code.branch(Op.JUMP_EQUAL, Protocol.FRAGMENT, answer)
    code.do(Op.LOAD_BYTE_AT_X, IPv6.LENGTH)
    code.branch(Op.JUMP_EQUAL, Icmpv6Type.NEIGHBOUR_SOLICITATION, kept)
    code.branch(Op.JUMP_EQUAL, Icmpv6Type.ECHO_REPLY, answer)
    code.do(Op.LOAD_WORD_AT_X, IPv6.LENGTH + Icmp.LENGTH)
    code.do(Op.AND, _FLOW_LABEL)
    code.branch(Op.JUMP_EQUAL, tag.number, kept, following)
    code.put(answer)
    whole = Label()
    code.do(Op.LOAD_BYTE_AT_X, _NEXT_HEADER)
    code.branch(Op.JUMP_EQUAL, Protocol.FRAGMENT, None, whole)
    _look_for_answer(code, tag, IPv6.LENGTH + Fragment.LENGTH, kept, following)
    code.put(whole)
    _look_for_answer(code, tag, IPv6.LENGTH, kept, following)


def _look_for_answer(code: Code, tag: Tag, transport: int, kept: Label, following: Label) -> None:
    code.do(Op.LOAD_WORD_AT_X, transport + _ANSWER_AT)
    for word in (*tag.acknowledged, tag.sequence):
        code.branch(Op.JUMP_EQUAL, word, kept)
    code.go(following)


def _look_for_number(code: Code, tag: Tag, transport: int, kept: Label) -> None:
    code.do(Op.LOAD_WORD_AT_X, transport + _NUMBER_AT)
    code.branch(Op.JUMP_EQUAL, tag.sequence, kept)
