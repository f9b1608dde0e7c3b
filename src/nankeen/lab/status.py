"""How a lab is: its nodes with their leases and agents, and its pods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nankeen.agent import instep, status
from nankeen.agent.status import Status
from nankeen.kernel.namespace import Namespace
from nankeen.lab import places, registries
from nankeen.lab.control import ask
from nankeen.lab.lab import Lab, LabNode, LabPod
from nankeen.model.errors import NankeenError
from nankeen.registry import Snapshot


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node."""

    name: str
    addresses: tuple[str, ...]
    lease: tuple[str, ...]
    """Its pod subnets; empty while it has none."""
    agent: str
    """`ready`, or why it is not."""
    peers: int
    rejected: tuple[str, ...] = ()
    """Leases that its agent takes for no peers, and why."""
    differences: tuple[str, ...] | None = None
    """The changes that would bring its kernel to the desired state; None where that was not looked at."""
    notes: tuple[str, ...] = ()
    """What its agent says of itself besides: changes that the kernel refused, what it repaired."""

    @property
    def holds(self) -> bool:
        return self.agent == "ready" and bool(self.lease) and not self.differences


@dataclass(frozen=True, slots=True)
class PodStatus:
    """One pod."""

    name: str
    node: str
    addresses: tuple[str, ...]
    containers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A lab as it is now."""

    name: str
    state: str
    """`running`, `building`, or `dead` where its supervisor was killed."""
    holds: bool
    nodes: tuple[NodeStatus, ...]
    pods: tuple[PodStatus, ...]


def report(lab: Lab) -> Report:
    """Looks at a lab, in whatever state it is. Raises `NankeenError` where it cannot be looked at."""
    state = lab.state
    found = ask(lab, {"do": "differences"}) if state == "running" else {}
    leases = found["leases"] if found else _written(lab)
    differences = found.get("differences", {})
    nodes = tuple(
        _node(node, leases.get(node.name, ()), differences.get(node.name), alive=state != "dead") for node in lab.nodes
    )
    holds = state == "running" and all(node.holds for node in nodes) and all(pod.addresses for pod in lab.pods)
    return Report(lab.name, state, holds, nodes, tuple(map(_pod, lab.pods)))


def differences(lab: Lab) -> dict[str, dict[str, tuple[str, ...]]]:
    """By node, its `leases`, and as `differences` the changes that would bring its kernel to what its lease asks for,
    or why that cannot be told.

    To be called inside the lab.
    """
    try:
        snapshot = registries.snapshot(lab)
    except NankeenError as error:
        return {"leases": {}, "differences": {node.name: (str(error),) for node in lab.nodes}}
    return {"leases": _leases(snapshot), "differences": {node.name: _differences(node, snapshot) for node in lab.nodes}}


def _written(lab: Lab) -> dict[str, tuple[str, ...]]:
    """The leases of a lab that does not run: those in a file."""
    return _leases(registries.snapshot(lab)) if (lab.directory / places.REGISTRY).exists() else {}


def _leases(snapshot: Snapshot) -> dict[str, tuple[str, ...]]:
    return {name: tuple(map(str, lease.subnets)) for name, lease in snapshot.leases.items()}


def _node(node: LabNode, lease: Sequence[str], found: list[str] | None, *, alive: bool) -> NodeStatus:
    told = _told(node)
    if not alive or node.agent is None:
        agent = "dead"
    elif isinstance(told, Status):
        agent = "ready" if told.ready else told.reason
    else:
        agent = told
    return NodeStatus(
        name=node.name,
        addresses=tuple(str(interface.ip) for interface in node.addresses),
        lease=tuple(lease),
        agent=agent,
        peers=told.peers if isinstance(told, Status) else 0,
        rejected=tuple(f"{name}: {why}" for name, why in told.rejected.items()) if isinstance(told, Status) else (),
        differences=None if found is None else tuple(found),
        notes=tuple(_notes(told)) if isinstance(told, Status) else (),
    )


def _notes(told: Status) -> Iterator[str]:
    for refusal in told.refused:
        yield f"the kernel refused {refusal}"
    if told.pending:
        yield f"stays with the configuration before: {told.pending}"
    if told.repaired:
        yield f"repaired what somebody else changed: {told.repaired}"


def _differences(node: LabNode, snapshot: Snapshot) -> tuple[str, ...]:
    try:
        with Namespace.open(node.namespaces.network) as namespace:
            return tuple(map(str, instep.check(node.name, node.interface, snapshot, namespace)))
    except NankeenError as error:
        return (str(error),)


def _told(node: LabNode) -> Status | str:
    try:
        return status.read(node.directory / "run/nankeen/status.json") or "starting"
    except NankeenError as error:
        return str(error)


def _pod(pod: LabPod) -> PodStatus:
    addresses = tuple(str(interface.ip) for interface in pod.addresses)
    return PodStatus(pod.name, pod.node, addresses, tuple(container.name for container in pod.containers))
