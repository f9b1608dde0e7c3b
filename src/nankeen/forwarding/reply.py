"""What comes back for a packet: the receiver's answer, or the error of a host on its way, as packets to be walked."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from nankeen.forwarding.hop import Answered, Walk
from nankeen.forwarding.packet import Icmp, IcmpKind, Ip, Packet, Sctp, Tcp, Udp
from nankeen.model.address import IPAddress
from nankeen.model.errors import InputError

_QUOTED = {4: 576 - 28, 6: 1280 - 48}
"""Bytes of the packet that an error has with it, at most (RFC 1812 §4.3.2.3, RFC 4443 §2.4)."""


def reply_to(walked: Walk) -> Packet:
    """What the receiver of a delivered packet answers, to be walked from where that was delivered."""
    header, *rest = walked.last.headers
    if not walked.delivered or not isinstance(header, Ip):
        raise InputError("only a packet that was delivered has an answer")
    if rest and isinstance(rest[0], Udp | Tcp | Sctp):
        rest[0] = type(rest[0])(rest[0].destination, rest[0].source)
    elif rest and isinstance(rest[0], Icmp):
        rest[0] = Icmp(IcmpKind.ECHO_REPLY, rest[0].identifier)
    return Packet(
        (Ip(header.destination, header.source, dont_fragment=header.dont_fragment), *rest), walked.last.payload
    )


def error_of(walked: Walk) -> Packet:
    """What the host that answered sends back, an ICMP error or a TCP reset, to be walked from there. Its source is left
    to that host, but for one about a packet that was for the host itself (icmp_send, icmp6_send).
    """
    end, header = walked.end, walked.last.ip
    if not isinstance(end, Answered):
        raise InputError("only a packet that was answered with an error has one")
    source = end.source or _nobody(header.version)
    carried = walked.last.headers[1] if len(walked.last.headers) > 1 else None
    if end.reset and isinstance(carried, Tcp):
        return Packet((Ip(header.destination, header.source), Tcp(carried.destination, carried.source, syn=False)))
    quoted = min(walked.last.size, _QUOTED[header.version])
    return Packet((Ip(source, header.source), Icmp(end.error, mtu=end.mtu, about=walked.last)), quoted)


def _nobody(version: int) -> IPAddress:
    return IPv4Address(0) if version == 4 else IPv6Address(0)
