"""Backends: how packets get from node to node. Each is one file, a pure function from leases to kernel state.

To add one, write `nankeen/backend/NAME.py` with a `parse(options) -> Backend`, and name it in `_MODULES`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol

from nankeen.backend.routing import NextHop, RouteTable
from nankeen.model.address import Family, HardwareAddress, IPAddress, IPNetwork, family_of
from nankeen.model.diff import Claim
from nankeen.model.errors import ConfigError, InputError
from nankeen.model.lease import Lease, Reach
from nankeen.model.netconf import WHERE, BackendConfig
from nankeen.model.state import Object, State
from nankeen.model.wireguard import KeyPair

_MODULES = {
    "alloc": "nankeen.backend.alloc",
    "extension": "nankeen.backend.extension",
    "host-gw": "nankeen.backend.host_gw",
    "ipip": "nankeen.backend.ipip",
    "ipsec": "nankeen.backend.ipsec",
    "udp": "nankeen.backend.udp",
    "vxlan": "nankeen.backend.vxlan",
    "wireguard": "nankeen.backend.wireguard",
}
_IPSEC = "ipsec"
"""The one backend that keeps packets apart by policies and not by a device."""


@dataclass(frozen=True, slots=True)
class Underlay:
    """The device that carries packets between the nodes."""

    device: str
    mtu: int
    """Largest outer packet, in bytes, without its Ethernet header."""
    addresses: tuple[IPAddress, ...]
    """The device's own addresses, one of each family: what a tunnel binds to."""


@dataclass(frozen=True, slots=True)
class Node:
    """The facts about this node that a backend decides by; the agent gathers them.

    Facts that only some backends ask for have defaults. A backend that needs another one adds its field here.
    """

    name: str
    underlay: Underlay
    networks: tuple[IPNetwork, ...]
    """The pod networks of the cluster, IPv4 first."""
    subnets: tuple[IPNetwork, ...] = ()
    """The node's own, once it has a lease."""
    public: tuple[IPAddress, ...] = ()
    """What peers reach the node by, where that is not the underlay's own address: behind NAT, for example."""
    hardware: Mapping[str, HardwareAddress] = field(default_factory=dict, hash=False)
    """By device: the hardware address that it has or shall have, one for each of the backend's devices."""
    routes: RouteTable = field(default_factory=RouteTable)
    """How the node reaches the underlay's addresses."""
    keys: KeyPair | None = None
    """WireGuard's, where it is used."""
    announcement: str | None = None
    """What the extension's commands have the node tell its peers."""

    @property
    def families(self) -> tuple[Family, ...]:
        """The families that the cluster uses."""
        return tuple(family_of(network) for network in self.networks)

    def local_address(self, family: Family) -> IPAddress:
        """The underlay's own address; raises `InputError` where it has none of that family."""
        address = _of(family, self.underlay.addresses)
        if address is None:
            raise InputError(f"no {family} address", where=self.underlay.device, remedy="choose another interface")
        return address

    def public_address(self, family: Family) -> IPAddress:
        """What peers reach the node by; raises `InputError` where there is none of that family."""
        return _of(family, self.public) or self.local_address(family)

    def is_on_link(self, address: IPAddress) -> bool:
        """Whether the underlay's device reaches the address without a gateway."""
        if address.version == 6 and address.is_link_local:  # on every link (RFC 4291 §2.5.6)
            return True
        return self.routes.next_hop(address) == NextHop(self.underlay.device)


class Backend(Protocol):
    """The contract. A backend is made from its options and never changes; it reads nothing but its arguments.

    Each method may raise `ConfigError` where an option cannot be used on such a node.
    """

    @property
    def name(self) -> str:
        """Its type in the configuration, and in what a lease offers besides the first."""

    @property
    def announces(self) -> str:
        """The backend type that the node's lease tells of: its name, or "" for those that flannel leaves out."""

    @property
    def needs(self) -> frozenset[str]:
        """The kinds of link that the kernel must be able to make, by its names for them. Asked before it is started."""

    def devices(self, node: Node) -> frozenset[str]:
        """The names of the devices that the backend makes: all that hangs on them is ours."""

    def receives(self, node: Node) -> Mapping[str, int]:
        """By device, the UDP port of tunnels that take in packets from anybody: the packet filter guards it."""

    def mtu(self, node: Node) -> int:
        """The MTU of the pods' interfaces, in bytes: what fits whichever family carries it."""

    def reaches(self, node: Node) -> tuple[Reach, ...]:
        """What the node announces, one for each family, IPv4 first. Asked before the node has subnets."""

    def announced(self, lease: Lease) -> Mapping[str, HardwareAddress]:
        """The hardware addresses that the node's own lease tells its peers, by device. Raises `InputError`."""

    def state(self, node: Node, peers: Iterable[Lease]) -> State:
        """What the kernel shall hold: the node's own part, and that of each peer. `peers` were admitted."""

    def peer(self, node: Node, lease: Lease) -> tuple[Object, ...]:
        """The part of one peer, which depends on no other peer. Raises `InputError` where no way leads to it."""

    def receiving(self, node: Node, lease: Lease) -> tuple[Object, ...]:
        """What it takes to receive from a peer that the node sends to by another backend, and that may send by this one
        any moment: nothing that leads packets to it. `lease` is as the registry has it.
        """


def open_backend(config: BackendConfig) -> Backend:
    """The backend of that type with these options; raises `ConfigError`."""
    module = _MODULES.get(config.type)
    if module is None:
        known = ", ".join(sorted(_MODULES))
        raise ConfigError(f"Backend.Type is {config.type[:60]!r}", where=WHERE, remedy=f"it must be one of: {known}")
    backend: Backend = import_module(module).parse(config.fields())
    return backend


def offers(lease: Lease, backend: Backend) -> Iterator[tuple[int, Lease]]:
    """The lease as it reads for that backend, wherever it offers it, each with its place in the lease's order."""
    for place, offered in enumerate(lease.ways):
        if offered.backend == (backend.name if place else backend.announces):
            yield place, offered


def claim(backend: Backend, node: Node) -> Claim:
    """What is ours to remove on this node: the backend's devices, routes to pods by the underlay, and IPsec's policies
    where it is IPsec.
    """
    return Claim(
        backend.devices(node),
        frozenset(node.networks),
        frozenset({node.underlay.device}),
        policies=backend.name == _IPSEC,
    )


def _of(family: Family, addresses: Iterable[IPAddress]) -> IPAddress | None:
    return next((address for address in addresses if family_of(address) is family), None)
