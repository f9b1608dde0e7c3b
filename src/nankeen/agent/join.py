"""How a node joins: the facts about it, its backends, its lease, and, while the registry is away, its memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nankeen.agent import lastknown
from nankeen.agent.fabric import Fabric, bridge_address, hardware
from nankeen.agent.settings import Settings
from nankeen.agent.underlay import choose
from nankeen.backend import Backend, Node, open_backend
from nankeen.model import subnetenv
from nankeen.model.address import HardwareAddress, IPNetwork, family_of
from nankeen.model.errors import InputError
from nankeen.model.lease import Lease, Offer
from nankeen.model.netconf import NetworkConfig
from nankeen.model.state import State
from nankeen.registry import Registry, Snapshot


@dataclass(frozen=True, slots=True)
class Membership:
    """A node's place in the cluster: what it was asked with, and what came of it."""

    config: NetworkConfig
    lease: Lease
    fabric: Fabric
    configured: tuple[Backend, ...]
    """The backends that the configuration names; those of the fabric besides are on their way out."""

    @property
    def outgoing(self) -> frozenset[Backend]:
        """Backends that the configuration names no more, and no lease needs any more."""
        return self.fabric.unneeded - set(self.configured)


def configured_backends(config: NetworkConfig) -> tuple[Backend, ...]:
    """The backends that a configuration names. Raises `ConfigError`."""
    return (open_backend(config.backend),)


def kept_backends(before: Membership, configured: Sequence[Backend], node: Node) -> tuple[Backend, ...]:
    """Those of the backends before that are still needed and can stand beside the configured ones, so that nobody loses
    a packet while the cluster moves. One that needs a device of the same name cannot: it is replaced in place.
    """
    taken = frozenset[str]().union(*(backend.devices(node) for backend in configured))
    return tuple(
        backend
        for backend in before.fabric.backends
        if backend not in configured and backend not in before.outgoing and not backend.devices(node) & taken
    )


def describe(settings: Settings, config: NetworkConfig, backends: Sequence[Backend], observed: State) -> Node:
    """The facts about this node, before it has a lease. Raises `InputError`."""
    families = [family_of(network) for network in config.networks]
    node = Node(settings.node, choose(observed, settings.interface, families), config.networks)
    devices = [device for backend in backends for device in backend.devices(node)]
    return replace(node, hardware=hardware(node.name, devices, observed))


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a node is about to ask its lease with."""

    config: NetworkConfig
    configured: tuple[Backend, ...]
    backends: tuple[Backend, ...]
    """The configured ones, and those before that can be kept beside them."""
    node: Node
    bridge: HardwareAddress | None


def prepare(settings: Settings, config: NetworkConfig, observed: State, before: Membership | None = None) -> Prepared:
    """Decides what to ask with. Raises `InputError`."""
    configured = configured_backends(config)
    node = describe(settings, config, configured, observed)
    kept = kept_backends(before, configured, node) if before is not None else ()
    backends = (*configured, *kept)
    node = describe(settings, config, backends, observed)
    return Prepared(config, configured, backends, node, bridge_address(observed))


async def announce(settings: Settings, registry: Registry, prepared: Prepared) -> Membership:
    """Gets the lease, and so tells the peers. Raises `RegistryError`, `LeaseError` and `InputError`."""
    preferred, node = prepared.backends[0], prepared.node
    lease = await registry.acquire(
        node.name,
        preferred.announces,
        preferred.reaches(node),
        previous_subnets(settings),
        [offer(backend, node) for backend in prepared.backends[1:]],
    )
    fabric = Fabric(prepared.backends, replace(node, subnets=lease.subnets), prepared.bridge)
    return Membership(prepared.config, lease, fabric, prepared.configured)


def offer(backend: Backend, node: Node) -> Offer:
    """What the node's lease says of a backend that it receives on besides the preferred one."""
    return Offer(backend.announces, tuple(reach.data for reach in backend.reaches(node)))


def restore(settings: Settings, observed: State) -> tuple[Membership, Snapshot] | None:
    """What the node was part of when the registry was last seen; None where it has no lease that it remembers.

    Raises `InputError`.
    """
    snapshot = lastknown.load(settings.lease_file)
    lease = snapshot.leases.get(settings.node) if snapshot else None
    if snapshot is None or lease is None:
        return None
    configured = configured_backends(snapshot.config)
    node = replace(describe(settings, snapshot.config, configured, observed), subnets=lease.subnets)
    fabric = Fabric(configured, node, bridge_address(observed))
    return Membership(snapshot.config, lease, fabric, configured), snapshot


def previous_subnets(settings: Settings) -> tuple[IPNetwork, ...]:
    """The subnets that an earlier agent, ours or flannel's, left in subnet.env: what to ask for again."""
    try:
        text = settings.subnet_file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(settings.subnet_file)) from error
    return subnetenv.parse(text).subnets
