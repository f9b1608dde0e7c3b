"""A lab at work: what its supervisor does. It builds a topology, and changes what stands when asked to."""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from ipaddress import ip_interface
from itertools import count
from typing import Any

from nankeen.agent.join import configured
from nankeen.kernel import ability
from nankeen.kernel.namespace import Namespace, entered
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.lab import nodes, pods, record, registries, runtime, sharing, status, underlay
from nankeen.lab.forks import Job, last_words
from nankeen.lab.lab import Lab, LabNode, LabPod
from nankeen.lab.nodes import AGENT_LOG, NodeHome
from nankeen.lab.planned import planned_pod
from nankeen.lab.readiness import Readiness
from nankeen.lab.topology import PodPlan, Topology
from nankeen.model.errors import LabError

Progress = Callable[[str], None]


class Cluster:
    """The running lab. One process, one thread: its supervisor's."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._homes: dict[str, NodeHome] = {}
        self._agents: dict[int, str] = {}
        """The node of each agent that runs, by the agent's number."""

    def build(self, topology: Topology, progress: Progress) -> None:
        """Builds it all; the record says so at the end. Raises `NankeenError` and `OSError`."""
        with NetlinkSocket() as socket:  # said now, and not when every agent has waited for it
            configured(topology.network, partial(ability.lacking, socket))
        registries.prepare(topology)
        progress(f"underlay: {_count(topology.switches, 'switch', 'switches')}, {_count(topology.nodes, 'node')}")
        networks = underlay.build(topology, lambda member: self.lab.member(member).namespaces.network.name)
        self._start_registry(topology, networks)
        for node in self.lab.nodes:
            self._make_home(node, networks[node.name])
        self._start_sandboxes(self.lab.pods)
        progress(f"agents: {topology.network.backend.type}")
        with self._readiness(self.lab.nodes) as readiness:
            for node in self.lab.nodes:  # all in one go: one that starts alone is told of each other as it comes
                self._start_agent(node)
            progress(f"pods: {_count(topology.pods, 'pod')}")
            self._serve_pods(topology.pods, readiness)
        self.lab = replace(self.lab, phase="ready")
        record.save(self.lab)

    def add_pod(self, node: str | None, containers: int, asked: Mapping[str, Any]) -> LabPod:
        """Starts one more pod, on the given node or on the next one in turn, with the arguments of capabilities that it
        asks for. Raises `LabError`.
        """
        taken = {member.name for member in self.lab.members}
        number = next(i for i in count(1) if f"pod{i}" not in taken)
        on = self.lab.node(node) if node else self.lab.nodes[(number - 1) % len(self.lab.nodes)]
        name = f"pod{number}"
        self.lab = self.lab.with_pod(replace(planned_pod(self.lab.name, name, on.name), asked=json.dumps(asked)))
        record.save(self.lab)
        try:
            self._start_sandboxes([self.lab.pod(name)])
            with self._readiness([on]) as readiness:
                self._serve_pods([PodPlan(name, on.name, containers)], readiness)
        except LabError:
            self._drop(name)
            raise
        finally:
            record.save(self.lab)
        return self.lab.pod(name)

    def ask_each_other(self, name: str) -> Any:  # noqa: ANN401 (what JSON can say)
        """The conversations of a pod's containers, and whether they show one pod. Raises `LabError`."""
        pod = self.lab.pod(name)

        def ask() -> object:
            held = sharing.conversations(pod)
            return {"localhost": record.document(held), "shared": sharing.is_shared(pod, held)}

        return Job.start(name, ask, self.lab.directory / f"{name}.log").result()

    def differences(self) -> Any:  # noqa: ANN401 (what JSON can say)
        """By node, what its kernel lacks of what its lease asks for. Raises `LabError`."""
        return Job.start(
            "differences", lambda: status.differences(self.lab), self.lab.directory / "status.log"
        ).result()

    def delete_pod(self, name: str) -> None:
        """Detaches a pod and ends it. Raises `LabError`; what cannot be detached stays."""
        pod = self.lab.pod(name)
        self._at_node(pod.node, f"DEL {name}", lambda: runtime.detach(_network(), pod)).result()
        self._drop(name)
        record.save(self.lab)

    def restart_agent(self, node: str, *, kill: bool = False) -> int:
        """Ends a node's agent, by SIGKILL where it shall have no chance to tidy, and starts it anew."""
        standing = self.lab.node(node)
        for pid, name in list(self._agents.items()):
            if name == node:
                os.kill(pid, signal.SIGKILL if kill else signal.SIGTERM)
                os.waitpid(pid, 0)
                del self._agents[pid]
        self._start_agent(standing)
        record.save(self.lab)
        return self.lab.node(node).agent or 0

    def reap(self) -> None:
        """Takes note of processes that have ended."""
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for server in self.lab.servers:
                if server.pid == pid:
                    self.lab = self.lab.with_server(replace(server, pid=None))
                    record.save(self.lab)
            if pid in self._agents:
                self._note_agent(self.lab.node(self._agents.pop(pid)), None)
                record.save(self.lab)

    def _start_registry(self, topology: Topology, networks: Mapping[str, Namespace]) -> None:
        """Node i gets the i-th subnet, whichever agent is first."""
        for server in self.lab.servers:
            pid = registries.start(server, networks[server.name])
            self.lab = self.lab.with_server(replace(server, pid=pid))
        record.save(self.lab)
        network = networks[self.lab.servers[0].name] if self.lab.servers else None

        def fill() -> None:
            with entered(network):
                registries.fill(topology, self.lab.registry)

        keep = () if network is None else (network.descriptor,)
        Job.start("registry", fill, self.lab.directory / "registry.log", keep).result()

    def _make_home(self, node: LabNode, network: Namespace) -> None:
        home = self._homes[node.name] = NodeHome.make(node.name, node.directory, network)
        self.lab = self.lab.with_node(replace(node, namespaces=home.namespaces(node.namespaces.network)))

    def _start_agent(self, node: LabNode) -> None:
        self._note_agent(node, nodes.start_agent(self._homes[node.name], self.lab.registry, node.interface))

    def _note_agent(self, node: LabNode, pid: int | None) -> None:
        if pid is not None:
            self._agents[pid] = node.name
        self.lab = self.lab.with_node(replace(node, agent=pid))

    def _start_sandboxes(self, planned: Sequence[LabPod]) -> None:
        for pod in pods.start_sandboxes(planned, self.lab.directory):
            self.lab = self.lab.with_pod(pod)

    def _readiness(self, nodes: Sequence[LabNode]) -> Readiness:
        return Readiness(nodes, len(self.lab.nodes) - 1)

    def _serve_pods(self, plans: Sequence[PodPlan], readiness: Readiness) -> None:
        """Attaches pods, all nodes at once, starts their containers, and waits until those nodes have their routes."""
        planned = {plan.name: plan.containers for plan in plans}
        starting: list[tuple[LabPod, list[pods.Starting]]] = []
        for results in self._attach(planned, readiness):
            for name, result in results.items():
                pod = self._note_attachment(self.lab.pod(name), result)
                starting.append((pod, pods.start_containers(pod, planned[name], self.lab.directory)))
        for pod, containers in starting:
            self.lab = self.lab.with_pod(replace(pod, containers=tuple(pods.await_start(c) for c in containers)))

    def _attach(self, planned: Collection[str], readiness: Readiness) -> Iterator[dict[str, Any]]:
        """The results by pod, of each node as it comes. Raises `LabError`, also where an agent ends meanwhile."""
        agents = {os.pidfd_open(pid): node for pid, node in self._agents.items()}
        jobs: dict[int, Job] = {}
        try:
            while True:
                for node, network in readiness.look():
                    if own := [pod for pod in self.lab.pods if pod.node == node.name and pod.name in planned]:
                        job = self._at_node(node.name, node.name, partial(_attach_all, network, own))
                        jobs[job.answer] = job
                if readiness.complete and not jobs:
                    return
                for descriptor in _readable([readiness.fileno(), *agents, *jobs], readiness.milliseconds_left or None):
                    if descriptor in agents:
                        self._complain_of_agent(agents[descriptor])
                    if descriptor in jobs:
                        yield jobs.pop(descriptor).result()
        finally:
            for descriptor in (*agents, *jobs):
                os.close(descriptor)

    def _complain_of_agent(self, node: str) -> None:
        raise LabError(f"its agent ended: {last_words(self.lab.node(node).directory / AGENT_LOG)}", where=node)

    def _note_attachment(self, pod: LabPod, result: dict[str, Any]) -> LabPod:
        addresses = tuple(ip_interface(address) for address in runtime.addresses(result))
        attached = replace(pod, addresses=addresses, result=json.dumps(result))
        self.lab = self.lab.with_pod(attached)
        return attached

    def _at_node(self, node: str, what: str, work: Callable[[], object]) -> Job:
        home = self._homes[node]

        def enter_and_work() -> object:
            home.enter()
            return work()

        return Job.start(what, enter_and_work, self.lab.directory / f"{node}/runtime.log", keep=home.descriptors)

    def _drop(self, name: str) -> None:
        for pod in self.lab.pods:
            if pod.name == name:
                pods.stop(pod)
        self.lab = self.lab.without_pod(name)


def _attach_all(network: runtime.NetworkList, pods: Sequence[LabPod]) -> dict[str, Any]:
    """In a node: what its runtime does, and the results by pod."""
    return {pod.name: runtime.attach(network, pod) for pod in pods}


def _readable(descriptors: Iterable[int], milliseconds: int | None) -> list[int]:
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(milliseconds)]


def _network() -> runtime.NetworkList:
    network = runtime.find_network()
    if network is None:
        raise LabError("there is no network configuration list", where=str(runtime.CONFIG_DIRECTORY))
    return network


def _count(items: Sequence[object], singular: str, plural: str = "") -> str:
    return f"{len(items)} {singular if len(items) == 1 else plural or singular + 's'}"
