"""VXLAN (RFC 7348): Ethernet frames in UDP."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache

from nankeen.model.errors import InputError
from nankeen.model.packet.field import need

VNI_IS_VALID = 0x08
"""The I flag, which must be set."""

_VXLAN = struct.Struct("!BxHI")
_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class Vxlan:
    """A VXLAN header (RFC 7348 §5), with the 16 bits that a group policy uses (draft-smith-vxlan-group-policy).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+---------------+-------------------------------+
    |G|R|R|R|I|R|R|R|   Reserved    |        Group policy ID        |
    +-+-+-+-+-+-+-+-+---------------+---------------+---------------+
    |          VXLAN Network Identifier (VNI)       |   Reserved    |
    +-----------------------------------------------+---------------+
    """

    vni: int
    flags: int = VNI_IS_VALID
    group: int = 0

    LENGTH = 8

    @classmethod
    def decode(cls, data: bytes, start: int, end: int) -> tuple[Vxlan, int]:
        """The header at `start`, and where the inner frame begins. Raises `InputError`."""
        need(start, end, cls.LENGTH)
        found = _vxlan(data[start : start + cls.LENGTH])
        if not found.flags & VNI_IS_VALID:
            raise InputError("it has no VNI: the I flag is not set")
        return found, start + cls.LENGTH

    def encode(self) -> bytes:
        return _VXLAN.pack(self.flags, self.group, self.vni << 8)


@lru_cache(_REMEMBERED)
def _vxlan(octets: bytes) -> Vxlan:
    flags, group, vni = _VXLAN.unpack(octets)
    return Vxlan(vni >> 8, flags, group)
