"""RTM_*ROUTE: unicast routes, and blackholes of our own (linux/rtnetlink.h).

A route with several next hops is never ours: of it only that it has several is told.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network

from nankeen.kernel.netlink.message import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    attribute,
    attributes,
    message,
    read_u32,
    u32,
)
from nankeen.kernel.netlink.neighbour import ip_address
from nankeen.model.address import IPAddress, IPNetwork
from nankeen.model.state import PROTOCOL_NANKEEN, Route

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
_RTMSG = struct.Struct("=BBBBBBBBI")
_DST, _OIF, _GATEWAY, _PRIORITY, _PREFSRC, _MULTIPATH, _TABLE, _VIA = 1, 4, 5, 6, 7, 9, 15, 18
_RTVIA = struct.Struct("=H")
_RTN_UNICAST, _RTN_BLACKHOLE = 1, 6
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_NOWHERE = 0, 253, 255
_ONLINK = 0x4
_CLONED = 0x200
_TABLE_UNSPEC = 0


def add(route: Route, indexes: Mapping[str, int]) -> bytes:
    """Adds the route or replaces the one of the same table, destination and metric."""
    direct = route.gateway is None and route.destination.version == 4 and not route.blackhole
    scope = _SCOPE_LINK if direct else _SCOPE_UNIVERSE
    flags = _ONLINK if route.onlink else 0
    body = _identify(route, indexes, scope, flags)
    if route.source is not None:
        body += attribute(_PREFSRC, route.source.packed)
    return message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body)


def remove(route: Route, indexes: Mapping[str, int]) -> bytes:
    return message(RTM_DELROUTE, 0, _identify(route, indexes, _SCOPE_NOWHERE, 0))


def _identify(route: Route, indexes: Mapping[str, int], scope: int, flags: int) -> bytes:
    destination = route.destination
    family = socket.AF_INET if destination.version == 4 else socket.AF_INET6
    table = route.table if route.table < 256 else _TABLE_UNSPEC
    kind = _RTN_BLACKHOLE if route.blackhole else _RTN_UNICAST
    body = _RTMSG.pack(family, destination.prefixlen, 0, 0, table, route.protocol, scope, kind, flags)
    if destination.prefixlen:
        body += attribute(_DST, destination.network_address.packed)
    if table == _TABLE_UNSPEC:
        body += u32(_TABLE, route.table)
    if route.gateway is not None:
        body += _gateway(route.gateway, family)
    if not route.blackhole:
        body += u32(_OIF, indexes[route.device])
    if route.priority:
        body += u32(_PRIORITY, route.priority)
    return body


def _gateway(gateway: IPAddress, family: int) -> bytes:
    """The next hop; one of another family than the route's comes with its family (struct rtvia)."""
    own = socket.AF_INET if gateway.version == 4 else socket.AF_INET6
    return attribute(_GATEWAY, gateway.packed) if own == family else attribute(_VIA, _RTVIA.pack(own) + gateway.packed)


def dump() -> bytes:
    """Asks for the routes of both families, all tables."""
    return message(RTM_GETROUTE, 0, _RTMSG.pack(0, 0, 0, 0, 0, 0, 0, 0, 0))


def parse(body: bytes, names: Mapping[int, str]) -> Route | None:
    """The unicast route, or blackhole of ours, that a message tells of; None for any other, and where its device has
    gone.
    """
    family, length, _, _, table, protocol, _, kind, flags = _RTMSG.unpack_from(body)
    blackhole = kind == _RTN_BLACKHOLE and protocol == PROTOCOL_NANKEEN
    if (kind != _RTN_UNICAST and not blackhole) or flags & _CLONED:
        return None
    found = attributes(body, 12)
    device = "" if blackhole or _MULTIPATH in found else names.get(read_u32(found[_OIF])) if _OIF in found else None
    if device is None:
        return None
    gateway, source = found.get(_GATEWAY) or found.get(_VIA, b"")[_RTVIA.size :], found.get(_PREFSRC)
    return Route(
        destination=network(found.get(_DST) or bytes(4 if family == socket.AF_INET else 16), length),
        device=device,
        gateway=ip_address(gateway) if gateway else None,
        onlink=bool(flags & _ONLINK),
        metric=read_u32(found[_PRIORITY]) if _PRIORITY in found else 0,
        table=read_u32(found[_TABLE]) if _TABLE in found else table,
        protocol=protocol,
        source=ip_address(source) if source else None,
        blackhole=blackhole,
    )


def index_of(body: bytes) -> int:
    """The interface that a route message is about, 0 where there is none."""
    found = attributes(body, 12)
    return read_u32(found[_OIF]) if _OIF in found else 0


@lru_cache(maxsize=4096)
def network(packed: bytes, length: int) -> IPNetwork:
    """Networks are shared between observations: see `address.interface`."""
    return IPv4Network((packed, length)) if len(packed) == 4 else IPv6Network((packed, length))
