"""Addresses: the two families of IP, and the hardware addresses of Ethernet."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

from nankeen.model.errors import InputError

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network


class Family(Enum):
    """The version of IP. Every kernel object belongs to one; nothing is written twice for both."""

    IPV4 = 4
    IPV6 = 6

    @property
    def bits(self) -> int:
        """The length of an address in bits."""
        return 32 if self is Family.IPV4 else 128

    def __str__(self) -> str:
        return f"IPv{self.value}"


def family_of(value: IPAddress | IPInterface | IPNetwork) -> Family:
    """The family that an address, interface address or network belongs to."""
    return Family.IPV4 if value.version == 4 else Family.IPV6


_HARDWARE_ADDRESS = re.compile(r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}")


@dataclass(frozen=True, slots=True, order=True)
class HardwareAddress:
    """A 48-bit Ethernet address (IEEE 802), as six octets in transmission order."""

    octets: bytes

    def __post_init__(self) -> None:
        if len(self.octets) != 6:
            raise InputError(f"{self.octets.hex(':')!r} is not a hardware address", remedy="six octets are wanted")

    @classmethod
    def parse(cls, text: str) -> HardwareAddress:
        """From `12:c6:65:89:b4:e3`, in any case; raises `InputError`."""
        if not _HARDWARE_ADDRESS.fullmatch(text):
            raise InputError(f"{text!r} is not a hardware address", remedy="write it as 12:c6:65:89:b4:e3")
        return cls(bytes.fromhex(text.replace(":", "")))

    @classmethod
    def random(cls) -> HardwareAddress:
        """A new locally administered unicast address."""
        first, *rest = os.urandom(6)
        return cls(bytes([first & 0xFE | 0x02, *rest]))

    @property
    def is_multicast(self) -> bool:
        """Whether the group bit is set: such an address names no single station."""
        return bool(self.octets[0] & 1)

    @property
    def is_zero(self) -> bool:
        """Whether all octets are zero: Linux uses that address for "any" in a forwarding table."""
        return not any(self.octets)

    def __str__(self) -> str:
        return self.octets.hex(":")
