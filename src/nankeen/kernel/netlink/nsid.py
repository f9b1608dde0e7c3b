"""RTM_GETNSID: the number by which one network namespace knows another (linux/net_namespace.h)."""

from __future__ import annotations

import struct

from nankeen.kernel.netlink.message import attributes, message, u32

RTM_GETNSID = 90
_RTGENMSG = struct.Struct("=B3x")
_NSID, _FD = 1, 3
_NUMBER = struct.Struct("=i")


def ask(descriptor: int) -> bytes:
    """Asks for the number of the namespace behind a descriptor."""
    return message(RTM_GETNSID, 0, _RTGENMSG.pack(0) + u32(_FD, descriptor))


def parse(body: bytes) -> int | None:
    """The number that an answer tells; None where the namespaces do not know each other."""
    number: int = _NUMBER.unpack(attributes(body, _RTGENMSG.size)[_NSID])[0]
    return number if number >= 0 else None
