"""The extension's companion: runs an administrator's commands, each once, and again where it failed.

What has run is noted, so that an agent that starts again runs nothing again. After a reboot, and where the commands of
the start have changed, everything runs anew. A peer that changed is removed as it was, and added as it is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Sequence
from dataclasses import replace

from nankeen.backend import Backend, Node
from nankeen.backend.extension import LONGEST_ANNOUNCEMENT, ExtensionBackend
from nankeen.kernel.companion import Places
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.record import Record
from nankeen.kernel.steps import Refusal
from nankeen.model.diff import Change, Claim, Verb, diff
from nankeen.model.errors import InputError, KernelError
from nankeen.model.hook import Command, Hook
from nankeen.model.state import Object, State

KINDS: frozenset[type[Object]] = frozenset({Hook})
SECONDS = 60.0
"""How long a command may take."""

_log = logging.getLogger(__name__)


def companion(backend: Backend, socket: NetlinkSocket, places: Places) -> Commands:  # noqa: ARG001
    """The extension's."""
    if not isinstance(backend, ExtensionBackend):
        raise TypeError(f"{backend} has no commands")
    return Commands(backend, Record(places.record))


class Commands:
    """The commands of one node."""

    def __init__(self, backend: ExtensionBackend, record: Record, seconds: float = SECONDS) -> None:
        self._backend = backend
        self._record = record
        self._seconds = seconds

    async def prepare(self, node: Node) -> Node:
        command = self._backend.pre_startup
        if command is None:
            return node
        printed = (await self._once("before", command, forgetting="after")).strip()
        if len(printed) > LONGEST_ANNOUNCEMENT:
            raise InputError(
                f"it printed {len(printed)} characters for the peers",
                where=str(command),
                remedy=f"at most {LONGEST_ANNOUNCEMENT} go into a lease",
            )
        return replace(node, announcement=printed)

    async def begin(self, node: Node) -> None:
        command = self._backend.post_startup(node)
        if command is not None:
            await self._once("after", command, forgetting="after")

    async def converge(self, desired: State, claim: Claim) -> Sequence[Refusal]:
        refused = []
        for change in diff(desired, State(self._record.hooks()), claim, KINDS):
            try:
                await self._make(change)
            except KernelError as error:
                refused.append(Refusal(change, error.errno, str(error)))
        return refused

    async def _once(self, name: str, command: Command, forgetting: str) -> str:
        """What a command of the start prints. When it runs, what came after it runs again."""
        printed = self._record.output(name, command)
        if printed is None:
            self._record.forget(forgetting)
            printed = await run(command, self._seconds)
            self._record.note(name, command, printed)
        return printed

    async def _make(self, change: Change) -> None:
        wanted, standing = change.object, change.observed
        if isinstance(standing, Hook):
            if standing.remove is not None:
                await run(standing.remove, self._seconds)
            self._record.remove(standing)
        if change.verb is not Verb.REMOVE and isinstance(wanted, Hook):
            if wanted.add is not None:
                await run(wanted.add, self._seconds)
            self._record.add(wanted)


async def run(command: Command, seconds: float = SECONDS) -> str:
    """What a command prints. Raises `KernelError` where it cannot be run, fails, or takes too long: it and what it has
    started are ended then.
    """
    name = command.arguments[0]
    try:
        process = await asyncio.create_subprocess_exec(
            *command.arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **command.environment},
            start_new_session=True,
        )
    except OSError as error:
        raise KernelError(f"it cannot be run: {error.strerror}", where=name, errno=error.errno or 0) from error
    try:
        async with asyncio.timeout(seconds):
            printed, complaint = await process.communicate(command.input.encode())
    except TimeoutError:
        raise KernelError(f"no end after {seconds:g} s", where=str(command)) from None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    _log.info("ran %s: exit status %d", command, process.returncode)
    if process.returncode:
        told = complaint.decode(errors="replace").strip() or "no reason given"
        raise KernelError(f"exit status {process.returncode}: {told[:300]}", where=str(command))
    return printed.decode(errors="replace")
