"""How a node joins: the facts about it, its backends, its lease, and, while the registry is away, its memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from nankeen import backend as backends
from nankeen.agent.fabric import Fabric, bridge_address, hardware
from nankeen.agent.lastknown import Remembered
from nankeen.agent.settings import Settings
from nankeen.agent.underlay import choose
from nankeen.backend import Backend, Node, Underlay, open_backend
from nankeen.backend.routing import RouteTable
from nankeen.kernel.ability import lack
from nankeen.model import subnetenv
from nankeen.model.address import HardwareAddress, IPNetwork
from nankeen.model.diff import Claim
from nankeen.model.errors import ConfigError, InputError, KernelError
from nankeen.model.lease import Lease, Offer
from nankeen.model.leasevalue import MOST_OFFERS
from nankeen.model.netconf import BackendConfig, NetworkConfig
from nankeen.model.state import PROTOCOL_NANKEEN, Route, State
from nankeen.model.subnetenv import SubnetEnv
from nankeen.pods.network import BRIDGE
from nankeen.registry import Registry

_log = logging.getLogger("nankeen.agent")


class Running(NamedTuple):
    """A backend that the node runs, and the configuration that it was made from."""

    config: BackendConfig
    backend: Backend


@dataclass(frozen=True, slots=True)
class Membership:
    """A node's place in the cluster: what it was asked with, and what came of it."""

    config: NetworkConfig
    lease: Lease
    fabric: Fabric
    running: tuple[Running, ...]
    """The fabric's backends, those that the configuration names first; the others are on their way out."""

    @property
    def outgoing(self) -> frozenset[Backend]:
        """Backends that the configuration names no more, and no lease needs any more."""
        named = {run.backend for run in self.running if run.config in (self.config.backend, *self.config.fallbacks)}
        return self.fabric.unneeded - named


Lacking = Callable[[frozenset[str]], tuple[str, ...]]
"""Which kinds of link of those the kernel cannot make: `nankeen.kernel.ability.lacking`."""


def configured(config: NetworkConfig, lacking: Lacking) -> tuple[Running, ...]:
    """The backends that a configuration names and this kernel can run. Raises `ConfigError` and, where it can run none,
    `KernelError`, which names what is missing.
    """
    named = [Running(item, open_backend(item)) for item in (config.backend, *config.fallbacks)]
    missing = {run.backend: lacking(run.backend.needs) for run in named}
    able = tuple(run for run in named if not missing[run.backend])
    if not able:
        raise KernelError(" and ".join(lack(kind) for kinds in missing.values() for kind in kinds))
    for run in named:
        if missing[run.backend]:
            _log.warning("the node goes without %s: %s", run.config.type, lack(missing[run.backend][0]))
    return able


def kept(before: Sequence[Running], wanted: Sequence[Running], node: Node) -> tuple[Running, ...]:
    """Those of the backends before that can stand beside the wanted ones, so that nobody loses a packet while the
    cluster moves, as many as a lease can tell of. One that needs a device of the same name cannot, or a route to the
    same place: it is replaced in place. One that does not carry the families of today is given up.
    """
    running = list(wanted)
    for run in before[: MOST_OFFERS + 1]:
        if run not in running and len(running) <= MOST_OFFERS and _can_join(run.backend, running, node):
            running.append(run)
    return tuple(running[len(wanted) :])


def _can_join(backend: Backend, running: Sequence[Running], node: Node) -> bool:
    taken = frozenset[str]().union(*(run.backend.devices(node) for run in running))
    try:
        if backend.devices(node) & taken:
            return False
        _try([*(run.backend for run in running), backend], node)
    except ConfigError:
        return False
    return True


def _try(backends: Sequence[Backend], node: Node) -> None:
    """Raises `ConfigError` where these backends cannot be used on the node, beside each other."""
    devices = frozenset[str]().union(*(backend.devices(node) for backend in backends))
    Fabric(tuple(backends), replace(node, subnets=node.networks, hardware=hardware(node.name, devices, State())))


def describe(
    settings: Settings,
    config: NetworkConfig,
    running: Sequence[Running],
    observed: State,
    current: Underlay | None = None,
) -> Node:
    """The facts about this node, before it has a lease. The underlay stays the `current` one while that would still do.

    Raises `InputError`.
    """
    wish = settings.underlay
    underlay = choose(observed, wish, config.networks, current)
    node = Node(settings.node, underlay, config.networks, public=wish.public_of(config.networks))
    devices = frozenset[str]().union(*(run.backend.devices(node) for run in running))
    return replace(node, hardware=hardware(node.name, sorted(devices), observed), routes=routes(observed, devices))


def routes(observed: State, devices: frozenset[str]) -> RouteTable:
    """The underlay's part of the routing table: without the backends' devices and the pods' bridge."""
    return RouteTable.of(observed, besides=devices | {BRIDGE})


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a node is about to ask its lease with."""

    config: NetworkConfig
    running: tuple[Running, ...]
    node: Node
    bridge: HardwareAddress | None
    """That of the pods' bridge, where one stands already."""
    trodden: frozenset[str] = frozenset()
    """The devices that routes of ours lead by already."""
    standing: tuple[Lease, ...] = ()
    """The peers until now: see `nankeen.backend.admission.Gate`."""
    bridged: bool = True
    blackhole: bool = False

    def fabric(self, subnets: tuple[IPNetwork, ...]) -> Fabric:
        """What the node's kernel shall hold when it has these subnets."""
        node = replace(self.node, subnets=subnets)
        running = tuple(run.backend for run in self.running)
        return Fabric(running, node, self.bridge, self.standing, self.bridged, self.blackhole)

    def with_lease(self, lease: Lease) -> Membership:
        """What comes of it."""
        return Membership(self.config, lease, self.fabric(lease.subnets), self.running)


def prepare(
    settings: Settings,
    config: NetworkConfig,
    observed: State,
    lacking: Lacking,
    before: Sequence[Running] = (),
    current: Underlay | None = None,
) -> Prepared:
    """Decides what to ask with. `before` are the backends that ran until now, on the `current` underlay.

    Raises `InputError` and `KernelError`.
    """
    wanted = configured(config, lacking)
    node = describe(settings, config, wanted, observed, current)
    _try([run.backend for run in wanted], node)
    running = (*wanted, *kept(before, wanted, node))
    node = describe(settings, config, running, observed, current)
    trodden = frozenset(route.device for route in observed.of(Route) if route.protocol == PROTOCOL_NANKEEN)
    return Prepared(
        *(config, running, node, bridge_address(observed), trodden - {""}),
        bridged=settings.cni,
        blackhole=settings.blackhole,
    )


async def announce(settings: Settings, registry: Registry, prepared: Prepared) -> Membership:
    """Gets the lease, and so tells the peers. Raises `RegistryError`, `LeaseError` and `InputError`."""
    (preferred, *others), node = [run.backend for run in prepared.running], prepared.node
    lease = await registry.acquire(
        node.name,
        preferred.announces,
        preferred.reaches(node),
        previous_subnets(settings),
        [offer(backend, node) for backend in others],
    )
    return prepared.with_lease(lease)


def offer(backend: Backend, node: Node) -> Offer:
    """What the node's lease says of a backend that it receives on besides the preferred one."""
    return Offer(backend.name, tuple(reach.data for reach in backend.reaches(node)))


def ran(remembered: Remembered | None) -> tuple[Running, ...]:
    """The backends that an earlier agent ran; what we do not know any more, we cannot run."""
    found = []
    for config in remembered.backends if remembered else ():
        with suppress(ConfigError):
            found.append(Running(config, open_backend(config)))
    return tuple(found)


def left_behind(remembered: Remembered | None, prepared: Prepared) -> Claim:
    """What an earlier agent of this node may have left in the kernel, also by a configuration that has changed, or by
    another underlay.
    """
    claim = Claim(underlays=prepared.trodden)
    if remembered is None:
        return claim
    former = replace(prepared.node, networks=remembered.snapshot.config.networks)
    claim |= Claim(networks=frozenset(former.networks))
    for run in ran(remembered):
        with suppress(ConfigError):
            claim |= backends.claim(run.backend, former)
    return claim


def previous_subnets(settings: Settings) -> tuple[IPNetwork, ...]:
    """The subnets that an earlier agent, ours or flannel's, left in subnet.env: what to ask for again."""
    return _subnet_env(settings).subnets


def previous_mtu(settings: Settings) -> int | None:
    """The MTU that the pods which run were given."""
    return _subnet_env(settings).mtu


def _subnet_env(settings: Settings) -> SubnetEnv:
    try:
        return subnetenv.parse(settings.subnet_file.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return SubnetEnv()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(settings.subnet_file)) from error
