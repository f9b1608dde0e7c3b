"""The data path on a kernel that lacks something: `python lame.py LACK… -- --socket PATH`.

What the kernel would refuse is refused by the wrapper of the system call; all else is the real process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import NoReturn

from nankeen.tunnel import offload
from nankeen.tunnel.__main__ import main

_TUNSETOFFLOAD = 0x4004_54D0
_USO = offload.TUN_F_USO4 | offload.TUN_F_USO6
_ioctl, _setsockopt = fcntl.ioctl, socket.socket.setsockopt


class Lack(StrEnum):
    GSO = "UDP_SEGMENT"
    GSO_BY_DEVICE = "UDP_SEGMENT on a device without checksum offload"
    GRO = "UDP_GRO"
    TSO = "TUN_F_TSO4"
    USO = "TUN_F_USO4"


def go_without(lack: Lack) -> None:
    """From here on in this process."""
    match lack:
        case Lack.GSO:
            socket.socket.sendmsg = lambda *_: _refuse(errno.EINVAL)  # type: ignore[method-assign]
        case Lack.GSO_BY_DEVICE:
            socket.socket.sendmsg = lambda *_: _refuse(errno.EIO)  # type: ignore[method-assign]
        case Lack.GRO:
            socket.socket.setsockopt = _setsockopt_but_gro  # type: ignore[assignment,method-assign]
        case Lack.TSO:
            fcntl.ioctl = _ioctl_but_offloads(-1)  # type: ignore[assignment]
        case Lack.USO:
            fcntl.ioctl = _ioctl_but_offloads(_USO)  # type: ignore[assignment]


def _setsockopt_but_gro(self: socket.socket, level: int, option: int, value: int) -> None:
    if (level, option) == (offload.SOL_UDP, offload.UDP_GRO):
        _refuse(errno.ENOPROTOOPT)
    _setsockopt(self, level, option, value)


def _ioctl_but_offloads(unknown: int) -> Callable[[int, int, int], int]:
    def ioctl(descriptor: int, request: int, argument: int) -> int:
        if request == _TUNSETOFFLOAD and argument & unknown:
            _refuse(errno.EINVAL)
        return _ioctl(descriptor, request, argument)

    return ioctl


def _refuse(number: int) -> NoReturn:
    raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    end = sys.argv.index("--")
    for word in sys.argv[1:end]:
        go_without(Lack(word))
    sys.exit(main(sys.argv[end + 1 :]))
