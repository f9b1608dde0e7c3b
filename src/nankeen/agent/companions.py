"""The companions of the backends that a node runs: keys, IKE daemons, an administrator's commands.

What they do may take long, so it is done beside everything else, one call after another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from nankeen.backend import Backend, Node
from nankeen.kernel.companion import Companion, Places, open_companion
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.diff import NOTHING, Claim
from nankeen.model.errors import InputError, KernelError
from nankeen.model.state import State

_log = logging.getLogger(__name__)


class Companions:
    """One for each backend, as long as the backend is the same."""

    def __init__(self, socket: NetlinkSocket, places: Places) -> None:
        self.refused: tuple[str, ...] = ()
        """What could not be done at the last attempt; it is tried again at each."""
        self._socket = socket
        self._places = places
        self._companions: dict[Backend, Companion] = {}
        self._wanted: tuple[State, Claim] = State(), NOTHING
        self._work = asyncio.Event()
        self._settled = asyncio.Event()

    async def prepare(self, backends: Iterable[Backend], node: Node) -> Node:
        """The node with the facts that only companions know. Raises `KernelError` and `InputError`: then the backend is
        not run, and its companion has nothing to do.
        """
        for backend in backends:
            companion = self._companions.get(backend) or open_companion(backend, self._socket, self._places)
            node = await companion.prepare(node)
            self._companions[backend] = companion
        return node

    async def begin(self, backends: Iterable[Backend], node: Node) -> None:
        """Makes ready what needs the lease. Raises `KernelError` and `InputError`."""
        for backend in backends:
            await self._companions[backend].begin(node)

    def want(self, desired: State, claim: Claim) -> None:
        """Says what shall be, from now on."""
        self._wanted = desired, claim
        self.audit()

    def audit(self) -> None:
        """Has everything looked at again."""
        self._settled.clear()
        self._work.set()

    async def settled(self) -> None:
        """Returns when what is wanted has been done, or found impossible."""
        await self._settled.wait()

    async def keep(self) -> None:
        """Until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            refused: list[str] = []
            for companion in list(self._companions.values()):
                refused += await _converge(companion, *self._wanted)
            for reason in refused:
                if reason not in self.refused:
                    _log.error("refused: %s", reason)
            self.refused = tuple(refused)
            if not self._work.is_set():
                self._settled.set()


async def _converge(companion: Companion, desired: State, claim: Claim) -> list[str]:
    """What the companion could not do."""
    try:
        return [str(refusal) for refusal in await companion.converge(desired, claim)]
    except (KernelError, InputError) as error:
        return [str(error)]
