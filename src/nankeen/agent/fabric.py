"""The desired state of a node, kept peer by peer, so that one changed lease costs what one lease costs.

A node may run more than one backend: the preferred one, those it can fall back on, and, while the cluster moves from
one to another, the one before. A peer is sent to by the first that both ends have. What a peer may still send by is
kept until its lease says that it needs it no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import InitVar, dataclass, field, replace
from hashlib import blake2b

from nankeen import backend as backends
from nankeen.backend import Backend, Node
from nankeen.backend.admission import Gate, Way
from nankeen.backend.routing import RouteTable
from nankeen.backend.traffic import TrafficOptions, desired_firewall
from nankeen.model.address import HardwareAddress
from nankeen.model.diff import Claim
from nankeen.model.errors import ConfigError
from nankeen.model.firewall import Firewall
from nankeen.model.lease import Lease
from nankeen.model.netconf import WHERE
from nankeen.model.state import Link, Object, Route, State, Sysctl, Tun
from nankeen.model.tunnel import GSO_MAX_SIZE, gso_max_size
from nankeen.pods.network import BRIDGE, bridge_state


@dataclass(slots=True)
class Fabric:
    """What one node's kernel shall hold: its own part, and that of each peer."""

    backends: tuple[Backend, ...]
    """Those that the node sends and receives by, preferred first."""
    node: Node
    bridge: HardwareAddress | None = None
    """The hardware address of the pods' bridge, where one stands already."""
    standing: InitVar[Iterable[Lease]] = ()
    """Leases that were admitted before, in the order of their precedence: another fabric's `precedence`."""
    bridged: bool = True
    """Whether the pods' bridge is ours to make."""
    blackhole: bool = False
    """Whether packets for pods of the node that are not there are dropped."""
    state: State = field(init=False)
    """All of it."""
    _own: State = field(init=False)
    _gate: Gate = field(init=False)

    def __post_init__(self, standing: Iterable[Lease]) -> None:
        """Raises `ConfigError` where a backend cannot be used on this node, or two of them not beside each other."""
        own = [item for backend in self.backends for item in backend.state(self.node, ())]
        try:
            self._own = State([*own, *self._pods()])
        except ValueError as error:
            raise ConfigError(
                f"of two backends, {error}", where=WHERE, remedy="name those that have nothing in common"
            ) from error
        self.state = self._own
        self._gate = Gate(self.backends, self.node, standing)

    def _pods(self) -> Iterator[Object]:
        """The node's own pods: the bridge they are on, or, where somebody else makes one, only that it forwards."""
        for item in bridge_state(self.node.subnets, self.mtu, address=self.bridge):
            if self.bridged or (isinstance(item, Sysctl) and item.device is None):
                yield item
        if self.blackhole:
            yield from map(Route.blackhole_of, self.node.subnets)

    @property
    def mtu(self) -> int:
        """Of the pods' interfaces, in bytes: what fits whichever backend carries it."""
        return min(backend.mtu(self.node) for backend in self.backends)

    @property
    def gso_max_size(self) -> int:
        """Of the pods' interfaces, in bytes: what a data path outside the kernel sends at once, where there is one."""
        outside = any(isinstance(item, Link) and isinstance(item.kind, Tun) for item in self._own)
        return gso_max_size(self.mtu) if outside else GSO_MAX_SIZE

    @property
    def claim(self) -> Claim:
        """What is the agent's to remove when it is not desired."""
        claim = Claim(frozenset({BRIDGE} if self.bridged else ()), frozenset(self.node.networks))
        for backend in self.backends:
            claim |= backends.claim(backend, self.node)
        return claim

    @property
    def peers(self) -> Mapping[str, Way]:
        """How each peer is reached, by node."""
        return self._gate.admission.ways

    @property
    def rejected(self) -> Mapping[str, str]:
        """Why a lease is no peer, by node."""
        return self._gate.admission.rejected

    @property
    def leases(self) -> tuple[Lease, ...]:
        """Those of the peers."""
        return self._gate.admission.peers

    @property
    def precedence(self) -> tuple[Lease, ...]:
        """Those that go before others which claim the same, in their order: what a fabric made anew starts with."""
        return self._gate.standing

    @property
    def devices(self) -> frozenset[str]:
        """Those of the backends, by name."""
        return frozenset[str]().union(*(backend.devices(self.node) for backend in self.backends))

    def firewall(self, options: TrafficOptions) -> Firewall:
        """What the node's packet filter shall hold."""
        tunnels = {device: port for backend in self.backends for device, port in backend.receives(self.node).items()}
        return desired_firewall(
            self.node,
            self._gate.admission.peers,
            ports=frozenset(tunnels.values()),
            tunnels=tunnels,
            bridge=BRIDGE,
            options=options,
        )

    def move(self, routes: RouteTable) -> None:
        """Takes on another routing table of the underlay: who is reached without a gateway is decided again."""
        if routes != self.node.routes:
            leases = self._gate.leases
            self.node = replace(self.node, routes=routes)
            self._gate, self.state = Gate(self.backends, self.node, self._gate.standing), self._own
            self.update(leases)

    def update(self, leases: Iterable[Lease]) -> tuple[State, State]:
        """Takes on a new set of leases. Returns what of the desired state changed: as it was, and as it is now."""
        before = self._gate.admission.ways
        after = self._gate.admit(leases).ways
        was, now = State(_besides(before, after)), State(_besides(after, before))
        self.state = self.state.replaced(was, now)
        return was, now

    @property
    def unneeded(self) -> frozenset[Backend]:
        """Backends that nobody is sent to by, and that nobody sends to us by. The preferred one is always needed."""
        ways = self._gate.admission.ways.values()
        return frozenset(self.backends[1:]) - {way.backend for way in ways} - {way.back for way in ways}


def _besides(ways: Mapping[str, Way], others: Mapping[str, Way]) -> list[Object]:
    """The objects of those ways that the others do not have in the same form."""
    return [item for name, way in ways.items() if others.get(name) is not way for item in way.objects]


def bridge_address(observed: State) -> HardwareAddress | None:
    """The hardware address of the pods' bridge where one stands: pods know it as that of their gateway."""
    return _present(BRIDGE, observed)


def hardware(node: str, devices: Iterable[str], observed: State) -> dict[str, HardwareAddress]:
    """The hardware address of each of the backends' devices: what it has already, else one that follows from the names,
    so that it is the same again after a reboot and peers have nothing to learn.
    """
    return {device: _present(device, observed) or _derived(node, device) for device in devices}


def _present(device: str, observed: State) -> HardwareAddress | None:
    link = observed.get((Link, device))
    return link.address if isinstance(link, Link) else None


def _derived(node: str, device: str) -> HardwareAddress:
    first, *rest = blake2b(f"{node}\0{device}".encode(), digest_size=6).digest()
    return HardwareAddress(bytes([first & 0xFE | 0x02, *rest]))
