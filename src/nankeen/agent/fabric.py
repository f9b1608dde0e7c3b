"""The desired state of a node, kept peer by peer, so that one changed lease costs what one lease costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from nankeen import backend as backends
from nankeen.backend import Backend, Node
from nankeen.backend.admission import admit
from nankeen.model.address import HardwareAddress
from nankeen.model.diff import Claim
from nankeen.model.lease import Lease
from nankeen.model.state import Link, Object, State
from nankeen.pods.network import BRIDGE, bridge_state


@dataclass(slots=True)
class Fabric:
    """What one node's kernel shall hold: its own part, and that of each peer."""

    backend: Backend
    node: Node
    bridge: HardwareAddress | None = None
    """The hardware address of the pods' bridge, where one stands already."""
    rejected: Mapping[str, str] = field(default_factory=dict)
    """Why a lease is no peer, by node."""
    _own: State = field(init=False)
    _peers: dict[str, tuple[Lease, tuple[Object, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._own = self.backend.state(self.node, ()) | bridge_state(self.node.subnets, self.mtu, address=self.bridge)

    @property
    def mtu(self) -> int:
        """Of the pods' interfaces, in bytes."""
        return self.backend.mtu(self.node)

    @property
    def state(self) -> State:
        """All of it."""
        return State([*self._own, *(item for _, objects in self._peers.values() for item in objects)])

    @property
    def claim(self) -> Claim:
        """What is the agent's to remove when it is not desired."""
        return backends.claim(self.backend, self.node) | Claim(frozenset({BRIDGE}), frozenset(self.node.networks))

    @property
    def peers(self) -> tuple[str, ...]:
        """The nodes that are reached, by name."""
        return tuple(self._peers)

    def update(self, leases: Iterable[Lease]) -> tuple[State, State]:
        """Takes on a new set of leases. Returns what of the desired state changed: as it was, and as it is now."""
        admission = admit(self.backend, self.node, leases)
        self.rejected = admission.rejected
        before = self._peers
        after = {
            lease.node: known
            if (known := before.get(lease.node)) is not None and known[0] is lease
            else (lease, self.backend.peer(self.node, lease))
            for lease in admission.peers
        }
        self._peers = after
        return State(_objects(before, after)), State(_objects(after, before))


_Peers = Mapping[str, tuple[Lease, tuple[Object, ...]]]


def _objects(peers: _Peers, besides: _Peers) -> list[Object]:
    """The objects of the peers that the other set does not have in the same form."""
    return [
        item
        for name, (lease, objects) in peers.items()
        if name not in besides or besides[name][0] is not lease
        for item in objects
    ]


def bridge_address(observed: State) -> HardwareAddress | None:
    """The hardware address of the pods' bridge where one stands: pods know it as that of their gateway."""
    return _present(BRIDGE, observed)


def hardware(node: str, devices: Iterable[str], observed: State) -> dict[str, HardwareAddress]:
    """The hardware address of each of the backend's devices: what it has already, else one that follows from the names,
    so that it is the same again after a reboot and peers have nothing to learn.
    """
    return {device: _present(device, observed) or _derived(node, device) for device in devices}


def _present(device: str, observed: State) -> HardwareAddress | None:
    link = observed.get((Link, device))
    return link.address if isinstance(link, Link) else None


def _derived(node: str, device: str) -> HardwareAddress:
    first, *rest = blake2b(f"{node}\0{device}".encode(), digest_size=6).digest()
    return HardwareAddress(bytes([first & 0xFE | 0x02, *rest]))
