"""System calls that Python 3.11 has no function for (unshare(2), setns(2), mount(2), umount2(2), capget(2))."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000

MNT_DETACH = 0x2

CAP_NET_ADMIN = 12
CAP_SYS_ADMIN = 21

PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)


def _check(result: int, subject: str | None = None) -> None:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), subject)


def unshare(flags: int) -> None:
    """Gives the calling thread new namespaces of the kinds in `flags` (CLONE_NEW*). Raises `OSError`."""
    _check(_libc.unshare(flags))


def setns(descriptor: int, flags: int = 0) -> None:
    """Moves the calling thread into the namespace that `descriptor` refers to; with a pidfd, into those of `flags`."""
    _check(_libc.setns(descriptor, flags))


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). Raises `OSError` naming the target."""
    _check(_libc.mount(source.encode(), target.encode(), fstype.encode() or None, flags, data.encode() or None), target)


def umount(target: str, flags: int = MNT_DETACH) -> None:
    """umount2(2); by default lazily, so that a user of the mount does not hold it up. Raises `OSError`."""
    _check(_libc.umount2(target.encode(), flags), target)


def prctl(option: int, argument: int) -> None:
    """prctl(2) with one argument. Raises `OSError`."""
    _check(_libc.prctl(option, argument, 0, 0, 0))


def has_capability(capability: int) -> bool:
    """Whether this process has a capability (CAP_*) in effect, read from /proc/self/status."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> capability & 1)
    return False
