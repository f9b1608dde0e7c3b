"""The agent's part in the node's packet filter: masquerade, protection of the tunnels, pods let through, host ports.

Work that starts programs is done beside the event loop, one piece after another; a changed peer is one message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from nankeen.kernel.firewall import PacketFilter, PacketFilterMonitor
from nankeen.model.errors import KernelError
from nankeen.model.firewall import NO_FIREWALL, TABLE, Firewall
from nankeen.pods.hostports import HostPorts

SETTLE_SECONDS = 0.05
"""How long to let further changes come before looking: whoever flushes a table changes much at once."""

_log = logging.getLogger(__name__)


class Guard:
    """Keeps the packet filter of the agent's network namespace."""

    def __init__(self, ports: HostPorts) -> None:
        """`ports` are others' to map, and here to be kept as they are."""
        self.repaired = 0
        """Rules and sets put right that somebody else had removed or altered."""
        self.refused: tuple[str, ...] = ()
        """What could not be done at the last attempt; it is tried again at each."""
        self._filter = PacketFilter()
        self._ports = ports
        self._wanted = NO_FIREWALL
        self._held: Firewall | None = None
        """What the kernel was last made equal to; None where it has to be looked at."""
        self._looked = self._ports_looked = False
        self._work = asyncio.Event()
        self._settled = asyncio.Event()
        self._news: frozenset[str] = frozenset()
        """The tables that changed since they were looked at."""
        self._heard = asyncio.Event()

    def want(self, firewall: Firewall) -> None:
        """Says what the packet filter shall be, from now on."""
        if firewall != self._wanted or self._held is None:
            self._wanted = firewall
            self._settled.clear()
            self._work.set()

    def audit(self) -> None:
        """Has the packet filter looked at again."""
        self._held = None
        self._work.set()

    async def settled(self) -> None:
        """Returns when what is wanted has been done, or found impossible."""
        await self._settled.wait()

    async def keep(self) -> None:
        """Until cancelled."""
        own = frozenset({self._filter.port, self._ports.port})
        with PacketFilterMonitor(own_ports=own) as monitor:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(monitor), name="packet filter events")
                tasks.create_task(self._heed(), name="packet filter repair")
                while True:
                    await self._work.wait()
                    self._work.clear()
                    await self._converge()
                    if not self._work.is_set():
                        self._settled.set()

    async def _listen(self, monitor: PacketFilterMonitor) -> None:
        async for tables in monitor.changes():
            self._news |= tables
            self._heard.set()

    async def _heed(self) -> None:
        """Looks at what has changed, once for all that changed in a moment."""
        while True:
            await self._heard.wait()
            await asyncio.sleep(SETTLE_SECONDS)
            self._heard.clear()
            news, self._news = self._news, frozenset()
            if TABLE in news:
                self.audit()
                continue
            try:
                self._keep_ports()
            except (KernelError, OSError):  # tried again, and told
                self.audit()

    async def _converge(self) -> None:
        wanted, held = self._wanted, self._held
        try:
            if held is not None:
                self._filter.step(held, wanted)
            else:
                try:
                    await self._look(wanted)
                finally:
                    self._keep_ports()
        except (KernelError, OSError) as error:
            self._held = None
            if self.refused != (str(error),):
                _log.error("the packet filter is not as it should be: %s", error)
            self.refused = (str(error),)
        else:
            self._held, self.refused = wanted, ()

    async def _look(self, wanted: Firewall) -> None:
        done = await asyncio.to_thread(self._filter.converge, wanted)
        if self._looked:
            self._tell(done, partial(_log.warning, "repairing %s"))
            self.repaired += len(done)
            return
        self._looked = True
        self._tell(done, partial(_log.info, "packet filter: %s"))
        self._tell(await asyncio.to_thread(self._filter.remove_flannel), partial(_log.info, "taken over: %s"))
        self._tell(
            await asyncio.to_thread(self._filter.obstacles, wanted), partial(_log.warning, "pods may not pass: %s")
        )

    def _keep_ports(self) -> None:
        """Quick, unless somebody has changed them: then `nft` writes them anew."""
        done = self._ports.converge()
        if self._ports_looked:
            self._tell(done, partial(_log.warning, "repairing %s"))
            self.repaired += len(done)
        else:
            self._ports_looked = True
            self._tell(done, partial(_log.info, "host ports: %s"))

    @staticmethod
    def _tell(lines: list[str], log: Callable[[str], None]) -> None:
        for line in lines:
            log(line)

    def close(self) -> None:
        """Lets go of the packet filter, and leaves it as it is."""
        self._filter.close()
