"""What a device takes besides frames for itself: all, or all multicast (netdevice(7), linux/if.h)."""

from __future__ import annotations

import struct

from nankeen.kernel.netlink.link import RTM_NEWLINK
from nankeen.kernel.netlink.message import message

_IFINFOMSG = struct.Struct("=BBHiII")
_PROMISC, _ALLMULTI = 0x100, 0x200


def change(index: int, *, promiscuous: bool | None = None, all_multicast: bool | None = None) -> bytes:
    """Sets what is not None."""
    wanted = {_PROMISC: promiscuous, _ALLMULTI: all_multicast}
    mask = sum(flag for flag, value in wanted.items() if value is not None)
    flags = sum(flag for flag, value in wanted.items() if value)
    return message(RTM_NEWLINK, 0, _IFINFOMSG.pack(0, 0, 0, index, flags, mask))


def parse(body: bytes) -> tuple[bool, bool]:
    """Whether somebody has set a device to take all, and all multicast."""
    flags: int = _IFINFOMSG.unpack_from(body)[4]
    return bool(flags & _PROMISC), bool(flags & _ALLMULTI)
