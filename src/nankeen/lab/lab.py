"""What stands: a lab, its nodes and its pods, as values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nankeen.lab import places
from nankeen.lab.process import Process
from nankeen.model.address import IPInterface
from nankeen.model.errors import LabError

Phase = Literal["building", "ready"]


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Where the namespaces of one member are. The paths hold inside the lab (`enter_lab`, then its PID namespace).

    That of `network` holds on the whole machine where the lab is root's: `ip netns` lists it.
    """

    network: Path
    mount: Path | None = None
    uts: Path | None = None
    ipc: Path | None = None


@dataclass(frozen=True, slots=True)
class LabSwitch:
    """An Ethernet switch of the underlay: a bridge in a namespace of its own."""

    name: str
    namespaces: Namespaces


@dataclass(frozen=True, slots=True)
class LabRouter:
    """A router between switches."""

    name: str
    namespaces: Namespaces
    addresses: tuple[IPInterface, ...] = ()


@dataclass(frozen=True, slots=True)
class LabServer:
    """Who serves the registry: an etcd with a network of its own, on the first switch."""

    name: str
    namespaces: Namespaces
    addresses: tuple[IPInterface, ...]
    directory: Path
    """Its data and its log."""
    pid: int | None = None
    """Its number in the lab's PID namespace."""


@dataclass(frozen=True, slots=True)
class LabNode:
    """A node: a network, mount and UTS namespace, in which an agent runs."""

    name: str
    namespaces: Namespaces
    interface: str
    """The underlay device."""
    addresses: tuple[IPInterface, ...]
    """Of the underlay device; IPv4 first."""
    directory: Path
    """Its files as the machine sees them: `agent.log`, and what it has under /run and /etc."""
    agent: int | None = None
    """The agent's number in the lab's PID namespace."""


@dataclass(frozen=True, slots=True)
class LabContainer:
    """A container of a pod: its own mounts and processes, the pod's network, IPC and UTS namespaces."""

    name: str
    pid: int
    """Its number in the lab's PID namespace; it is the first process of its own."""
    port: int
    """The TCP port on which it says who it is and whom it sees."""


@dataclass(frozen=True, slots=True)
class LabPod:
    """A pod: the namespaces of its pause process, and what its node's network gave it."""

    name: str
    node: str
    namespaces: Namespaces
    sandbox: str
    """The container ID that CNI knows it by."""
    addresses: tuple[IPInterface, ...] = ()
    containers: tuple[LabContainer, ...] = ()
    result: str = ""
    """What the last plugin answered to ADD, as JSON: the previous result of a later DEL. Empty until it is attached."""
    asked: str = "{}"
    """The arguments of capabilities that it was started with, as JSON."""


Member = LabSwitch | LabRouter | LabServer | LabNode | LabPod
"""Whoever has a network namespace in a lab."""


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab as it stands."""

    name: str
    directory: Path
    rootless: bool
    network: str
    """The network configuration, as JSON in flannel's spelling."""
    phase: Phase = "building"
    supervisor: Process | None = None
    """As the machine sees it. None before it was started."""
    switches: tuple[LabSwitch, ...] = ()
    routers: tuple[LabRouter, ...] = ()
    nodes: tuple[LabNode, ...] = ()
    servers: tuple[LabServer, ...] = ()
    pods: tuple[LabPod, ...] = ()

    @property
    def is_alive(self) -> bool:
        """Whether its supervisor runs."""
        return self.supervisor is not None and self.supervisor.is_alive

    @property
    def state(self) -> Literal["running", "building", "dead"]:
        """In a word; `dead` where its supervisor was killed."""
        if not self.is_alive:
            return "dead"
        return "running" if self.phase == "ready" else "building"

    @property
    def registry(self) -> str:
        """The registry that its agents share."""
        if not self.servers:
            return f"sqlite://{self.directory / places.REGISTRY}"
        address = self.servers[0].addresses[0].ip
        return f"etcd://{address if address.version == 4 else f'[{address}]'}:{places.ETCD_PORT}{places.ETCD_PREFIX}"

    @property
    def members(self) -> tuple[Member, ...]:
        return (*self.switches, *self.routers, *self.servers, *self.nodes, *self.pods)

    def member(self, name: str) -> Member:
        """The member of that name. Raises `LabError`."""
        for member in self.members:
            if member.name == name:
                return member
        remedy = f"see `nankeen lab status --name {self.name}`"
        raise LabError(f"there is no {name!r} in it", where=f"lab {self.name}", remedy=remedy)

    def pod(self, name: str) -> LabPod:
        """The pod of that name. Raises `LabError`."""
        member = self.member(name)
        if not isinstance(member, LabPod):
            raise LabError(f"{name!r} is no pod", where=f"lab {self.name}")
        return member

    def node(self, name: str) -> LabNode:
        """The node of that name. Raises `LabError`."""
        member = self.member(name)
        if not isinstance(member, LabNode):
            raise LabError(f"{name!r} is no node", where=f"lab {self.name}")
        return member

    def with_pod(self, pod: LabPod) -> Lab:
        """The lab with that pod, in place of one of the same name."""
        names = [other.name for other in self.pods]
        if pod.name not in names:
            return replace(self, pods=(*self.pods, pod))
        return replace(self, pods=tuple(pod if other.name == pod.name else other for other in self.pods))

    def with_node(self, node: LabNode) -> Lab:
        """The lab with that node in place of the one of the same name."""
        return replace(self, nodes=tuple(node if other.name == node.name else other for other in self.nodes))

    def with_server(self, server: LabServer) -> Lab:
        """The lab with that server in place of the one of the same name."""
        return replace(self, servers=tuple(server if other.name == server.name else other for other in self.servers))

    def without_pod(self, name: str) -> Lab:
        """The lab without that pod."""
        return replace(self, pods=tuple(pod for pod in self.pods if pod.name != name))
