"""What headers are read from: octets between a start and an end, and the fields that many headers share."""

from __future__ import annotations

import struct
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from nankeen.model.address import HardwareAddress
from nankeen.model.errors import InputError

_REMEMBERED = 4096
"""Addresses that are not made anew each time: in a network they are few, and come again and again."""


def need(start: int, end: int, length: int) -> None:
    """Raises `InputError` where a header of that length (octets) does not end by `end`."""
    if end - start < length:
        raise InputError(f"cut short: {max(end - start, 0)} of at least {length} bytes")


@lru_cache(_REMEMBERED)
def hardware_address(octets: bytes) -> HardwareAddress:
    return HardwareAddress(octets)


@lru_cache(_REMEMBERED)
def ipv4_address(octets: bytes) -> IPv4Address:
    return IPv4Address(octets)


@lru_cache(_REMEMBERED)
def ipv6_address(octets: bytes) -> IPv6Address:
    return IPv6Address(octets)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of octets in network byte order."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total
