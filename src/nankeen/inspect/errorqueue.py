"""A socket's error queue: why packets it sent were not delivered (ip(7), IP_RECVERR; linux/errqueue.h)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from nankeen.inspect.inet import Inet
from nankeen.inspect.outcome import Refused, icmp_refusal, local_refusal
from nankeen.model.address import Family, IPAddress

_EXTENDED_ERROR = struct.Struct("=IBBBBII")
"""struct sock_extended_err: errno, origin, type, code, padding, info, data; the offender's address follows."""
_ORIGIN_LOCAL = 1
_PAYLOAD = 128
"""How much is read of the packet that an error is about."""
_CONTROL = 512


@dataclass(frozen=True, slots=True)
class QueuedError:
    """One error."""

    refused: Refused
    is_local: bool
    """Whether the sender's own kernel found the error when the packet was sent."""
    payload: bytes
    """The beginning of the packet that it is about, from the protocol's own data on; empty for a local one."""


def read(sock: socket.socket, inet: Inet) -> Iterator[QueuedError]:
    """Takes every error from the queue."""
    while True:
        try:
            payload, control, _, _ = sock.recvmsg(_PAYLOAD, _CONTROL, socket.MSG_ERRQUEUE)
        except BlockingIOError:
            return
        for level, kind, data in control:
            if (level, kind) == (inet.level, inet.recverr):
                yield _parse(payload, data)


def _parse(payload: bytes, data: bytes) -> QueuedError:
    number, origin, kind, code, _, info, _ = _EXTENDED_ERROR.unpack_from(data)
    if origin <= _ORIGIN_LOCAL:
        return QueuedError(local_refusal(number, info), is_local=True, payload=payload)
    offender = _address(data[_EXTENDED_ERROR.size :])
    family = Family.IPV4 if isinstance(offender, IPv4Address) else Family.IPV6
    return QueuedError(icmp_refusal(family, (kind, code), offender, info), is_local=False, payload=payload)


def _address(data: bytes) -> IPAddress:
    """The address in a sockaddr_in or sockaddr_in6."""
    (family,) = struct.unpack_from("=H", data)
    return IPv4Address(data[4:8]) if family == socket.AF_INET else IPv6Address(data[8:24])
