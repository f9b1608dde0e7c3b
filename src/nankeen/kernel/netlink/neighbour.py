"""RTM_*NEIGH: neighbour tables and the forwarding tables of VXLAN devices (linux/neighbour.h).

Only permanent entries are read: the others come and go by themselves.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from nankeen.kernel.netlink.message import NLM_F_CREATE, NLM_F_REPLACE, attribute, attributes, message
from nankeen.model.address import HardwareAddress, IPAddress
from nankeen.model.state import ForwardingEntry, Neighbour

RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
AF_BRIDGE = 7
_NDMSG = struct.Struct("=BBHiHBB")
_DST, _LLADDR = 1, 2
_NUD_PERMANENT = 0x80
_NTF_SELF = 0x02


def add(entry: Neighbour | ForwardingEntry, indexes: Mapping[str, int]) -> bytes:
    """Adds the entry or replaces what stands in its place."""
    body = (
        _header(entry, indexes, _NUD_PERMANENT)
        + attribute(_DST, entry.destination.packed)
        + attribute(_LLADDR, entry.address.octets)
    )
    return message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body)


def remove(entry: Neighbour | ForwardingEntry, indexes: Mapping[str, int]) -> bytes:
    body = _header(entry, indexes, 0) + attribute(_DST, entry.destination.packed)
    if isinstance(entry, ForwardingEntry):
        body += attribute(_LLADDR, entry.address.octets)
    return message(RTM_DELNEIGH, 0, body)


def _header(entry: Neighbour | ForwardingEntry, indexes: Mapping[str, int], state: int) -> bytes:
    if isinstance(entry, ForwardingEntry):
        return _NDMSG.pack(AF_BRIDGE, 0, 0, indexes[entry.device], state, _NTF_SELF, 0)
    family = socket.AF_INET if entry.destination.version == 4 else socket.AF_INET6
    return _NDMSG.pack(family, 0, 0, indexes[entry.device], state, 0, 0)


def dump() -> bytes:
    """Asks for the neighbours of both families."""
    return message(RTM_GETNEIGH, 0, _NDMSG.pack(0, 0, 0, 0, 0, 0, 0))


def dump_forwarding() -> bytes:
    """Asks for the forwarding tables of all devices."""
    return message(RTM_GETNEIGH, 0, _NDMSG.pack(AF_BRIDGE, 0, 0, 0, 0, 0, 0))


def parse(body: bytes, names: Mapping[int, str]) -> Neighbour | ForwardingEntry | None:
    """The permanent entry that a message tells of; None for any other."""
    _, _, _, _, state, _, _ = _NDMSG.unpack_from(body)
    return _entry(body, names) if state & _NUD_PERMANENT else None


def parse_ended(body: bytes, names: Mapping[int, str]) -> Neighbour | ForwardingEntry | None:
    """The entry that a message tells of as one that is not permanent, or not any more.

    The kernel tells of a neighbour that was deleted only when it has forgotten its hardware address, which is zero
    here, and that it was permanent (neigh_delete in net/core/neighbour.c).
    """
    return _entry(body, names, forgotten=bytes(6))


def _entry(body: bytes, names: Mapping[int, str], forgotten: bytes = b"") -> Neighbour | ForwardingEntry | None:
    family, _, _, index, _, flags, _ = _NDMSG.unpack_from(body)
    found = attributes(body, 12)
    destination, link_address = found.get(_DST), found.get(_LLADDR, forgotten)
    if index not in names or destination is None or len(link_address) != 6:
        return None
    if family == AF_BRIDGE:
        if not flags & _NTF_SELF:
            return None
        return ForwardingEntry(names[index], hardware_address(link_address), ip_address(destination))
    return Neighbour(names[index], ip_address(destination), hardware_address(link_address))


def about(body: bytes) -> tuple[int, bool]:
    """The interface that a message is about, and whether the entry is (or was) a permanent one."""
    _, _, _, index, state, _, _ = _NDMSG.unpack_from(body)
    return index, bool(state & _NUD_PERMANENT)


@lru_cache(maxsize=4096)
def ip_address(packed: bytes) -> IPAddress:
    """Addresses are shared between observations: see `address.interface`."""
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


@lru_cache(maxsize=4096)
def hardware_address(octets: bytes) -> HardwareAddress:
    """Hardware addresses are shared between observations, too."""
    return HardwareAddress(octets)
