"""Whether a node's kernel is what the registry asks for: the agent's own comparison, made by somebody else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from nankeen.agent.fabric import Fabric, bridge_address
from nankeen.agent.join import Running, configured, describe
from nankeen.agent.settings import Settings
from nankeen.agent.wish import Wish
from nankeen.backend import Backend, Node, offers
from nankeen.backend.admission import admit
from nankeen.kernel import ability
from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.observe import observe
from nankeen.model.diff import Change, diff
from nankeen.model.errors import LeaseError
from nankeen.model.lease import Lease
from nankeen.model.state import State, Sysctl
from nankeen.registry import Snapshot


def check(
    node: str, interface: str | None, snapshot: Snapshot, namespace: Namespace | None = None
) -> tuple[Change, ...]:
    """What would have to change in a node's namespace; nothing where its agent is in step.

    Raises `LeaseError` where the node has no lease, `InputError` where its underlay or its lease cannot be used, and
    `KernelError`.
    """
    lease = snapshot.leases.get(node)
    if lease is None:
        raise LeaseError("it has no lease", where=node)
    with NetlinkSocket(namespace) as socket:
        running = configured(snapshot.config, partial(ability.lacking, socket))
        settings = Settings(node, "", Wish.parse([interface or ""]))
        fabric = _fabric(settings, running, lease, snapshot, observe(socket))
        observed = observe(socket, _settings(fabric), namespace, policies=fabric.claim.policies)
    return diff(fabric.state, observed, fabric.claim)


def _fabric(
    settings: Settings, running: tuple[Running, ...], lease: Lease, snapshot: Snapshot, observed: State
) -> Fabric:
    """What the node's kernel shall hold, with the hardware addresses that its lease announces."""
    facts = describe(settings, snapshot.config, running, observed)
    known = dict(facts.hardware)
    for run in running:
        if (offered := next(offers(lease, run.backend), None)) is not None:
            known |= run.backend.announced(offered[1])
    backends, node = tuple(run.backend for run in running), replace(facts, subnets=lease.subnets, hardware=known)
    leases = snapshot.leases.values()
    fabric = Fabric(backends, node, bridge_address(observed))
    fabric.update(leases)
    if fabric.rejected:  # of leases that collide, those that the agent admitted first stay
        fabric = Fabric(backends, node, fabric.bridge, _standing(backends, node, leases, observed))
        fabric.update(leases)
    return fabric


def _standing(backends: Sequence[Backend], node: Node, leases: Iterable[Lease], observed: State) -> Iterator[Lease]:
    """The leases that the kernel sends to already."""
    for lease in leases:
        for way in admit(backends, node, [lease]).ways.values():
            if not diff(State(way.objects), observed):
                yield lease


def _settings(fabric: Fabric) -> list[str]:
    return [setting.path for setting in fabric.state.of(Sysctl)]
