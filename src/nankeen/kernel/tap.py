"""Listening on a network device: a packet socket with a ring, and a filter that the kernel applies (packet(7))."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Self

from nankeen.kernel.namespace import Namespace, entered
from nankeen.kernel.ring import SOL_PACKET, Frame, Ring
from nankeen.model import bpf
from nankeen.model.errors import KernelError
from nankeen.model.packet import LinkType

RING = 8 << 20
"""Octets that a tap may hold by default."""

_ETH_P_ALL = 3
_ADD_MEMBERSHIP = 1
_MEMBERSHIP = struct.Struct("=iHH8x")
_MR_PROMISC = 1
_SO_ATTACH_FILTER = 26
_SIOCGIFINDEX = 0x8933
_IFREQ = struct.Struct("=16si20x")
_PROGRAM = struct.Struct("@HP")
ETHERNET = frozenset({1, 772})
"""ARPHRD_ETHER, ARPHRD_LOOPBACK (linux/if_arp.h)."""
_IP = frozenset({519, 768, 769, 776, 65534})
"""ARPHRD_RAWIP, _TUNNEL, _TUNNEL6, _SIT, _NONE: no header of the link layer."""

Filter = Callable[[LinkType], bpf.Program]
"""A program for devices of that kind."""


class Tap:
    """What passes one device, from now on. Every frame is copied: nothing on its way is changed or held up."""

    def __init__(
        self, namespace: Namespace | None, device: str, wanted: Filter | None = None, *, size: int = RING
    ) -> None:
        """Listens on the device in that network namespace, the caller's by default; hears what is `wanted`, or all.

        `size` is that of the ring, in octets. Raises `KernelError`.
        """
        self.device = device
        self.went_down = False
        """Whether the device was set down or removed meanwhile: the kernel tells it once."""
        try:
            with entered(namespace):
                self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        except OSError as error:
            raise refusal(error, device) from error
        try:
            self._prepare(wanted, size)
        except OSError as error:
            self._socket.close()
            raise refusal(error, device) from error
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """To be polled: readable when `read` has something."""
        return self._socket.fileno()

    def read(self) -> list[Frame]:
        """What has come, oldest first; it is there `RETIRE` seconds after it passed. Does not wait."""
        found = self._ring.read()
        if not found and self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.went_down = True
        return found

    async def frames(self) -> AsyncIterator[Frame]:
        """Each frame as it comes, without an end."""
        while True:
            for frame in self.read():
                yield frame
            await self._readable()

    @property
    def dropped(self) -> int:
        """Frames that were wanted and found no room in the ring, from the beginning on."""
        return self._ring.dropped

    def close(self) -> None:
        self._ring.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self, wanted: Filter | None, size: int) -> None:
        """In this order nothing is heard before the filter stands: a socket of protocol 0 hears nothing."""
        self._socket.setblocking(False)
        self._socket.bind((self.device, 0))
        self.link = link_type(self._socket.getsockname()[3], self.device)
        if wanted is not None:
            attach(self._socket, wanted(self.link))
        index = _IFREQ.unpack(fcntl.ioctl(self._socket, _SIOCGIFINDEX, _IFREQ.pack(self.device.encode(), 0)))[1]
        self._socket.setsockopt(SOL_PACKET, _ADD_MEMBERSHIP, _MEMBERSHIP.pack(index, _MR_PROMISC, 0))
        self._ring = Ring(self._socket, self.device, size)
        try:
            self._socket.bind((self.device, _ETH_P_ALL))
        except OSError:
            self._ring.close()
            raise

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._socket, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._socket)


def link_type(kind: int, device: str) -> LinkType:
    """What frames begin with at a device of that kind (ARPHRD_*). Raises `KernelError` where that is not known."""
    if kind in ETHERNET:
        return LinkType.ETHERNET
    if kind in _IP:
        return LinkType.IP
    raise KernelError(f"a device of kind {kind} (ARPHRD_*) cannot be read", where=device)


def attach(sock: socket.socket, program: bpf.Program) -> None:
    """Has the kernel run the program on each frame. Raises `OSError` where it refuses the program."""
    buffer = ctypes.create_string_buffer(bpf.encode(program), len(program) * 8)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _PROGRAM.pack(len(program), ctypes.addressof(buffer)))


def refusal(error: OSError, device: str) -> KernelError:
    """Why a packet socket cannot listen there, in words."""
    number = error.errno or 0
    match number:
        case errno.EPERM | errno.EACCES:
            remedy = "be root, or name a member of a lab of yours"
        case errno.ENODEV | errno.ENXIO:
            return KernelError("there is no such device", where=device, errno=number)
        case _:
            remedy = ""
    problem = f"cannot listen on it: {os.strerror(number)}"
    return KernelError(problem, where=device, remedy=remedy, errno=number)
