"""Keeping the kernel equal to the desired state: compare, change what differs, and say what it was."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

from nankeen.kernel.apply import Refusal, apply
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.observe import observe
from nankeen.model.diff import Change, Claim, diff
from nankeen.model.state import State, Sysctl

Cause = Literal["start", "leases", "kernel", "audit"]
_REPAIRS: frozenset[Cause] = frozenset({"kernel", "audit"})
_LINES = 20
"""Changes that are logged one by one; of more than these, only their number."""
_log = logging.getLogger(__name__)


class Reconciler:
    """Makes changes in the network namespace of its socket, and remembers what came of it."""

    def __init__(self, socket: NetlinkSocket) -> None:
        self._socket = socket
        self.repaired = 0
        """Objects put right that somebody else had removed or altered."""
        self.refused: tuple[Refusal, ...] = ()
        """What the kernel refused at the last attempt; it is tried again at each."""

    def converge(self, desired: State, observed: State, claim: Claim, cause: Cause) -> None:
        """Makes the kernel, as it was just observed, equal to the whole desired state. Raises `KernelError` where the
        kernel cannot be talked to.
        """
        changes = diff(desired, observed, claim)
        refused = self._apply(changes, cause)
        if cause in _REPAIRS:
            self.repaired += len(changes) - len(refused)

    def build(self, desired: State, claim: Claim) -> None:
        """Makes what is missing of the desired state, and takes nothing away."""
        settings = [setting.path for setting in desired.of(Sysctl)]
        observed = observe(self._socket, settings, policies=claim.policies)
        self._apply(diff(desired, observed), "start")

    def step(self, before: State, after: State, claim: Claim) -> None:
        """Takes the kernel from one desired state to the next without looking at it: for few changed leases of many."""
        self._apply(diff(after, before, claim), "leases")

    def _apply(self, changes: Sequence[Change], cause: Cause) -> Sequence[Refusal]:
        _tell(changes, cause)
        refused = apply(self._socket, changes)
        for refusal in refused:
            if refusal not in self.refused:
                _log.error("the kernel refused %s", refusal)
        self.refused = tuple(refused)
        return refused


def _tell(changes: Sequence[Change], cause: Cause) -> None:
    if not changes:
        return
    if cause == "leases":  # told by peer, not by object
        return
    level = logging.WARNING if cause in _REPAIRS else logging.INFO
    what = "repairing" if cause in _REPAIRS else f"{cause}:"
    if len(changes) > _LINES:
        _log.log(level, "%s %d kernel objects", what, len(changes))
        return
    for change in changes:
        _log.log(level, "%s %s", what, change)
