"""RTM_GETRULE: the routing policy database (linux/fib_rules.h). It is only read: no rule is ever ours."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator, Mapping

from nankeen.kernel.netlink.message import attributes, message, read_string, read_u32
from nankeen.kernel.netlink.route import network
from nankeen.model.address import Family
from nankeen.model.observed import RouteType, RoutingRule

RTM_GETRULE = 34
_HEADER = struct.Struct("=BBBBB2xBI")
_DST, _SRC, _IIFNAME, _PRIORITY, _FWMARK, _SUPPRESS_GROUP, _SUPPRESS_LENGTH, _TABLE = 1, 2, 3, 6, 10, 13, 14, 15
_FWMASK, _OIFNAME = 16, 17
_CONDITIONS = {
    12: "tun_id",
    19: "l3mdev",
    20: "uidrange",
    22: "ipproto",
    23: "sport",
    24: "dport",
    25: "dscp",
    26: "flowlabel",
}
"""Attributes that make a rule conditional on what is not modelled."""
_ACTION_TABLE, _ACTION_GOTO, _ACTION_NOP = 1, 2, 3
_REFUSING = (RouteType.BLACKHOLE, RouteType.UNREACHABLE, RouteType.PROHIBIT)
_INVERT = 0x2
_ALL_BITS = 0xFFFF_FFFF


def dump() -> bytes:
    """Asks for the rules of both families."""
    return message(RTM_GETRULE, 0, _HEADER.pack(socket.AF_UNSPEC, 0, 0, 0, 0, 0, 0))


def parse(body: bytes) -> RoutingRule | None:
    """The rule that a message tells of; None for one that does nothing, and of other families than IP's."""
    family, dst_length, src_length, tos, table, action, flags = _HEADER.unpack_from(body)
    if family not in (socket.AF_INET, socket.AF_INET6) or action == _ACTION_NOP:
        return None
    found = attributes(body, _HEADER.size)
    mark = read_u32(found[_FWMARK]) if _FWMARK in found else 0
    mask = read_u32(found[_FWMASK]) if _FWMASK in found else _ALL_BITS if mark else 0
    suppress = int.from_bytes(found.get(_SUPPRESS_LENGTH, b"\xff" * 4), sys.byteorder, signed=True)
    looks = action == _ACTION_TABLE
    return RoutingRule(
        Family.IPV4 if family == socket.AF_INET else Family.IPV6,
        read_u32(found[_PRIORITY]) if _PRIORITY in found else 0,
        (read_u32(found[_TABLE]) if _TABLE in found else table) if looks else 0,
        RouteType(action) if action in _REFUSING else RouteType.UNICAST,
        network(found[_SRC], src_length) if _SRC in found else None,
        network(found[_DST], dst_length) if _DST in found else None,
        read_string(found.get(_IIFNAME, b"")),
        read_string(found.get(_OIFNAME, b"")),
        mark,
        mask,
        bool(flags & _INVERT),
        suppress,
        tuple(_other(found, action, tos)),
    )


def _other(found: Mapping[int, bytes], action: int, tos: int) -> Iterator[str]:
    """What decides besides what is modelled, by the words of ip-rule(8)."""
    yield from (name for number, name in _CONDITIONS.items() if any(found.get(number, b"")))
    if action == _ACTION_GOTO:
        yield "goto"
    if tos:
        yield f"tos {tos:#x}"
    if found.get(_SUPPRESS_GROUP, b"\xff" * 4) != b"\xff" * 4:
        yield "suppress_ifgroup"
