"""Addresses: the two families of IP, and the hardware addresses of Ethernet."""

from __future__ import annotations

import os
import re
import reprlib
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
from socket import AF_INET, AF_INET6, inet_pton

from nankeen.model.errors import InputError

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network


class Family(Enum):
    """The version of IP. Every kernel object belongs to one; nothing is written twice for both."""

    IPV4 = 4
    IPV6 = 6

    __hash__ = object.__hash__  # there is one of each, looked up often, and an enumeration's own hash is slow

    @property
    def bits(self) -> int:
        """The length of an address in bits."""
        return 32 if self is Family.IPV4 else 128

    def __str__(self) -> str:
        return f"IPv{self.value}"


def family_of(value: IPAddress | IPInterface | IPNetwork) -> Family:
    """The family that an address, interface address or network belongs to."""
    return Family.IPV4 if value.version == 4 else Family.IPV6


_SHOWN = reprlib.Repr()
_SHOWN.maxstring = 60  # what an error quotes may be hostile, and long
_PREFIXED = re.compile(r"[0-9a-fA-F:.]+/[0-9]{1,3}")
"""An address and a prefix length; no netmasks, and no IPv6 zones."""


def parse_address(text: str, family: Family | None = None) -> IPAddress:
    """From `10.99.0.1` or `fd99::1`, of that family where one is named, without a zone; raises `InputError`."""
    address = _address(text)
    if address is None or (family is not None and family_of(address) is not family):
        raise _refusal(text, "address", family)
    return address


def parse_network(text: str, family: Family | None = None) -> IPNetwork:
    """From `10.5.0.0/16` or `fc00:5::/48`, of that family where one is named; raises `InputError`.

    Bits of the host are dropped, as flannel does.
    """
    base, _, length = text.partition("/")
    address = _address(base) if _PREFIXED.fullmatch(text) else None
    if address is None or (family is not None and family_of(address) is not family):
        raise _refusal(text, "network", family)
    bits, prefix = family_of(address).bits, int(length)
    if prefix > bits:
        raise _refusal(text, "network", family)
    masked = int(address) >> (bits - prefix) << (bits - prefix)
    return IPv4Network((masked, prefix)) if address.version == 4 else IPv6Network((masked, prefix))


def _address(text: str) -> IPAddress | None:
    """What inet_pton(3) takes the text for: ten times faster than `ipaddress`, and as strict. None for no address."""
    for version, family in ((IPv4Address, AF_INET), (IPv6Address, AF_INET6)):
        try:
            return version(inet_pton(family, text))
        except (OSError, ValueError):  # no such address; a NUL or half a character
            continue
    return None


def _refusal(text: str, what: str, family: Family | None) -> InputError:
    kind = f"an {family} {what}" if family else f"an IP {what}"
    example = {"address": ("10.99.0.1", "fd99::1"), "network": ("10.5.0.0/16", "fc00:5::/48")}[what]
    return InputError(f"{_SHOWN.repr(text)} is not {kind}", remedy=f"write it as {example[family is Family.IPV6]}")


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
            raise InputError(f"{_SHOWN.repr(text)} is not a hardware address", remedy="write it as 12:c6:65:89:b4:e3")
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
