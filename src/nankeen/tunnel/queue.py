"""A queue of a TUN device (linux/if_tun.h), with as much left to us of the kernel's work as it will leave."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from contextlib import suppress

from nankeen.model.errors import KernelError
from nankeen.tunnel import offload

_CONTROL = "/dev/net/tun"
_TUNSETIFF, _TUNSETOFFLOAD, _TUNSETVNETHDRSZ, _TUNGETIFF = 0x4004_54CA, 0x4004_54D0, 0x4004_54D8, 0x8004_54D2
_IFF_TUN, _IFF_MULTI_QUEUE, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x0100, 0x1000, 0x4000
_IFREQ = struct.Struct("16sH22x")

_CSUM = offload.TUN_F_CSUM
_TSO = offload.TUN_F_TSO4 | offload.TUN_F_TSO6
_USO = offload.TUN_F_USO4 | offload.TUN_F_USO6


class Queue:
    """An open queue. The device must stand."""

    def __init__(self, device: str) -> None:
        """Raises `KernelError`."""
        self.udp = False
        """Whether the kernel leaves the segmentation of UDP to us, and takes it from us: Linux 6.2 and later."""
        self.tcp = False
        """The same for TCP."""
        self.descriptor = _open(device)
        self._offload()

    def __str__(self) -> str:
        if not self.tcp:
            return "TUN without offloads"
        return "TUN TSO USO" if self.udp else "TUN TSO"

    def fileno(self) -> int:
        return self.descriptor

    @property
    def stands(self) -> bool:
        """Whether its device does: one that was deleted leaves a dead queue behind, also where it was made anew."""
        try:
            fcntl.ioctl(self.descriptor, _TUNGETIFF, bytes(_IFREQ.size))
        except OSError:
            return False
        return True

    def close(self) -> None:
        os.close(self.descriptor)

    def _offload(self) -> None:
        for flags in (_CSUM | _TSO | _USO, _CSUM | _TSO, 0):
            with suppress(OSError):  # an older kernel knows fewer
                fcntl.ioctl(self.descriptor, _TUNSETOFFLOAD, flags)
                self.tcp, self.udp = bool(flags & _TSO), bool(flags & _USO)
                return


def _open(device: str) -> int:
    if device not in {name for _, name in socket.if_nameindex()}:  # one would be made, that ends with us
        raise KernelError("there is no such device", where=device, errno=errno.ENODEV)
    try:
        descriptor = os.open(_CONTROL, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(
            f"cannot be opened: {error.strerror}", where=_CONTROL, errno=error.errno or 0, remedy="modprobe tun"
        ) from error
    try:
        flags = _IFF_TUN | _IFF_MULTI_QUEUE | _IFF_NO_PI | _IFF_VNET_HDR
        fcntl.ioctl(descriptor, _TUNSETIFF, _IFREQ.pack(device.encode(), flags))
        fcntl.ioctl(descriptor, _TUNSETVNETHDRSZ, struct.pack("=i", offload.HEADER.size))
    except OSError as error:
        os.close(descriptor)
        remedy = "another process has it open" if error.errno == errno.EBUSY else ""
        raise KernelError(
            f"no queue can be opened: {error.strerror}", where=device, errno=error.errno or 0, remedy=remedy
        ) from error
    return descriptor
