"""What a host says of a packet that ends with it, where it says anything."""

from __future__ import annotations

from nankeen.forwarding.hop import Answered, Cause, Dropped, End
from nankeen.forwarding.job import Job
from nankeen.forwarding.packet import Icmp, IcmpKind, Ip, Packet
from nankeen.forwarding.route import error_source, is_broadcast, lookup

_SPEAK = (IcmpKind.ECHO_REQUEST, IcmpKind.ECHO_REPLY)
"""Messages that are no errors."""


def answer(job: Job, error: IcmpKind, cause: Cause, detail: str = "", mtu: int = 0, *, reset: bool = False) -> End:
    """An ICMP error, or a TCP reset, if one may be sent (RFC 1122 §3.2.2, RFC 4443 §2.4). The sender of what is in a
    tunnel hears nothing of what becomes of the tunnel's packet.
    """
    host, device, headers = job.host.name, job.device, job.packet.headers
    inner = headers[1] if len(headers) > 1 else None
    speaks_of_error = isinstance(inner, Icmp) and inner.kind not in _SPEAK
    if speaks_of_error or _is_tunnelled(job.packet) or job.is_broadcast or _is_for_many(job):
        return Dropped(host, device, cause, detail)
    header = job.packet.ip
    source = error_source(job.tables, header.source, header.destination, job.inbound)
    return Answered(host, device, error, cause, detail, mtu, reset, source)


def _is_for_many(job: Job) -> bool:
    destination = job.packet.ip.destination
    if destination.version == 6 or destination.is_multicast:
        return destination.is_multicast
    decision = lookup(job.tables, destination)
    return decision is not None and is_broadcast(destination, decision)


def _is_tunnelled(packet: Packet) -> bool:
    """Whether the outermost IP header is a tunnel's."""
    return sum(isinstance(header, Ip) for header in packet.headers) > 1
