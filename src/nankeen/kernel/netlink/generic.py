"""Generic netlink: families of messages that modules of the kernel bring, found by name (linux/genetlink.h)."""

from __future__ import annotations

import struct

from nankeen.kernel.netlink.message import attributes, message, string
from nankeen.kernel.netlink.socket import NetlinkSocket

HEADER_LENGTH = 4
"""Octets before the attributes of each message: command, version, and two reserved."""

_HEADER = struct.Struct("=BBH")
_U16 = struct.Struct("=H")
_GENL_ID_CTRL = 0x10
_CTRL_CMD_GETFAMILY = 3
_CTRL_ATTR_FAMILY_ID, _CTRL_ATTR_FAMILY_NAME = 1, 2


def command(family: int, number: int, version: int, body: bytes) -> bytes:
    """A request to a family, by its number."""
    return message(family, 0, _HEADER.pack(number, version, 0) + body)


def family(socket: NetlinkSocket, name: str) -> int:
    """The number of a family. Asking loads its module where there is one; raises `KernelError` else."""
    question = command(_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY, 1, string(_CTRL_ATTR_FAMILY_NAME, name))
    (body,) = socket.query(question, f"generic netlink family {name}")
    number: int = _U16.unpack_from(attributes(body, HEADER_LENGTH)[_CTRL_ATTR_FAMILY_ID])[0]
    return number
