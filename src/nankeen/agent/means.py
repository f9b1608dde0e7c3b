"""What an agent works with, made once: its settings, the registry, the kernel, the pods' plugin, and its report."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from nankeen.agent import status
from nankeen.agent.companions import Companions
from nankeen.agent.fabric import Fabric
from nankeen.agent.guard import Guard
from nankeen.agent.notify import ServiceManager
from nankeen.agent.reconcile import Reconciler
from nankeen.agent.settings import Settings
from nankeen.agent.status import Status
from nankeen.agent.tunnel import DataPath
from nankeen.cni import install
from nankeen.kernel.companion import Places
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.diff import NOTHING, Claim
from nankeen.model.printable import LONGEST_NAME, printable
from nankeen.pods.plugin import Plugin
from nankeen.registry import Registry
from nankeen.tunnel.control import SOCKET

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from nankeen.agent.metrics import Collector

_LINES = 20
"""Refused leases that are logged one by one."""

_log = logging.getLogger("nankeen.agent")


@dataclass(slots=True)
class Means:
    """One agent's means, and the status that it tells."""

    settings: Settings
    registry: Registry
    socket: NetlinkSocket
    reconciler: Reconciler = field(init=False)
    plugin: Plugin = field(init=False)
    guard: Guard = field(init=False)
    companions: Companions = field(init=False)
    claim: Claim = NOTHING
    """What has ever been ours since the agent started: what is not desired any more is removed."""
    status: Status = field(init=False)
    manager: ServiceManager = field(init=False)
    collectors: list[Collector] = field(init=False)
    """What `/metrics` tells: whoever counts something adds his own."""

    def __post_init__(self) -> None:
        self.reconciler = Reconciler(self.socket)
        directory = self.settings.status_file.parent
        places = replace(Places.of(os.environ), record=directory / "extension")
        data_path = DataPath(self.socket, directory / SOCKET.name, directory / "tunnel.log")
        self.companions = Companions(self.socket, places, data_path)
        self.plugin = Plugin(self.settings.pod_addresses, ports=directory / "ports")
        self.guard = Guard(self.plugin.host_ports)
        self.status = Status(self.settings.node)
        self.manager = ServiceManager(os.environ.get("NOTIFY_SOCKET", ""))
        self.collectors = [self._count]

    def tell(self, **news: Any) -> None:  # noqa: ANN401  (fields of Status)
        """Brings the status file up to date. Raises `OSError`."""
        told = replace(self.status, **news)
        if told != self.status or not self.settings.status_file.exists():
            self.status = told
            status.write(self.settings.status_file, told)
            self.manager.tell(ready=told.ready, status=str(told))

    def tell_progress(self, fabric: Fabric, damaged: Mapping[str, str], revision: int) -> None:
        """Tells how far the fabric stands; `damaged` are entries of the registry that are no leases."""
        rejected = {
            printable(node, LONGEST_NAME): printable(reason) for node, reason in {**damaged, **fabric.rejected}.items()
        }
        self._tell_rejected({node: why for node, why in rejected.items() if self.status.rejected.get(node) != why})
        self.tell(
            peers=len(fabric.peers),
            rejected=rejected,
            refused=(*map(str, self.reconciler.refused), *self.guard.refused, *self.companions.refused),
            repaired=self.reconciler.repaired + self.guard.repaired,
            revision=revision,
        )

    def _count(self) -> Iterable[Metric]:
        from nankeen.agent.metrics import of_data_path, of_status  # noqa: PLC0415  (its library costs memory)

        yield from of_status(self.status)
        if (report := self.companions.report()) is not None:
            yield from of_data_path(report)

    @staticmethod
    def _tell_rejected(news: Mapping[str, str]) -> None:
        for node, reason in islice(news.items(), _LINES):
            _log.error("the lease of %s is refused: %s", node, reason)
        if len(news) > _LINES:
            _log.error("and %d more: the status file names them all", len(news) - _LINES)

    def not_ready(self, what: str, error: Exception) -> None:
        """Tells, once, what keeps the agent from being ready."""
        if printable(str(error)) != self.status.reason:
            _log.error("no %s: %s", what, error)
            self.plugin.not_ready(str(error))
            if self.settings.cni:
                self._withdraw()
            self.tell(ready=False, reason=printable(str(error)))

    def _withdraw(self) -> None:
        """Takes the CNI configuration away: a runtime that asks nobody for the STATUS starts no pods meanwhile."""
        try:
            install.remove_conflist(self.settings.cni_conf_dir)
        except OSError as failure:
            _log.error("the CNI configuration stays: %s", failure)
