"""What this kernel can do: which kinds of link it can make, with its modules as they are."""

from __future__ import annotations

import errno
from collections.abc import Iterable

from nankeen.kernel import tun
from nankeen.kernel.netlink import link
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.errors import KernelError

_NAME = "nk-attempt"
"""A name that nobody uses: an older kernel (before Linux 5.5) may make the device, and it is removed at once."""
_TUN = "tun"
"""The one kind that rtnetlink does not make."""


def can_make(socket: NetlinkSocket, kind: str) -> bool:
    """Whether the kernel makes links of this kind, by its own name for it: "vxlan", "ipip", "tun".

    No device is made for the answer, but the kernel loads the kind's module where it can. Raises `KernelError` where
    it answers nobody, such as a user without CAP_NET_ADMIN.
    """
    if kind == _TUN:
        return tun.obstacle() is None
    failures = socket.batch([link.attempt(_NAME, kind)])
    if not failures:
        socket.request(link.remove_named(_NAME), _NAME)
        return True
    refused = failures[0].errno
    if refused in (errno.EPERM, errno.EACCES):
        raise KernelError(f"cannot ask for a link: {failures[0]}", remedy="CAP_NET_ADMIN is needed", errno=refused)
    return refused != errno.EOPNOTSUPP


def lacking(socket: NetlinkSocket, kinds: Iterable[str]) -> tuple[str, ...]:
    """Those of the kinds that the kernel cannot make, in order. Raises `KernelError`."""
    return tuple(kind for kind in sorted(kinds) if not can_make(socket, kind))


def lack(kind: str) -> str:
    """What to tell of a kind that the kernel cannot make."""
    if kind == _TUN and (problem := tun.obstacle()) is not None:
        return problem
    return f"the kernel has no {kind}: load the module `{kind}`, or choose another backend"
