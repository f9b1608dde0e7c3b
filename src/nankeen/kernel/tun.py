"""TUN devices (linux/if_tun.h). The kernel makes them by ioctls on /dev/net/tun, and not by rtnetlink.

They are made to stay when nobody has them open (TUNSETPERSIST).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from nankeen.kernel.namespace import Namespace, entered
from nankeen.kernel.netlink import link
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.errors import KernelError
from nankeen.model.state import Link, Tun

CONTROL = "/dev/net/tun"

_TUNSETIFF, _TUNSETPERSIST = 0x4004_54CA, 0x4004_54CB
_IFF_TUN, _IFF_MULTI_QUEUE, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_TUN_EXCL = 0x0001, 0x0100, 0x1000, 0x4000, 0x8000
_IFREQ = struct.Struct("=16sH22x")
_REMEDIES = {
    errno.EACCES: "let everybody open it, as distributions do (mode 0666): who may make devices is asked later",
    errno.EPERM: "allow it to the container's devices",
}


def obstacle() -> str | None:
    """Why no TUN device can be made or opened, in words; None where nothing is in the way."""
    try:
        os.close(os.open(CONTROL, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "load the module `tun`, or give a container the device")
        return f"{CONTROL} cannot be opened ({error.strerror}): {remedy}, or choose another backend"
    return None


def make(socket: NetlinkSocket, wanted: Link, namespace: Namespace | None = None, *, replaces: bool = False) -> None:
    """Makes a TUN device, down and without settings, in the namespace of the socket, which is the caller's by default.

    `replaces` says that a device of that name, which is another, has to go first. Raises `KernelError`.
    """
    if (problem := obstacle()) is not None:  # before what stands there is removed
        raise KernelError(problem, errno=errno.ENODEV)
    if replaces:
        _remove(socket, wanted.name)
    flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR | _IFF_TUN_EXCL
    flags |= _IFF_MULTI_QUEUE if isinstance(wanted.kind, Tun) and wanted.kind.multi_queue else 0
    try:
        with entered(namespace), open(CONTROL, "r+b", buffering=0) as control:
            fcntl.ioctl(control, _TUNSETIFF, _IFREQ.pack(wanted.name.encode(), flags))
            fcntl.ioctl(control, _TUNSETPERSIST, 1)
    except OSError as error:
        raise KernelError(f"the kernel makes no TUN device: {error.strerror}", errno=error.errno or 0) from error


def _remove(socket: NetlinkSocket, name: str) -> None:
    try:
        socket.request(link.remove_named(name), name)
    except KernelError as error:
        if error.errno != errno.ENODEV:  # it has gone by itself
            raise
