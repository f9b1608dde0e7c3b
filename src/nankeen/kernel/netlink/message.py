"""Framing of netlink messages and their attributes (linux/netlink.h). All integers are in host byte order.

     0               4       6       8              12              16
    +---------------+-------+-------+---------------+---------------+---------
    | length        | type  | flags | sequence      | port ID       | body …
    +---------------+-------+-------+---------------+---------------+---------

An attribute is a length, a type and a payload; messages and attributes are padded to four bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_U32_ATTRIBUTE = struct.Struct("=HHI")

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_DUMP = 0x300
NLM_F_CREATE = 0x400
NLM_F_CAPPED = 0x100
"""On an error: the failed message is not repeated whole."""
NLM_F_ACK_TLVS = 0x200
"""On an error: extended acknowledgement attributes follow."""

NLMSG_ERROR = 2
NLMSG_DONE = 3

_NESTED = 0x8000
_TYPE_MASK = 0x3FFF


def message(kind: int, flags: int, body: bytes) -> bytes:
    """A request with sequence number 0: the socket numbers it when it is sent."""
    length = 16 + len(body)
    return HEADER.pack(length, kind, NLM_F_REQUEST | flags, 0, 0) + body + bytes(-length & 3)


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded."""
    length = 4 + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + bytes(-length & 3)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(attributes))


def u32(kind: int, value: int) -> bytes:
    """A 32-bit attribute."""
    return _U32_ATTRIBUTE.pack(8, kind, value)


def string(kind: int, value: str) -> bytes:
    """A string attribute, with the NUL that the kernel expects."""
    return attribute(kind, value.encode() + b"\0")


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes from `offset` to the end, by type. Of a type that comes twice, the last counts."""
    found: dict[int, bytes] = {}
    end = len(data)
    unpack = _ATTRIBUTE.unpack_from
    while offset + 4 <= end:
        length, kind = unpack(data, offset)
        if length < 4:
            break
        found[kind & _TYPE_MASK] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def elements(data: bytes, offset: int = 0) -> Iterator[bytes]:
    """The payloads of a list's elements, whose types say nothing."""
    while offset + 4 <= len(data):
        length, _ = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            return
        yield data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def read_u32(payload: bytes) -> int:
    """The value of a 32-bit attribute."""
    value: int = _U32.unpack(payload)[0]
    return value


def read_string(payload: bytes) -> str:
    """The value of a string attribute."""
    return payload.rstrip(b"\0").decode(errors="replace")
