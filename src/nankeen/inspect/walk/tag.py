"""What tells one probe from all other packets, wherever it is captured: in a tunnel, translated, or cut into fragments.

The kernel's filter looks for a number in the IP header, which no router changes: the identification of IPv4, the flow
label of IPv6. What it lets through is then looked at in full: the payload, or TCP's sequence number, is the probe's.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from nankeen.inspect.filter.assemble import Label, assemble
from nankeen.inspect.filter.facts import find_facts
from nankeen.inspect.filter.program import INNER, OUTER, Code, Fact, place
from nankeen.kernel.everytap import HARDWARE_TYPE
from nankeen.kernel.tap import ETHERNET
from nankeen.model.bpf import Op, Program
from nankeen.model.packet import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    Arp,
    ArpOperation,
    Fragment,
    Header,
    Icmp,
    IPv4,
    IPv6,
    LinkType,
    Packet,
    Protocol,
    Sctp,
    Tcp,
    TcpFlag,
    TunnelPorts,
    dissect,
)
from nankeen.model.packet.icmp import IcmpType, Icmpv6Type

_NONCE = 16
"""Octets at the beginning of the payload; as many of them as it has."""
_NO_TUNNEL = 0x07
"""Bits of the payload's first octet. That is no version of IP and has not VXLAN's I flag: whatever port the probe is
sent to, it is nobody's tunnel.
"""
_FLOW_LABEL = 0xF_FFFF
_KEPT = 1 << 18
_NEXT_HEADER = 6
"""Where IPv6's header has it."""
_NUMBER_AT = 4
"""Where SCTP's verification tag is, and TCP's sequence number."""
_INITIATE_TAG = slice(4, 8)
"""Where the chunk INIT has what its receiver verifies with."""
_ANSWER_AT = 8
"""Where the payload of an echo begins, and TCP's acknowledgement number, from the transport header on."""


@dataclass(frozen=True, slots=True)
class Tag:
    """The marks of one probe."""

    number: int
    """The flow label; its lower 16 bits, which are not 0, are the identification."""
    nonce: bytes
    payload: int
    """Octets of payload that the probe has."""

    @classmethod
    def drawn(cls, payload: int) -> Tag:
        """One that nobody else has."""
        number = secrets.randbelow(16) << 16 | 1 + secrets.randbelow(0xFFFF)
        nonce = secrets.token_bytes(_NONCE)
        return cls(number, bytes([nonce[0] & _NO_TUNNEL, *nonce[1:]]), payload)

    @property
    def identification(self) -> int:
        return self.number & 0xFFFF

    @property
    def sequence(self) -> int:
        """TCP's sequence number, and the tag that opens an association of SCTP."""
        return int.from_bytes(self.nonce[:4], "big")

    @property
    def content(self) -> bytes:
        """The payload."""
        return self.nonce[: self.payload].ljust(self.payload, b"\0")

    def is_on(self, packet: Packet) -> bool:
        """Whether that is the probe, or the first fragment of it."""
        carries = packet.headers[-1] if packet.headers else None
        if not any(self._numbers(header) for header in packet.headers):
            return False
        if isinstance(carries, Tcp):
            return carries.sequence == self.sequence
        if isinstance(carries, Sctp):
            return packet.payload[_INITIATE_TAG] == self.nonce[:4]
        return packet.payload.startswith(self.nonce[: min(self.payload, len(packet.payload))])

    def is_quoted_by(self, packet: Packet) -> bool:
        """Whether that is an ICMP error about the probe."""
        last = packet.headers[-1] if packet.headers else None
        if not isinstance(last, Icmp) or not last.is_error:
            return False
        return self.is_on(dissect(packet.payload, LinkType.IP))

    def is_answered_by(self, packet: Packet) -> bool:
        """Whether that is what the receiver says to the probe: an echo reply, or TCP's acknowledgement or reset."""
        match packet.headers[-1] if packet.headers else None:
            case Tcp() as header:
                return header.acknowledgement in self._acknowledged or _is_reset_to(header, self.sequence)
            case Sctp() as header:
                return header.verification == self.sequence
            case Icmp() as header if header.type in (IcmpType.ECHO_REPLY, Icmpv6Type.ECHO_REPLY):
                is_same = bool(self.payload) and packet.payload.startswith(self.content[:_NONCE])
                return is_same and not self.is_on(packet)
        return False

    def program(self, ports: TunnelPorts) -> Program:
        """Keeps the probe, its answer, errors about it, and questions of neighbours; the first two also in tunnels."""
        code, kept, dropped, ethernet = Code(), Label(), Label(), Label()
        code.do(Op.LOAD_WORD, HARDWARE_TYPE)
        for kind in sorted(ETHERNET):
            code.branch(Op.JUMP_EQUAL, kind, ethernet)
        self._look(code, LinkType.IP, ports, kept)
        code.go(dropped)
        code.put(ethernet)
        self._look(code, LinkType.ETHERNET, ports, kept)
        code.put(dropped)
        code.do(Op.RETURN, 0)
        code.put(kept)
        code.do(Op.RETURN, _KEPT)
        return assemble(code.items)

    @property
    def _acknowledged(self) -> tuple[int, int]:
        """With the data of a SYN, and without: who refuses a connection acknowledges it."""
        return (self.sequence + 1) & 0xFFFF_FFFF, (self.sequence + 1 + self.payload) & 0xFFFF_FFFF

    def _numbers(self, header: Header) -> bool:
        match header:
            case IPv4():
                return header.identification == self.identification
            case IPv6():
                return header.flow_label == self.number
        return False

    def _look(self, code: Code, link: LinkType, ports: TunnelPorts, kept: Label) -> None:
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
            self._look_at_ipv4(code, level, kept, following)
            code.put(ipv6)
            self._look_at_ipv6(code, level, kept, following)
            code.put(following)

    def _look_at_ipv4(self, code: Code, level: int, kept: Label, following: Label) -> None:
        icmp, segment, answer = Label(), Label(), Label()
        code.load_x(place(level, Fact.NETWORK))
        code.do(Op.LOAD_HALF_AT_X, 4)
        code.branch(Op.JUMP_EQUAL, self.identification, kept)
        code.load(place(level, Fact.PROTOCOL))
        code.branch(Op.JUMP_EQUAL, Protocol.ICMP, icmp)
        for protocol in (Protocol.TCP, Protocol.SCTP):
            code.branch(Op.JUMP_EQUAL, protocol, segment)
        code.go(following)
        code.put(segment)
        self._look_for_number(code, IPv4.LENGTH, kept)
        code.go(answer)
        code.put(icmp)
        code.do(Op.LOAD_BYTE_AT_X, IPv4.LENGTH)
        code.branch(Op.JUMP_EQUAL, IcmpType.ECHO_REPLY, answer)
        code.do(Op.LOAD_HALF_AT_X, IPv4.LENGTH + Icmp.LENGTH + 4)
        code.branch(Op.JUMP_EQUAL, self.identification, kept, following)
        code.put(answer)
        self._look_for_answer(code, IPv4.LENGTH, kept, following)

    def _look_at_ipv6(self, code: Code, level: int, kept: Label, following: Label) -> None:
        icmp, segment, answer = Label(), Label(), Label()
        code.load_x(place(level, Fact.NETWORK))
        code.do(Op.LOAD_WORD_AT_X, 0)
        code.do(Op.AND, _FLOW_LABEL)
        code.branch(Op.JUMP_EQUAL, self.number, kept)
        code.load(place(level, Fact.PROTOCOL))
        code.branch(Op.JUMP_EQUAL, Protocol.ICMPV6, icmp)
        for protocol in (Protocol.TCP, Protocol.SCTP):
            code.branch(Op.JUMP_EQUAL, protocol, segment)
        code.go(following)
        code.put(segment)
        self._look_for_number(code, IPv6.LENGTH, kept)
        code.go(answer)
        code.put(icmp)
        code.do(Op.LOAD_BYTE_AT_X, _NEXT_HEADER)
        code.branch(Op.JUMP_EQUAL, Protocol.FRAGMENT, answer)
        code.do(Op.LOAD_BYTE_AT_X, IPv6.LENGTH)
        code.branch(Op.JUMP_EQUAL, Icmpv6Type.NEIGHBOUR_SOLICITATION, kept)
        code.branch(Op.JUMP_EQUAL, Icmpv6Type.ECHO_REPLY, answer)
        code.do(Op.LOAD_WORD_AT_X, IPv6.LENGTH + Icmp.LENGTH)
        code.do(Op.AND, _FLOW_LABEL)
        code.branch(Op.JUMP_EQUAL, self.number, kept, following)
        code.put(answer)
        whole = Label()
        code.do(Op.LOAD_BYTE_AT_X, _NEXT_HEADER)
        code.branch(Op.JUMP_EQUAL, Protocol.FRAGMENT, None, whole)
        self._look_for_answer(code, IPv6.LENGTH + Fragment.LENGTH, kept, following)
        code.put(whole)
        self._look_for_answer(code, IPv6.LENGTH, kept, following)

    def _look_for_answer(self, code: Code, transport: int, kept: Label, following: Label) -> None:
        code.do(Op.LOAD_WORD_AT_X, transport + _ANSWER_AT)
        for word in (*self._acknowledged, self.sequence):
            code.branch(Op.JUMP_EQUAL, word, kept)
        code.go(following)

    def _look_for_number(self, code: Code, transport: int, kept: Label) -> None:
        code.do(Op.LOAD_WORD_AT_X, transport + _NUMBER_AT)
        code.branch(Op.JUMP_EQUAL, self.sequence, kept)


def _is_reset_to(header: Tcp, number: int) -> bool:
    """Whether that resets a segment that acknowledged the number (RFC 9293 §3.5.2)."""
    return bool(header.flags & TcpFlag.RST) and header.sequence == number


def is_question(packet: Packet) -> bool:
    """Whether that asks who has an address: ARP (RFC 826), or neighbour discovery (RFC 4861). Who only looks whether
    somebody else has its own (RFC 5227, RFC 4862 §5.4) does not.
    """
    last = packet.headers[-1] if packet.headers else None
    if isinstance(last, Arp):
        return last.operation == ArpOperation.REQUEST and last.sender != last.target
    sources = [header.source for header in packet.headers if isinstance(header, IPv6)]
    asks = any(
        isinstance(header, Icmp) and header.is_neighbour_message and header.type == Icmpv6Type.NEIGHBOUR_SOLICITATION
        for header in packet.headers
    )
    return asks and not sources[-1].is_unspecified
