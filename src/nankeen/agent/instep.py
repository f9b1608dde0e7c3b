"""Whether a node's kernel is what the registry asks for: the agent's own comparison, made by somebody else."""

from __future__ import annotations

from dataclasses import replace

from nankeen.agent.fabric import Fabric, bridge_address
from nankeen.agent.underlay import choose
from nankeen.backend import Node, open_backend
from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.observe import observe
from nankeen.model.address import family_of
from nankeen.model.diff import Change, diff
from nankeen.model.errors import LeaseError
from nankeen.model.state import Sysctl
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
        observed = observe(socket)
        families = [family_of(network) for network in snapshot.config.networks]
        backend = open_backend(snapshot.config.backend)
        facts = Node(node, choose(observed, interface, families), snapshot.config.networks, lease.subnets)
        facts = replace(facts, hardware=backend.announced(lease))
        fabric = Fabric((backend,), facts, bridge_address(observed))
        fabric.update(snapshot.leases.values())
        desired = fabric.state
        observed = observe(socket, [setting.path for setting in desired.of(Sysctl)], namespace)
    return diff(desired, observed, fabric.claim)
