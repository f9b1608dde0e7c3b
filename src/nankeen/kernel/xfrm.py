"""The channel to the kernel's IPsec: its policies, and whether it has ESP at all (NETLINK_XFRM)."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import closing

from nankeen.kernel.netlink import xfrm as messages
from nankeen.kernel.netlink.socket import XFRM, NetlinkSocket
from nankeen.kernel.steps import Refusal, Step, send
from nankeen.model.diff import Change, Verb
from nankeen.model.errors import KernelError
from nankeen.model.xfrm import XfrmPolicy

_LACK = "the kernel has no IPsec: load the modules `xfrm_user` and `esp4`, or choose another backend"


def apply(socket: NetlinkSocket, changes: Sequence[Change]) -> list[Refusal]:
    """Makes changes of policies, in the namespace of an rtnetlink socket; returns those that were refused."""
    if not changes:
        return []
    try:
        channel = socket.sibling(XFRM)
    except KernelError as error:
        return [Refusal(change, error.errno, _LACK) for change in changes]
    with closing(channel):
        return send(channel, [_step(change) for change in changes], {})


def observe(socket: NetlinkSocket) -> list[XfrmPolicy]:
    """The policies between networks. Asking loads the kernel's module; raises `KernelError` where it has none."""
    with closing(socket.sibling(XFRM)) as channel:
        found = (messages.parse(body) for _, body in channel.dump(messages.dump()))
        return [policy for policy in found if policy is not None]


def require_esp(socket: NetlinkSocket) -> None:
    """Raises `KernelError` where the kernel cannot protect packets by ESP; loads its module where it can."""
    add, remove = messages.attempt(bytes([1, *os.urandom(3)]))  # not among the SPIs below 256, which are reserved
    try:
        with closing(socket.sibling(XFRM)) as channel:
            failures = channel.batch([add, remove])
    except KernelError as error:
        raise KernelError(_LACK, errno=error.errno) from error
    if any(failure.errno == errno.EPROTONOSUPPORT for failure in failures):
        raise KernelError(_LACK, errno=errno.EPROTONOSUPPORT)


def _step(change: Change) -> Step:
    policy = change.object
    if not isinstance(policy, XfrmPolicy):
        raise TypeError(f"{policy} is no policy of IPsec")
    encode = messages.remove if change.verb is Verb.REMOVE else messages.add
    return Step(change, lambda _: encode(policy))
