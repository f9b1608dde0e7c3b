"""RTM_GETROUTE, read whole: what `route.py` passes over, because it is never ours."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping

from nankeen.kernel.netlink import route
from nankeen.kernel.netlink.message import attributes, read_u32
from nankeen.kernel.netlink.neighbour import ip_address
from nankeen.model.observed import NextHop, OtherRoute, RouteType
from nankeen.model.state import Route

_RTMSG = struct.Struct("=BBBBBBBBI")
_NEXTHOP = struct.Struct("=HBBi")
_DST, _OIF, _GATEWAY, _PRIORITY, _PREFSRC, _MULTIPATH, _TABLE, _VIA = 1, 4, 5, 6, 7, 9, 15, 18
_DEAD, _ONLINK, _LINKDOWN, _CLONED = 0x1, 0x4, 0x10, 0x200
_RTVIA_SIZE = 2


def parse(body: bytes, names: Mapping[int, str]) -> Route | OtherRoute | None:
    """The route that a message tells of; None for a cached one, and for a type that this kernel alone knows."""
    plain = route.parse(body, names)
    _, _, _, tos, _, _, _, kind, flags = _RTMSG.unpack_from(body)
    if plain is not None and (plain.device or plain.blackhole) and not tos:
        return plain
    if flags & _CLONED or kind not in set(RouteType):
        return None
    return _other(attributes(body, _RTMSG.size), names, body)


def whole(body: bytes, names: Mapping[int, str]) -> OtherRoute:
    """The route as one that may stand beside others of its identity."""
    return _other(attributes(body, _RTMSG.size), names, body)


def _other(found: Mapping[int, bytes], names: Mapping[int, str], body: bytes) -> OtherRoute:
    family, length, _, tos, table, protocol, _, kind, flags = _RTMSG.unpack_from(body)
    source = found.get(_PREFSRC)
    return OtherRoute(
        RouteType(kind),
        route.network(found.get(_DST) or bytes(4 if family == socket.AF_INET else 16), length),
        tuple(_several(found[_MULTIPATH], names)) if _MULTIPATH in found else tuple(_one(found, names, flags)),
        read_u32(found[_PRIORITY]) if _PRIORITY in found else 0,
        read_u32(found[_TABLE]) if _TABLE in found else table,
        protocol,
        ip_address(source) if source else None,
        tos,
    )


def _one(found: Mapping[int, bytes], names: Mapping[int, str], flags: int) -> Iterator[NextHop]:
    if _OIF in found:
        yield _hop(read_u32(found[_OIF]), 1, flags, found, names)


def _several(data: bytes, names: Mapping[int, str]) -> Iterator[NextHop]:
    """Struct rtnexthop, each with attributes of its own."""
    offset = 0
    while offset + _NEXTHOP.size <= len(data):
        length, flags, weight, index = _NEXTHOP.unpack_from(data, offset)
        if length < _NEXTHOP.size:
            return
        yield _hop(index, weight + 1, flags, attributes(data[offset : offset + length], _NEXTHOP.size), names)
        offset += (length + 3) & ~3


def _hop(index: int, weight: int, flags: int, found: Mapping[int, bytes], names: Mapping[int, str]) -> NextHop:
    gateway = found.get(_GATEWAY) or found.get(_VIA, b"")[_RTVIA_SIZE:]
    return NextHop(
        names.get(index, f"if{index}"),
        ip_address(gateway) if gateway else None,
        weight,
        bool(flags & _ONLINK),
        bool(flags & _DEAD),
        bool(flags & _LINKDOWN),
    )
