"""Following a membership: the kernel is kept equal to the leases, until the node has to join anew.

registry.watch ──▶ Fabric.update ──▶ Reconciler.step ──▶ kernel
kernel events, audits ──────────▶ Reconciler.converge ──▶ kernel
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from contextlib import aclosing

from nankeen.agent import lastknown, status
from nankeen.agent.join import Membership, previous_mtu, routes
from nankeen.agent.lastknown import Remembered
from nankeen.agent.means import Means
from nankeen.agent.reconcile import Cause
from nankeen.agent.underlay import choose, hindrance
from nankeen.backend.admission import Way
from nankeen.cni import install
from nankeen.kernel.monitor import Event, Monitor
from nankeen.kernel.observe import observe
from nankeen.model import subnetenv
from nankeen.model.errors import ConfigError, InputError, KernelError, LeaseError, RegistryError
from nankeen.model.netconf import NetworkConfig
from nankeen.model.state import Address, Link, Route, State, Sysctl
from nankeen.pods.network import PodNetwork
from nankeen.pods.ports import is_loose, replug
from nankeen.pods.resize import resize
from nankeen.registry import Snapshot

RETRY_SECONDS = 1.0
SETTLE_SECONDS = 0.05
"""How long to let further kernel events come before looking: somebody who deletes a device deletes much at once."""
SAVE_SECONDS = 0.001
"""How long, for each lease that there is, to let leases change before all are written to disk again."""
WITHDRAW_SECONDS = 3.0
"""How long a backend that no lease needs any more is kept: peers have to hear what we heard, and packets to arrive."""

_LINES = 20
"""Peers that are logged one by one; of more than these, only their number."""

_log = logging.getLogger("nankeen.agent")


class Rejoin(Exception):  # noqa: N818  (a reason to begin anew, not a failure)
    """Something has changed that the lease was asked with, or the lease itself is gone."""


class Follower:
    """Keeps one membership."""

    def __init__(
        self,
        means: Means,
        membership: Membership,
        tolerated: NetworkConfig | None = None,
        earlier: Remembered | None = None,
    ) -> None:
        """`tolerated` is a configuration that the node cannot follow: it does not end the membership. `earlier` is what
        was heard by others before.
        """
        self.offered: NetworkConfig | None = None
        """The configuration that ended the membership, where that did."""
        self._tolerated = tolerated
        self._means = means
        self._membership = membership
        self._fabric = membership.fabric
        self._damaged: Mapping[str, str] = {}
        self._earlier = earlier
        self._snapshot: Snapshot | None = None
        self._hindered = ""
        self._taken = asyncio.Event()
        self._changed = asyncio.Event()
        self._disturbed = asyncio.Event()

    async def run(self, *, is_alone: bool = False) -> None:
        """Until something is raised: a group with `Rejoin` where the node has to join anew.

        A node that `is_alone`, because the registry is away, begins with what was heard before.
        """
        with Monitor(own_ports=frozenset({self._means.socket.port})) as monitor:
            async with asyncio.TaskGroup() as tasks:
                if is_alone and self._earlier is not None:
                    self._take(self._earlier.snapshot)
                tasks.create_task(self._watch(), name="registry")
                tasks.create_task(self._renew(), name="renewal")
                await self._taken.wait()
                await self._means.guard.settled()
                await self._means.companions.settled()
                self._serve_pods()
                tasks.create_task(self._listen(monitor), name="kernel events")
                tasks.create_task(self._repair(), name="repair")
                tasks.create_task(self._audit(), name="audit")
                tasks.create_task(self._remember(), name="last known leases")
                tasks.create_task(self._withdraw(), name="withdrawal")

    @property
    def remembered(self) -> Remembered | None:
        """What was heard last, also by others before; None where nothing was."""
        if self._snapshot is None:
            return self._earlier
        backends = tuple(run.config for run in self._membership.running)
        return Remembered(self._snapshot, backends, self._fabric.precedence)

    async def _watch(self) -> None:
        """Takes on the leases as they change; the registry may go away and come back meanwhile."""
        away = ""
        while True:
            try:
                async with aclosing(self._means.registry.watch()) as snapshots:
                    async for snapshot in snapshots:
                        if away:
                            _log.info("the registry is back")
                        away = ""
                        self._take(snapshot)
            except (RegistryError, ConfigError) as error:
                if str(error) != away:
                    _log.error("the registry is away, the fabric stays as it is: %s", error)
                away = str(error)
            await asyncio.sleep(RETRY_SECONDS)

    def _take(self, snapshot: Snapshot) -> None:
        """Makes the kernel equal to one snapshot of the registry."""
        fabric = self._fabric
        own = snapshot.leases.get(fabric.node.name)
        if own is None or own.subnets != fabric.node.subnets:
            raise Rejoin("the lease was lost")
        if snapshot.config not in (self._membership.config, self._tolerated):
            self.offered = snapshot.config
            raise Rejoin("the network configuration has changed")
        known = fabric.peers
        before, after = fabric.update(snapshot.leases.values())
        self._snapshot, self._damaged, self._earlier = snapshot, snapshot.rejected, None
        if self._taken.is_set():
            _tell_peers(known, fabric.peers)
            self._means.reconciler.step(before, after, self._means.claim)
            self._means.tell_progress(fabric, self._damaged, snapshot.revision)
        else:
            self._inspect("start")
        self._means.companions.want(fabric.state, self._means.claim)
        self._means.guard.want(fabric.firewall(self._means.settings.traffic))
        self._taken.set()
        self._changed.set()

    def _serve_pods(self) -> None:
        """Opens the node for pods: only now that every peer known is programmed does the runtime find us."""
        settings, node, fabric = self._means.settings, self._fabric.node, self._fabric
        was = previous_mtu(settings)
        if was and resize(self._means.socket, was, fabric.mtu, fabric.gso_max_size):
            _log.info("pods have MTU %d now, they had %d", fabric.mtu, was)
        text = subnetenv.render(self._membership.config, node.subnets, fabric.mtu, ip_masq=settings.ip_masq)
        status.write_atomically(settings.subnet_file, text)
        if settings.cni:
            self._means.plugin.ready(PodNetwork(node.subnets, fabric.mtu, node.networks, fabric.gso_max_size))
            install.install_executable(
                settings.cni_bin_dir,
                socket=str(settings.socket),
                status=str(settings.status_file),
                names=settings.cni_as,
            )
            install.install_conflist(settings.cni_conf_dir)
        else:
            self._means.plugin.not_ready("the agent was started without CNI")
        _log.info("ready, peers: %d", len(fabric.peers))
        self._means.tell(ready=True, reason="")

    async def _listen(self, monitor: Monitor) -> None:
        """Hears what somebody else changes. What we do ourselves is what is desired, and no news."""
        async for events in monitor.batches():
            if any(self._concerns(event) for event in events):
                self._disturbed.set()

    def _concerns(self, event: Event) -> bool:
        if event.kind in (Link, Address, Route) and event.device == self._fabric.node.underlay.device:
            return True
        if isinstance(event.object, Link) and not event.gone and is_loose(event.object):
            return True
        return event.contradicts(self._fabric.state, self._means.claim)

    async def _repair(self) -> None:
        """Puts right what was disturbed, at once."""
        while True:
            await self._disturbed.wait()
            await asyncio.sleep(SETTLE_SECONDS)
            self._disturbed.clear()
            self._inspect("kernel")
            self._means.companions.audit()  # a device that was made anew has to be taken up again

    async def _audit(self) -> None:
        """Looks now and then, because not everything is news: a sysctl can change in silence."""
        while True:
            await asyncio.sleep(self._means.settings.audit_seconds)
            self._means.guard.audit()
            self._means.companions.audit()
            self._inspect("audit")
            if self._tolerated is not None:
                self.offered = self._tolerated
                raise Rejoin("perhaps the newest network configuration can be followed by now")

    def _inspect(self, cause: Cause) -> None:
        """Looks at the whole kernel, and makes it equal to the desired state."""
        fabric = self._fabric
        observed = observe(
            self._means.socket,
            [setting.path for setting in fabric.state.of(Sysctl)],
            policies=self._means.claim.policies,
        )
        self._check_underlay(observed)
        fabric.move(routes(observed, fabric.devices))
        self._means.reconciler.converge(fabric.state, observed, self._means.claim, cause)
        self._replug(observed)
        self._means.tell_progress(self._fabric, self._damaged, self._snapshot.revision if self._snapshot else 0)

    def _replug(self, observed: State) -> None:
        """Puts pods' ports back that somebody has pulled out of the bridge, or whose bridge was made anew."""
        try:
            for name in replug(self._means.socket, observed):
                _log.warning("repairing %s: a pod's port is back in its bridge", name)
                self._means.reconciler.repaired += 1
        except KernelError as error:
            _log.error("a pod's port stays out of its bridge: %s", error)

    def _check_underlay(self, observed: State) -> None:
        node = self._fabric.node
        try:
            underlay = choose(observed, self._means.settings.underlay, node.networks, node.underlay)
        except InputError as error:
            raise Rejoin(str(error)) from error
        if underlay != node.underlay:
            addresses = " ".join(map(str, underlay.addresses))
            raise Rejoin(f"the underlay is now {underlay.device}, {addresses}, MTU {underlay.mtu}")
        self._tell_underlay(hindrance(observed, underlay))

    def _tell_underlay(self, hindered: str) -> None:
        if hindered != self._hindered:
            if hindered:
                _log.warning("the underlay carries nothing: %s", hindered)
            else:
                _log.info("the underlay is back")
            self._hindered = hindered

    async def _renew(self) -> None:
        """Renews the lease before it expires. A reservation does not."""
        lease = self._membership.lease
        while lease.expires is not None:
            margin = self._means.settings.renew_margin * random.uniform(1, 1.1)  # noqa: S311  (spreads those of many)
            due = lease.expires - lead(lease.expires - time.time(), margin)
            while (left := due - time.time()) > 0:  # noqa: ASYNC110  (the clock may be set meanwhile)
                await asyncio.sleep(min(left, 60))
            try:
                lease = await self._means.registry.renew(lease)
                self._means.tell(expires=lease.expires)
            except LeaseError as error:
                raise Rejoin(str(error)) from error
            except RegistryError as error:
                _log.error("the lease could not be renewed: %s", error)
                await asyncio.sleep(60)

    async def _remember(self) -> None:
        """Writes the leases to disk, some time after they changed."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if (remembered := self.remembered) is not None:
                try:
                    lastknown.save(self._means.settings.lease_file, remembered)
                except OSError as error:
                    _log.error("the leases cannot be remembered: %s", error)
            await asyncio.sleep(SAVE_SECONDS * len(remembered.snapshot.leases) if remembered else 0)

    async def _withdraw(self) -> None:
        """Gives up a backend that is on its way out, some time after the last lease needed it."""
        while True:
            outgoing = self._membership.outgoing
            await asyncio.sleep(WITHDRAW_SECONDS)
            if outgoing and self._membership.outgoing == outgoing:
                names = sorted(backend.name for backend in outgoing)
                raise Rejoin(f"no lease needs the former {' or '.join(names)} any more")


def lead(left: float, margin: float) -> float:
    """How long before its expiry a lease with that time `left` is renewed, in seconds: by the margin, but never at
    once, again and again. A lease has a minute to live, or half its time where that is less.
    """
    return min(margin, max(left - 60, left / 2))


def _tell_peers(before: Mapping[str, Way], after: Mapping[str, Way]) -> None:
    """Logs who came, went, or is reached in another way."""
    changed = [name for name in {**before, **after} if before.get(name) is not after.get(name)]
    if len(changed) > _LINES:
        _log.info("%d peers changed, %d in all", len(changed), len(after))
        return
    for name in changed:
        if name not in after:
            _log.info("- %s", name)
        else:
            _log.info("%s %s by %s", "~" if name in before else "+", name, after[name].backend.name)
