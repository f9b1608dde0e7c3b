"""The agent's life: it joins the cluster, follows it, and joins anew when something has changed that the lease was
asked with.

Stopping leaves the kernel as it is, so that pods keep their network; starting compares before it changes anything.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

from nankeen.agent import health, join, lastknown, log
from nankeen.agent.follow import RETRY_SECONDS, Follower, Rejoin
from nankeen.agent.join import Membership, Prepared, Running
from nankeen.agent.lastknown import Remembered
from nankeen.agent.means import Means
from nankeen.agent.settings import Settings
from nankeen.backend import Underlay
from nankeen.cni.server import listening, serve
from nankeen.kernel import ability
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.observe import observe
from nankeen.model.errors import InputError, LeaseError, NankeenError, RegistryError
from nankeen.model.lease import Lease
from nankeen.model.netconf import NetworkConfig
from nankeen.registry import open_registry

_YOUNG = 50_000
"""Objects that are made before the collector looks for cycles among them. Leases and states are thousands of values
without any: to look at them as often as Python does by itself takes a twelfth of a start with 5,000 peers.
"""

_log = logging.getLogger("nankeen.agent")


def run(settings: Settings) -> int:
    """Runs an agent until SIGTERM or SIGINT; returns the exit status: 0 when it was told to stop."""
    log.start(settings.log_level)
    gc.set_threshold(_YOUNG)
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
            means = Means(settings, registry, socket)
            with closing(means.guard), closing(means.plugin):
                try:
                    await Agent(means).live()
                finally:
                    means.manager.stopping()
    finally:
        registry.close()


class Agent:
    """One node's agent."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def live(self) -> None:
        """Until cancelled."""
        settings = self._means.settings
        with listening(settings.socket) as listener:
            self._means.tell()  # only now: another agent of this node may tell its own state there
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(serve(listener, self._means.plugin), name="cni server")
                tasks.create_task(self._means.guard.keep(), name="packet filter")
                tasks.create_task(self._means.companions.keep(), name="companions")
                if settings.health_port:
                    probes = health.listen(settings.health_address, settings.health_port)
                    pages = health.pages(lambda: self._means.status, self._means.collectors)
                    tasks.create_task(health.serve(probes, pages), name="probes")
                await self._keep()

    async def _keep(self) -> None:
        remembered = self._recall()
        running = join.ran(remembered)
        membership: Membership | None = None
        offered: NetworkConfig | None = None
        while True:
            membership, is_alone, tolerated = await self._join(membership, running, remembered, offered)
            follower, joined = Follower(self._means, membership, tolerated, remembered), time.monotonic()
            remembered = None  # the follower has it until he hears of newer leases: then it is in nobody's way
            try:
                await follower.run(is_alone=is_alone)
            except* Rejoin as again:
                _log.warning("%s: joining again", _first(again))
            remembered, offered = follower.remembered, follower.offered
            await asyncio.sleep(joined + RETRY_SECONDS - time.monotonic())  # not in a storm, whoever causes it
            running = tuple(run for run in membership.running if run.backend not in membership.outgoing)

    def _recall(self) -> Remembered | None:
        try:
            return lastknown.load(self._means.settings.lease_file)
        except InputError as error:
            _log.error("%s", error)
            return None

    async def _join(
        self,
        before: Membership | None,
        running: Sequence[Running],
        remembered: Remembered | None,
        offered: NetworkConfig | None,
    ) -> tuple[Membership, bool, NetworkConfig | None]:
        """Asks until it is answered: a registry that is away comes back, a configuration is put right. Also says
        whether the membership is the remembered one, for want of a registry.

        Where a configuration that was `offered` to a running node cannot be followed, the node stays what it is: the
        membership before comes back, with that configuration, which is to be tolerated.
        """
        while True:
            try:
                membership, is_alone = await self._ask(before, running, remembered)
            except NankeenError as error:
                if before is not None and offered is not None:
                    if str(error) != self._means.status.pending:
                        _log.error("the node stays as it is, and cannot follow the new configuration: %s", error)
                    self._means.tell(pending=str(error))
                    return before, False, offered
                self._means.not_ready("lease", error)
            else:
                self._means.tell(pending="")
                return membership, is_alone, None
            await asyncio.sleep(RETRY_SECONDS)

    async def _ask(
        self, before: Membership | None, running: Sequence[Running], remembered: Remembered | None
    ) -> tuple[Membership, bool]:
        """A membership, and whether it is, while the registry is away, the one that the node remembers."""
        means, is_alone = self._means, False
        try:
            underlay = before.fabric.node.underlay if before else None
            prepared = await self._prepare(await means.registry.config(), running, underlay)
            prepared = replace(prepared, standing=_standing(before, remembered))
            if before is not None and prepared.config.networks == before.config.networks:
                await self._build(prepared, before)
            membership = await join.announce(means.settings, means.registry, prepared)
        except LeaseError:
            raise
        except RegistryError:
            snapshot = remembered.snapshot if remembered else None
            lease = snapshot.leases.get(means.settings.node) if snapshot else None
            if snapshot is None or lease is None:
                raise
            prepared = replace(await self._prepare(snapshot.config, running), standing=_standing(before, remembered))
            membership, is_alone = prepared.with_lease(lease), True
            _log.warning("the registry is away: the node starts with the leases it remembers")
        means.claim |= join.left_behind(remembered, prepared)
        await means.companions.begin(membership.fabric.backends, membership.fabric.node)
        self._belong(membership)
        return membership, is_alone

    async def _prepare(
        self, config: NetworkConfig, running: Sequence[Running], underlay: Underlay | None = None
    ) -> Prepared:
        means = self._means
        lacking = partial(ability.lacking, means.socket)
        prepared = join.prepare(means.settings, config, observe(means.socket), lacking, running, underlay)
        backends = [run.backend for run in prepared.running]
        return replace(prepared, node=await means.companions.prepare(backends, prepared.node))

    async def _build(self, prepared: Prepared, before: Membership) -> None:
        """Makes what the new backends receive by, before anybody hears that they can be sent to."""
        fabric = prepared.fabric(before.lease.subnets)
        fabric.update(before.fabric.leases)
        self._means.claim |= fabric.claim
        self._means.reconciler.build(fabric.state, fabric.claim)
        await self._means.companions.receive(fabric.state)

    def _belong(self, membership: Membership) -> None:
        fabric, means = membership.fabric, self._means
        means.claim |= fabric.claim
        subnets = tuple(map(str, membership.lease.subnets))
        backend = fabric.backends[0].name
        _log.info("lease %s by %s on %s, MTU %d", " ".join(subnets), backend, fabric.node.underlay.device, fabric.mtu)
        means.tell(backend=backend, subnets=subnets, mtu=fabric.mtu, expires=membership.lease.expires)


def _standing(before: Membership | None, remembered: Remembered | None) -> tuple[Lease, ...]:
    """The peers until now, or, at the start, those of an earlier agent."""
    if before is not None:
        return before.fabric.precedence
    return remembered.standing if remembered else ()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception of a group, however deep."""
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
