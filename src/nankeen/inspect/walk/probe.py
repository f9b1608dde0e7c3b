"""The probe: a packet as it was predicted, with a tag, sent as a process of its source would send it.

It leaves by a raw socket with the IP header made here (IP_HDRINCL, raw(7)): the kernel routes it, and it passes the
packet filter's OUTPUT, source rules and masquerading as any application's packet does. The port that it comes from is
held by a socket meanwhile, that listens to nothing: no application gets the answer, and a connection that is accepted
is reset by the kernel.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace

from nankeen.forwarding import Packet, codec
from nankeen.forwarding.packet import Ip
from nankeen.inspect.inet import INET, Inet
from nankeen.inspect.walk.tag import Tag
from nankeen.kernel.namespace import Namespace, entered
from nankeen.model.address import family_of
from nankeen.model.errors import InputError, KernelError
from nankeen.model.packet import Fragment, Header, Icmp, IPv4, IPv6, Protocol, Sctp, Tcp, TcpFlag, Udp, encode, sctp

_DISCARD = 9
"""The port that a route is asked for where the probe has none (RFC 863)."""
_MTU = {socket.IPPROTO_IP: 14, socket.IPPROTO_IPV6: 24}
"""IP_MTU and IPV6_MTU, by the level of the option."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of sending."""

    time: int
    """Nanoseconds since 1970, just before."""
    refused: int = 0
    """The error (errno(3)) that the sender's kernel said; 0 where it took the packet."""


@contextmanager
def sending(namespace: Namespace, packet: Packet, tag: Tag, host: str, *, answers: bool = False) -> Iterator[Sent]:
    """Sends the packet in that namespace, of the named host, and holds its port for the block. One that `answers` may
    come from a port in use, and holds none.

    Raises `InputError` where its port is in use otherwise, and `KernelError` where no raw socket is given.
    """
    with ExitStack() as stack:
        with entered(namespace):
            sent = _send(stack, packet, tag, host, answers=answers)
        yield sent


def _send(stack: ExitStack, packet: Packet, tag: Tag, host: str, *, answers: bool) -> Sent:
    headers = [marked(header, tag) for header in codec.sent(packet)]
    inet = INET[family_of(packet.ip.source)]
    transport = headers[-1] if isinstance(headers[-1], Udp | Tcp) else None
    with closing(_raw(inet, host)) as raw:
        try:
            raw.bind((str(packet.ip.source), 0))  # for rules by source: the header is not asked for a route
            held = None if answers else stack.enter_context(_held(inet, packet.ip, transport, host))
            mtu = None if packet.ip.dont_fragment else _mtu(inet, packet.ip, transport, held)
            pieces = list(_pieces(headers, tag, mtu))
            now = time.time_ns()
            for piece in pieces:
                raw.sendto(piece, (str(packet.ip.destination), 0))
        except OSError as error:
            return Sent(time.time_ns(), error.errno or errno.EIO)
    return Sent(now)


def marked(header: Header, tag: Tag) -> Header:
    """The header with the tag, where it has room for one."""
    match header:
        case IPv4():
            return replace(header, identification=tag.identification)
        case IPv6():
            return replace(header, flow_label=tag.number)
        case Tcp():
            is_first = bool(header.flags & TcpFlag.SYN)
            return replace(header, sequence=tag.sequence, acknowledgement=0 if is_first else tag.sequence)
        case Icmp() if header.is_echo:
            return replace(header, rest=header.rest | tag.identification)
    return header


def content(header: Header, tag: Tag) -> bytes:
    """What follows the last header."""
    return sctp.init(tag.sequence, tag.payload) if isinstance(header, Sctp) else tag.content


def _raw(inet: Inet, host: str) -> socket.socket:
    try:
        made = socket.socket(inet.domain, socket.SOCK_RAW, socket.IPPROTO_RAW)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    except OSError as error:
        remedy = "be root, or walk in a lab of your own"
        raise KernelError(
            f"no raw socket: {error.strerror}", where=host, remedy=remedy, errno=error.errno or 0
        ) from error
    return made


def _held(inet: Inet, header: Ip, transport: Udp | Tcp | None, host: str) -> socket.socket:
    """A socket that has the probe's port, of UDP where the probe has none."""
    made = socket.socket(inet.domain, socket.SOCK_STREAM if isinstance(transport, Tcp) else socket.SOCK_DGRAM)
    port = transport.source if transport else 0
    try:
        made.bind((str(header.source), port))
    except OSError as error:
        made.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise InputError(f"port {port} is in use", where=host, remedy="name another one to send from") from error
    return made


def _mtu(inet: Inet, header: Ip, transport: Udp | Tcp | None, held: socket.socket | None) -> int | None:
    """What the kernel takes the path's MTU for, asked by connecting a UDP socket, which sends nothing."""
    with closing(socket.socket(inet.domain, socket.SOCK_DGRAM)) as other:
        asking = held if held and held.type == socket.SOCK_DGRAM else other
        try:
            asking.connect((str(header.destination), transport.destination if transport else _DISCARD))
            return asking.getsockopt(inet.level, _MTU[inet.level])
        except OSError:  # the probe itself will be refused, in the same words
            return None


def _pieces(headers: Sequence[Header], tag: Tag, mtu: int | None) -> Iterator[bytes]:
    """The packet as it is given to the kernel, which does not cut what a raw socket sends: here that is done as it does
    for an application (RFC 791 §2.3, RFC 8200 §4.5). `mtu` is None where it may not be cut.
    """
    whole = encode(headers, content(headers[-1], tag))
    first = headers[0]
    if mtu is None or len(whole) <= mtu or not isinstance(first, IPv4 | IPv6):
        yield whole
        return
    body = whole[first.LENGTH :]
    room = (mtu - first.LENGTH - (Fragment.LENGTH if isinstance(first, IPv6) else 0)) // 8 * 8
    for start in range(0, len(body), room):
        yield _piece(first, body, start, start + room, tag)


def _piece(first: IPv4 | IPv6, body: bytes, start: int, end: int, tag: Tag) -> bytes:
    more, offset = end < len(body), start // 8
    if isinstance(first, IPv4):
        return encode([replace(first, more_fragments=more, fragment_offset=offset)], body[start:end])
    fragment = Fragment(first.protocol, offset, more, tag.number)
    return encode([replace(first, protocol=Protocol.FRAGMENT), fragment], body[start:end])
