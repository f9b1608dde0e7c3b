"""The time when the kernel had a packet, which it tells with each one (SO_TIMESTAMPNS, socket(7))."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

_SO_TIMESTAMPNS = 35
"""And SCM_TIMESTAMPNS (asm-generic/socket.h)."""
_TIMESPEC = struct.Struct("@ll")
SPACE = socket.CMSG_SPACE(_TIMESPEC.size)
"""Octets that recvmsg(2) needs for it."""


def ask_for_times(sock: socket.socket) -> None:
    """Has the kernel tell the time of each packet. Raises `OSError`."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def arrival(control: Iterable[tuple[int, int, bytes]]) -> int | None:
    """Nanoseconds since 1970, from what recvmsg(2) gave beside a packet; None where the kernel does not tell."""
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return int(seconds * 1_000_000_000 + nanoseconds)
    return None
