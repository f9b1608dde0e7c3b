"""The agent's life: a lease, then one loop that keeps the kernel equal to what all leases ask for.

    registry.watch ──▶ Fabric.update ──▶ Reconciler.step ──▶ kernel
    kernel events, audits ──────────▶ Reconciler.converge ──▶ kernel

Stopping leaves the kernel as it is, so that pods keep their network; starting compares before it changes anything.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from nankeen.agent import log, status
from nankeen.agent.fabric import Fabric, bridge_address, hardware
from nankeen.agent.reconcile import Cause, Reconciler
from nankeen.agent.settings import Settings
from nankeen.agent.status import Status
from nankeen.agent.underlay import choose
from nankeen.backend import Node, open_backend
from nankeen.cni import install
from nankeen.cni.server import listening, serve
from nankeen.kernel.monitor import Event, Monitor
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.observe import observe
from nankeen.model import subnetenv
from nankeen.model.address import IPNetwork, family_of
from nankeen.model.diff import Claim
from nankeen.model.errors import InputError, LeaseError, NankeenError, RegistryError
from nankeen.model.lease import Lease
from nankeen.model.netconf import NetworkConfig
from nankeen.model.state import State, Sysctl
from nankeen.pods.network import PodNetwork
from nankeen.pods.plugin import Plugin
from nankeen.registry import Registry, Snapshot, open_registry

RENEW_MARGIN = 3600.0
"""Seconds before its expiry that a lease is renewed: flannel's 60 minutes."""
RETRY_SECONDS = 1.0
SETTLE_SECONDS = 0.05
"""How long to let further kernel events come before looking: somebody who deletes a device deletes much at once."""

_log = logging.getLogger("nankeen.agent")
_T = TypeVar("_T")


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
            await Agent(settings, registry, socket).live()
    finally:
        registry.close()


class Agent:
    """One node's agent."""

    def __init__(self, settings: Settings, registry: Registry, socket: NetlinkSocket) -> None:
        self._settings = settings
        self._registry = registry
        self._socket = socket
        self._reconciler = Reconciler(socket)
        self._status = Status(settings.node)
        self._plugin = Plugin(settings.cni_data_dir / "networks")
        self._claim = Claim()
        self._damaged: Mapping[str, str] = {}

    async def live(self) -> None:
        """Until cancelled."""
        self._tell()
        with listening(self._settings.socket) as listener:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(serve(listener, self._plugin), name="cni server")
                await self._keep()

    async def _keep(self) -> None:
        """Joins the fabric and follows it; joins again when something has changed that the lease was asked with."""
        while True:
            config = await self._patiently("network configuration", self._registry.config)
            fabric, lease = await self._patiently("lease", partial(self._join, config))
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._renew(lease), name="renewal")
                    await self._follow(fabric, config)
            except* _Rejoin as again:
                _log.warning("%s: joining again", _first(again))

    async def _patiently(self, what: str, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Asks until it is answered: a registry that is away comes back, a configuration is put right."""
        while True:
            try:
                return await ask()
            except NankeenError as error:
                if str(error) != self._status.reason:
                    _log.error("no %s: %s", what, error)
                    self._plugin.not_ready(str(error))
                    self._tell(ready=False, reason=str(error))
            await asyncio.sleep(RETRY_SECONDS)

    async def _join(self, config: NetworkConfig) -> tuple[Fabric, Lease]:
        """Announces the node and gets its subnets."""
        observed = observe(self._socket)
        backend = open_backend(config.backend)
        families = [family_of(network) for network in config.networks]
        node = Node(self._settings.node, choose(observed, self._settings.interface, families), config.networks)
        node = replace(node, hardware=hardware(node.name, backend.devices(node), observed))
        lease = await self._registry.acquire(node.name, backend.announces, backend.reaches(node), self._previous())
        fabric = Fabric(backend, replace(node, subnets=lease.subnets), bridge_address(observed))
        self._claim |= fabric.claim
        _log.info(
            "lease %s by %s on %s, MTU %d",
            " ".join(map(str, lease.subnets)), backend.announces, node.underlay.device, fabric.mtu,
        )  # fmt: skip
        self._tell(backend=backend.announces, subnets=tuple(map(str, lease.subnets)), mtu=fabric.mtu)
        return fabric, lease

    def _previous(self) -> tuple[IPNetwork, ...]:
        """The subnets that an earlier agent, ours or flannel's, left in subnet.env."""
        try:
            return subnetenv.parse(self._settings.subnet_file.read_text(encoding="utf-8", errors="replace")).subnets
        except FileNotFoundError:
            return ()

    async def _follow(self, fabric: Fabric, config: NetworkConfig) -> None:
        """Keeps the kernel equal to the leases, until something has changed that the lease was asked with."""
        with Monitor(own_ports=frozenset({self._socket.port})) as monitor:
            async with asyncio.TaskGroup() as tasks:
                first = asyncio.Event()
                tasks.create_task(self._watch(fabric, config, first), name="registry")
                await first.wait()
                self._serve_pods(fabric, config)
                tasks.create_task(self._repair(fabric, monitor), name="kernel events")
                tasks.create_task(self._audit(fabric), name="audit")

    async def _watch(self, fabric: Fabric, config: NetworkConfig, first: asyncio.Event) -> None:
        """Takes on the leases as they change; the registry may go away and come back meanwhile."""
        while True:
            try:
                async for snapshot in self._registry.watch():
                    self._take(snapshot, fabric, config, start=not first.is_set())
                    first.set()
            except RegistryError as error:
                _log.error("the registry is away, the fabric stays as it is: %s", error)
            await asyncio.sleep(RETRY_SECONDS)

    def _take(self, snapshot: Snapshot, fabric: Fabric, config: NetworkConfig, *, start: bool) -> None:
        """Makes the kernel equal to one snapshot of the registry."""
        own = snapshot.leases.get(self._settings.node)
        if own is None or own.subnets != fabric.node.subnets:
            raise _Rejoin("the lease was lost")
        if snapshot.config != config:
            raise _Rejoin("the network configuration has changed")
        before, after = fabric.update(snapshot.leases.values())
        self._damaged = snapshot.rejected
        if start:
            self._inspect(fabric, "start")
        elif before or after:
            self._reconciler.step(before, after, self._claim)
        self._tell_progress(fabric)
        self._tell(revision=snapshot.revision)

    def _serve_pods(self, fabric: Fabric, config: NetworkConfig) -> None:
        """Opens the node for pods: only now that every peer known is programmed does the runtime find us."""
        settings = self._settings
        text = subnetenv.render(config, fabric.node.subnets, fabric.mtu, ip_masq=settings.ip_masq)
        status.write_atomically(settings.subnet_file, text)
        self._plugin.ready(PodNetwork(fabric.node.subnets, fabric.mtu, fabric.node.networks))
        install.install_executable(settings.cni_bin_dir, socket=str(settings.socket))
        install.install_conflist(settings.cni_conf_dir)
        _log.info("ready: %d peers", len(fabric.peers))
        self._tell(ready=True, reason="")

    async def _repair(self, fabric: Fabric, monitor: Monitor) -> None:
        """Puts right at once what somebody else changes."""
        async for events in monitor.batches():
            if not any(self._concerns(event, fabric) for event in events):
                continue
            await asyncio.sleep(SETTLE_SECONDS)
            self._inspect(fabric, "kernel")

    async def _audit(self, fabric: Fabric) -> None:
        """Looks now and then, because not everything is news: a sysctl can change in silence."""
        while True:
            await asyncio.sleep(self._settings.audit_seconds)
            self._inspect(fabric, "audit")

    def _inspect(self, fabric: Fabric, cause: Cause) -> None:
        """Looks at the whole kernel, and makes it equal to the desired state."""
        desired = fabric.state
        observed = observe(self._socket, [setting.path for setting in desired.of(Sysctl)])
        self._check_underlay(observed, fabric.node)
        self._reconciler.converge(desired, observed, self._claim, cause)
        self._tell_progress(fabric)

    def _check_underlay(self, observed: State, node: Node) -> None:
        try:
            underlay = choose(observed, self._settings.interface, node.families)
        except InputError as error:
            raise _Rejoin(str(error)) from error
        if underlay != node.underlay:
            raise _Rejoin(f"the underlay has changed: {underlay}")

    def _concerns(self, event: Event, fabric: Fabric) -> bool:
        devices = fabric.claim.devices | {fabric.node.underlay.device}
        return event.kind in (None, Sysctl) or event.device in devices

    async def _renew(self, lease: Lease) -> None:
        """Renews the lease before it expires. A reservation does not."""
        while lease.expires is not None:
            due = lease.expires - RENEW_MARGIN * random.uniform(1, 1.1)  # noqa: S311  (spreads the renewals of many nodes)
            while (left := due - time.time()) > 0:  # noqa: ASYNC110  (the clock may be set meanwhile)
                await asyncio.sleep(min(left, 60))
            try:
                lease = await self._registry.renew(lease)
            except LeaseError as error:
                raise _Rejoin(str(error)) from error
            except RegistryError as error:
                _log.error("the lease could not be renewed: %s", error)
                await asyncio.sleep(60)

    def _tell_progress(self, fabric: Fabric) -> None:
        rejected = {**self._damaged, **fabric.rejected}
        for node, reason in rejected.items():
            if self._status.rejected.get(node) != reason:
                _log.warning("the lease of %s is refused: %s", node, reason)
        self._tell(
            peers=len(fabric.peers),
            rejected=rejected,
            refused=tuple(map(str, self._reconciler.refused)),
            repaired=self._reconciler.repaired,
        )

    def _tell(self, **news: Any) -> None:  # noqa: ANN401  (fields of Status)
        """Brings the status file up to date."""
        told = replace(self._status, **news)
        if told != self._status or not self._settings.status_file.exists():
            self._status = told
            status.write(self._settings.status_file, told)


class _Rejoin(Exception):  # noqa: N818  (a reason to begin anew, not a failure)
    """Something has changed that the lease was asked with, or the lease itself is gone."""


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception of a group, however deep."""
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
