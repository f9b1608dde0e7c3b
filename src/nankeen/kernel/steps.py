"""Changes as messages, sent together; what the kernel does not make of them is told change by change."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nankeen.kernel import ability
from nankeen.kernel.netlink.link import kernel_name
from nankeen.kernel.netlink.socket import Failure, NetlinkSocket
from nankeen.model.diff import Change, Verb
from nankeen.model.state import Link

ABSENT = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL})
"""What the kernel says of the removal of something that has gone already: as good as done."""

Indexes = Mapping[str, int]
"""The interface index of each device, by name."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A change that was not made, and the reason. `errno` is the kernel's number for it, 0 where there is none."""

    change: Change
    errno: int
    reason: str

    def __str__(self) -> str:
        return f"{self.change.object}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Step:
    """A message that is part of a change; it is made when the devices have their indexes."""

    change: Change
    encode: Callable[[Indexes], bytes]


def send(socket: NetlinkSocket, steps: Sequence[Step], indexes: Indexes) -> list[Refusal]:
    """Sends the messages in order, and returns what was refused of them. Raises `KernelError` where nobody answers."""
    refused: list[Refusal] = []
    sent: list[Change] = []
    messages: list[bytes] = []
    for step in steps:
        try:
            messages.append(step.encode(indexes))
            sent.append(step.change)
        except KeyError as missing:
            if step.change.verb is not Verb.REMOVE:
                reason = f"there is no device {missing.args[0]}"
                refused.append(Refusal(step.change, errno.ENODEV, reason))
    for failure in socket.batch(messages):
        change = sent[failure.index]
        if not (change.verb is Verb.REMOVE and failure.errno in ABSENT):
            refused.append(Refusal(change, failure.errno, _reason(change, failure)))
    return refused


def _reason(change: Change, failure: Failure) -> str:
    """Why a change was refused: what the kernel lacks, where that is what it says, else its own words."""
    wanted = change.object
    if isinstance(wanted, Link) and change.verb is not Verb.REMOVE and failure.errno == errno.EOPNOTSUPP:
        return ability.lack(kernel_name(wanted.kind))
    return str(failure)
