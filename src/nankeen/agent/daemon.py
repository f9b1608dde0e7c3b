"""The agent's life: it joins the cluster, follows it, and joins anew when something has changed that the lease was
asked with.

Stopping leaves the kernel as it is, so that pods keep their network; starting compares before it changes anything.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from dataclasses import replace

from nankeen.agent import join, log
from nankeen.agent.fabric import Fabric
from nankeen.agent.follow import RETRY_SECONDS, Follower, Rejoin
from nankeen.agent.join import Membership
from nankeen.agent.means import Means
from nankeen.agent.settings import Settings
from nankeen.cni.server import listening, serve
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.observe import observe
from nankeen.model.errors import NankeenError, RegistryError
from nankeen.registry import Snapshot, open_registry

_log = logging.getLogger("nankeen.agent")


def run(settings: Settings) -> int:
    """Runs an agent until SIGTERM or SIGINT; returns the exit status: 0 when it was told to stop."""
    log.start()
    failure: BaseException | None = None
    try:
        asyncio.run(_run(settings))
    except* (NankeenError, OSError) as group:
        failure = _first(group)
        _log.critical("%s", failure)
    return 1 if failure else 0


async def _run(settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    life = asyncio.ensure_future(_live(settings))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, life.cancel)
    try:
        await life
    except asyncio.CancelledError:
        _log.info("stopped; the kernel keeps its state, and pods their network")


async def _live(settings: Settings) -> None:
    registry = open_registry(settings.registry)
    try:
        with NetlinkSocket() as socket:
            await Agent(Means(settings, registry, socket)).live()
    finally:
        registry.close()


class Agent:
    """One node's agent."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def live(self) -> None:
        """Until cancelled."""
        self._means.tell()
        with listening(self._means.settings.socket) as listener:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(serve(listener, self._means.plugin), name="cni server")
                await self._keep()

    async def _keep(self) -> None:
        membership: Membership | None = None
        while True:
            membership, remembered = await self._join(membership)
            try:
                await Follower(self._means, membership).run(remembered)
            except* Rejoin as again:
                _log.warning("%s: joining again", _first(again))

    async def _join(self, before: Membership | None) -> tuple[Membership, Snapshot | None]:
        """Asks until it is answered: a registry that is away comes back, a configuration is put right."""
        while True:
            try:
                return await self._ask(before)
            except NankeenError as error:
                self._means.not_ready("lease", error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _ask(self, before: Membership | None) -> tuple[Membership, Snapshot | None]:
        """A membership; while the registry is away, the one that the node remembers, with the leases of that time."""
        means = self._means
        observed = observe(means.socket)
        try:
            config = await means.registry.config()
            prepared = join.prepare(means.settings, config, observed, before)
            if before is not None and config.networks == before.config.networks:
                self._build(prepared, before)
            membership, remembered = await join.announce(means.settings, means.registry, prepared), None
        except RegistryError:
            restored = join.restore(means.settings, observed)
            if restored is None:
                raise
            membership, remembered = restored
            _log.warning("the registry is away: the node starts with the leases it remembers")
        self._belong(membership)
        return membership, remembered

    def _build(self, prepared: join.Prepared, before: Membership) -> None:
        """Makes what the new backends receive by, before anybody hears that they can be sent to."""
        node = replace(prepared.node, subnets=before.lease.subnets)
        fabric = Fabric(prepared.backends, node, prepared.bridge)
        fabric.update(before.fabric.leases)
        self._means.claim |= fabric.claim
        self._means.reconciler.build(fabric.state)

    def _belong(self, membership: Membership) -> None:
        fabric, means = membership.fabric, self._means
        means.claim |= fabric.claim
        subnets = tuple(map(str, membership.lease.subnets))
        backend = fabric.backends[0].announces
        _log.info("lease %s by %s on %s, MTU %d", " ".join(subnets), backend, fabric.node.underlay.device, fabric.mtu)
        means.tell(backend=backend, subnets=subnets, mtu=fabric.mtu)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception of a group, however deep."""
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
