"""What tells one probe from all other packets, wherever it is captured: in a tunnel, translated, or cut into fragments.

The kernel's filter looks for a number in the IP header, which no router changes: the identification of IPv4, the flow
label of IPv6. What it lets through is then looked at in full: the payload, or TCP's sequence number, is the probe's.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from nankeen.model.packet import (
    Arp,
    ArpOperation,
    Header,
    Icmp,
    IPv4,
    IPv6,
    LinkType,
    Packet,
    Sctp,
    Tcp,
    TcpFlag,
    dissect,
)
from nankeen.model.packet.icmp import IcmpType, Icmpv6Type

_NONCE = 16
"""Octets at the beginning of the payload; as many of them as it has."""
_NO_TUNNEL = 0x07
"""Bits of the payload's first octet. That is no version of IP and has not VXLAN's I flag: whatever port the probe is
sent to, it is nobody's tunnel.
"""
_INITIATE_TAG = slice(4, 8)
"""Where the chunk INIT has what its receiver verifies with."""


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
                return header.acknowledgement in self.acknowledged or _is_reset_to(header, self.sequence)
            case Sctp() as header:
                return header.verification == self.sequence
            case Icmp() as header if header.type in (IcmpType.ECHO_REPLY, Icmpv6Type.ECHO_REPLY):
                is_same = bool(self.payload) and packet.payload.startswith(self.content[:_NONCE])
                return is_same and not self.is_on(packet)
        return False

    @property
    def acknowledged(self) -> tuple[int, int]:
        """TCP's acknowledgement numbers of an answer, without the data of a SYN and with: who refuses a connection
        acknowledges that, too.
        """
        return (self.sequence + 1) & 0xFFFF_FFFF, (self.sequence + 1 + self.payload) & 0xFFFF_FFFF

    def _numbers(self, header: Header) -> bool:
        match header:
            case IPv4():
                return header.identification == self.identification
            case IPv6():
                return header.flow_label == self.number
        return False


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
    return asks and bool(sources) and not sources[-1].is_unspecified
