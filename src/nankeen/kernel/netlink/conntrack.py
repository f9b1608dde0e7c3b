"""Messages of connection tracking (linux/netfilter/nfnetlink_conntrack.h): the flows to a port, and their end.

A flow has a tuple for each direction. What is not translated is answered by whom it was sent to; after DNAT the answer
comes from somebody else, and that is how one tells.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from ipaddress import ip_address

from nankeen.kernel.netlink.message import attribute, attributes, message, nested, u32
from nankeen.model.address import Family, IPAddress

_SUBSYSTEM = 1  # NFNL_SUBSYS_CTNETLINK
_NEW, _GET, _DELETE = (_SUBSYSTEM << 8 | number for number in (0, 1, 2))
_ORIGINAL, _REPLY, _ID, _FILTER = 1, 2, 12, 25  # CTA_*
_IP, _PROTOCOL = 1, 2  # CTA_TUPLE_*
_SOURCE, _DESTINATION = {Family.IPV4: 1, Family.IPV6: 3}, {Family.IPV4: 2, Family.IPV6: 4}  # CTA_IP_*
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3  # CTA_PROTO_*
_FILTER_ORIGINAL, _FILTER_REPLY = 1, 2
_BY_NUMBER, _BY_DESTINATION_PORT = 1 << 3, 1 << 5  # CTA_FILTER_F_*: net/netfilter/nf_internals.h
_GENERAL = struct.Struct(">BBH")
"""struct nfgenmsg: family, version, resource."""
_FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_PORT = struct.Struct(">H")


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow that the kernel knows."""

    destination: IPAddress
    """Whom the first packet was sent to, before any DNAT."""
    protocol: int
    port: int
    """The port of that."""
    answerer: IPAddress
    """Whom the packets really reach: the source of answers."""
    identity: bytes
    """What a message says that is about this one flow."""


def dump_to_port(family: Family, protocol: int, port: int) -> bytes:
    """A dump request for the flows to a port. Kernels before Linux 5.8 ignore the filter, and dump all there are."""
    what = nested(_PROTOCOL, attribute(_NUMBER, bytes([protocol])), attribute(_DESTINATION_PORT, _PORT.pack(port)))
    wanted = nested(_FILTER, u32(_FILTER_ORIGINAL, _BY_NUMBER | _BY_DESTINATION_PORT), u32(_FILTER_REPLY, 0))
    return message(_GET, 0, _GENERAL.pack(_FAMILIES[family], 0, 0) + nested(_ORIGINAL, what) + wanted)


def delete(family: Family, flow: Flow) -> bytes:
    """A request that ends a flow: its next packet is looked at as if it were the first (ENOENT where there is none)."""
    return message(_DELETE, 0, _GENERAL.pack(_FAMILIES[family], 0, 0) + flow.identity)


def parse(kind: int, body: bytes) -> Flow | None:
    """The flow that an answer tells of; None where it is of a protocol without ports."""
    found = attributes(body, 4)
    if kind != _NEW or not {_ORIGINAL, _REPLY} <= found.keys():
        return None
    family = Family.IPV6 if body[0] == socket.AF_INET6 else Family.IPV4
    tuples = {which: attributes(found[which]) for which in (_ORIGINAL, _REPLY)}
    protocol = attributes(tuples[_ORIGINAL].get(_PROTOCOL, b""))
    if not {_NUMBER, _DESTINATION_PORT} <= protocol.keys():
        return None
    return Flow(
        destination=ip_address(attributes(tuples[_ORIGINAL][_IP])[_DESTINATION[family]]),
        protocol=protocol[_NUMBER][0],
        port=_PORT.unpack(protocol[_DESTINATION_PORT])[0],
        answerer=ip_address(attributes(tuples[_REPLY][_IP])[_SOURCE[family]]),
        identity=nested(_ORIGINAL, found[_ORIGINAL]) + (attribute(_ID, found[_ID]) if _ID in found else b""),
    )
