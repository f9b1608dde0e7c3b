"""The companions of the backends that a node runs: keys, IKE daemons, an administrator's commands, the data path.

What they do may take long, so it is done beside everything else, one call after another. The data path of the udp
backend is looked after whatever backends there are: it may be left from another configuration.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

from nankeen.agent.tunnel import DataPath
from nankeen.backend import Backend, Node
from nankeen.kernel.companion import Companion, Places, open_companion
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.diff import NOTHING, Claim
from nankeen.model.errors import InputError, KernelError
from nankeen.model.state import State
from nankeen.model.tunnel import TunnelSocket
from nankeen.tunnel.control import Report

_log = logging.getLogger(__name__)


class Companions:
    """One for each backend, as long as the backend is the same. One of a backend that is run no more puts away what it
    made, and goes.
    """

    def __init__(self, socket: NetlinkSocket, places: Places, data_path: DataPath) -> None:
        self.refused: tuple[str, ...] = ()
        """What could not be done at the last attempt; it is tried again at each."""
        self._socket = socket
        self._places = places
        self._data_path = data_path
        self._companions: dict[Backend, Companion] = {}
        self._current: set[Backend] = set()
        self._former: set[Backend] = set()
        self._wanted: tuple[State, Claim] = State(), NOTHING
        self._ahead: State | None = None
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
            self._current.add(backend)
        return node

    async def begin(self, backends: Sequence[Backend], node: Node) -> None:
        """Makes ready what needs the lease, in that order: these are run from now on. Raises `KernelError` and
        `InputError`.
        """
        self._current = set(backends)
        for backend in backends:
            await self._companions[backend].begin(node)

    async def receive(self, desired: State) -> None:
        """Has the data path do what will be wanted next, before anybody hears that he can send by it. Returns when it
        does, or when that was found impossible.
        """
        if any(desired.of(TunnelSocket)):
            self._ahead = desired
            self.audit()
            await self.settled()

    def want(self, desired: State, claim: Claim) -> None:
        """Says what shall be, from now on."""
        self._wanted, self._ahead = (desired, claim), None
        self._former = self._companions.keys() - self._current
        self.audit()

    def audit(self) -> None:
        """Has everything looked at again."""
        self._settled.clear()
        self._work.set()

    def report(self) -> Report | None:
        """What the data path has done; None where there is none."""
        return self._data_path.report()

    async def settled(self) -> None:
        """Returns when what is wanted has been done, or found impossible."""
        await self._settled.wait()

    async def keep(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._revive(), name="data path")
                while True:
                    await self._work.wait()
                    self._work.clear()
                    self._note(await self._converge())
                    if not self._work.is_set():
                        self._settled.set()
        finally:
            self._data_path.close()

    async def _revive(self) -> None:
        while True:
            await self._data_path.lost()
            self.audit()

    async def _converge(self) -> list[str]:
        """What could not be done."""
        refused: list[str] = []
        wanted, former = self._wanted, self._former
        for backend, companion in list(self._companions.items()):
            failed = await _converge(companion, *wanted)
            refused += failed
            if not failed and backend in former - self._current:
                self._companions.pop(backend, None)
        try:
            await self._data_path.converge(self._wanted[0] if self._ahead is None else self._ahead)
        except KernelError as error:
            refused.append(str(error))
        return refused

    def _note(self, refused: list[str]) -> None:
        for reason in refused:
            if reason not in self.refused:
                _log.error("refused: %s", reason)
        self.refused = tuple(refused)


async def _converge(companion: Companion, desired: State, claim: Claim) -> list[str]:
    """What the companion could not do."""
    try:
        return [str(refusal) for refusal in await companion.converge(desired, claim)]
    except (KernelError, InputError) as error:
        return [str(error)]
