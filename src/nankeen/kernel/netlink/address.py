"""RTM_*ADDR: the addresses of interfaces (linux/if_addr.h)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Interface, IPv6Interface

from nankeen.kernel.netlink.message import NLM_F_CREATE, NLM_F_REPLACE, attribute, attributes, message, read_u32
from nankeen.model.address import IPInterface
from nankeen.model.state import Address, AddressFlag

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
_IFADDRMSG = struct.Struct("=BBBBI")
_ADDRESS, _LOCAL, _BROADCAST, _FLAGS = 1, 2, 4, 8
_F_TEMPORARY, _F_NODAD, _F_DADFAILED, _F_DEPRECATED, _F_PERMANENT = 0x01, 0x02, 0x08, 0x20, 0x80


def add(address: Address, indexes: Mapping[str, int], *, nodad: bool = False) -> bytes:
    """Adds the address, or leaves it as it is; IPv4 networks that have room for a broadcast address get theirs.

    `nodad` skips IPv6 duplicate address detection, so that the address can be used at once.
    """
    interface = address.interface
    body = _identify(address, indexes, _F_NODAD if nodad and interface.version == 6 else 0)
    if interface.version == 4 and interface.network.prefixlen <= 30:
        body += attribute(_BROADCAST, interface.network.broadcast_address.packed)
    return message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, body)


def remove(address: Address, indexes: Mapping[str, int]) -> bytes:
    return message(RTM_DELADDR, 0, _identify(address, indexes, 0))


def _identify(address: Address, indexes: Mapping[str, int], flags: int) -> bytes:
    interface = address.interface
    family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
    packed = interface.ip.packed
    return (
        _IFADDRMSG.pack(family, interface.network.prefixlen, flags, 0, indexes[address.device])
        + attribute(_LOCAL, packed)
        + attribute(_ADDRESS, packed)
    )


def dump() -> bytes:
    """Asks for the addresses of both families."""
    return message(RTM_GETADDR, 0, _IFADDRMSG.pack(0, 0, 0, 0, 0))


def parse(body: bytes, names: Mapping[int, str]) -> Address | None:
    """The address that a message tells of, or None where its device has gone."""
    family, length, flags, _scope, index = _IFADDRMSG.unpack_from(body)
    found = attributes(body, 8)
    packed = found.get(_LOCAL) or found.get(_ADDRESS)
    if packed is None or index not in names:
        return None
    flags = read_u32(found[_FLAGS]) if _FLAGS in found else flags
    return Address(names[index], interface(packed, length), _flags(flags, family))


def _flags(value: int, family: int) -> AddressFlag:
    """What the kernel's flags mean. Of IPv4, the one for temporary says secondary (IFA_F_SECONDARY)."""
    flags = AddressFlag(0) if value & _F_PERMANENT else AddressFlag.DYNAMIC
    flags |= AddressFlag.TEMPORARY if value & _F_TEMPORARY and family == socket.AF_INET6 else AddressFlag(0)
    flags |= AddressFlag.DEPRECATED if value & _F_DEPRECATED else AddressFlag(0)
    return flags | (AddressFlag.DADFAILED if value & _F_DADFAILED else AddressFlag(0))


def index_of(body: bytes) -> int:
    """The interface that an address message is about."""
    index: int = _IFADDRMSG.unpack_from(body)[4]
    return index


@lru_cache(maxsize=4096)
def interface(packed: bytes, length: int) -> IPInterface:
    """Interface addresses are shared between observations: a kernel that did not change gives identical objects."""
    return IPv4Interface((packed, length)) if len(packed) == 4 else IPv6Interface((packed, length))
