"""Layer 2: Ethernet frames (IEEE 802.3), VLAN tags (IEEE 802.1Q), and the address resolution protocol (RFC 826)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address

from nankeen.model.address import HardwareAddress
from nankeen.model.errors import InputError
from nankeen.model.packet.field import hardware_address, ipv4_address, need

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
ETHERTYPE_VLAN = 0x8100
ETHERTYPE_IPV6 = 0x86DD
ETHERTYPE_SERVICE_VLAN = 0x88A8

_ETHERNET = struct.Struct("!6s6sH")
_VLAN = struct.Struct("!HH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_KIND = (1, ETHERTYPE_IPV4, 6, 4)
_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class Ethernet:
    """The header of a frame, without preamble and frame check sequence.

    +-------------------------------+-------------------------------+---------------+
    |   Destination (6 octets)      |      Source (6 octets)        |   EtherType   |
    +-------------------------------+-------------------------------+---------------+
    """

    destination: HardwareAddress
    source: HardwareAddress
    protocol: int
    """The EtherType (ETHERTYPE_*); below 0x0600 the length of an IEEE 802.3 frame."""

    LENGTH = 14

    @classmethod
    def decode(cls, data: bytes, start: int, end: int) -> tuple[Ethernet, int]:
        """The header at `start`, and where what follows it begins. Raises `InputError`."""
        need(start, end, cls.LENGTH)
        return _ethernet(data[start : start + cls.LENGTH]), start + cls.LENGTH

    def encode(self) -> bytes:
        return _ETHERNET.pack(self.destination.octets, self.source.octets, self.protocol)


@lru_cache(_REMEMBERED)
def _ethernet(octets: bytes) -> Ethernet:
    destination, source, protocol = _ETHERNET.unpack(octets)
    return Ethernet(hardware_address(destination), hardware_address(source), protocol)


@dataclass(frozen=True, slots=True)
class Vlan:
    """A VLAN tag after its EtherType (IEEE 802.1Q §9.6): tag control information, then the EtherType of what follows.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-----+-+-----------------------+-------------------------------+
    | PCP |D|   VLAN identifier     |           EtherType           |
    +-----+-+-----------------------+-------------------------------+
    """

    identifier: int
    protocol: int
    priority: int = 0
    drop_eligible: bool = False

    LENGTH = 4

    @classmethod
    def decode(cls, data: bytes, start: int, end: int) -> tuple[Vlan, int]:
        """The tag at `start`, and where what follows it begins. Raises `InputError`."""
        need(start, end, cls.LENGTH)
        control, protocol = _VLAN.unpack_from(data, start)
        return Vlan(control & 0xFFF, protocol, control >> 13, bool(control & 0x1000)), start + cls.LENGTH

    def encode(self) -> bytes:
        return _VLAN.pack(self.priority << 13 | self.drop_eligible << 12 | self.identifier, self.protocol)


class ArpOperation(IntEnum):
    """What an ARP packet is (RFC 826; IANA has more)."""

    REQUEST = 1
    REPLY = 2


@dataclass(frozen=True, slots=True)
class Arp:
    """Address resolution of IPv4 over Ethernet (RFC 826).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------------------------------+-------------------------------+
    |     Hardware type: 1          |     Protocol type: 0x0800     |
    +---------------+---------------+-------------------------------+
    |  Length: 6    |  Length: 4    |          Operation            |
    +---------------+---------------+-------------------------------+
    |  Sender: hardware (6), protocol (4); target: the same         |
    +---------------------------------------------------------------+
    """

    operation: int
    """One of `ArpOperation`, or another."""
    sender_hardware: HardwareAddress
    sender: IPv4Address
    target_hardware: HardwareAddress
    target: IPv4Address

    LENGTH = 28

    @classmethod
    def decode(cls, data: bytes, start: int, end: int) -> tuple[Arp, int]:
        """The packet at `start`, and where it ends. Raises `InputError`, also for other addresses than those two."""
        need(start, end, cls.LENGTH)
        *kind, operation, sender_hardware, sender, target_hardware, target = _ARP.unpack_from(data, start)
        if tuple(kind) != _ARP_KIND:
            raise InputError("not about IPv4 over Ethernet")
        found = cls(
            operation,
            hardware_address(sender_hardware),
            ipv4_address(sender),
            hardware_address(target_hardware),
            ipv4_address(target),
        )
        return found, start + cls.LENGTH

    def encode(self) -> bytes:
        addresses = self.sender_hardware.octets, self.sender.packed, self.target_hardware.octets, self.target.packed
        return _ARP.pack(*_ARP_KIND, self.operation, *addresses)
