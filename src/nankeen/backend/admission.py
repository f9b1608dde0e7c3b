"""Which leases become peers. A lease that is wrong is refused alone, with the reason, and holds up nobody else.

Refused is what could not work, or would take packets from another: another backend, a subnet outside the pod network,
data that leads nowhere, and whatever collides with this node or with a peer admitted before. Peers come in the order of
their names, so that all nodes refuse the same one of two.

A node may run several backends, and a lease offer several. A peer is reached by the first of ours that it offers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from nankeen.backend import Backend, Node
from nankeen.model.address import Family, IPAddress, IPNetwork, family_of
from nankeen.model.errors import InputError
from nankeen.model.lease import Endpoint, Lease
from nankeen.model.state import Identity, Object


class Admission(NamedTuple):
    """What was decided of a set of leases. The node's own lease is in neither part."""

    peers: tuple[Lease, ...]
    """In the order of their names."""
    rejected: Mapping[str, str]
    """The reason, by node."""
    ways: Mapping[str, Way]
    """How each peer is reached, by node: with the node's own part, the whole desired state."""


class Way(NamedTuple):
    """How one peer is reached, and how it reaches us."""

    backend: Backend
    objects: tuple[Object, ...]
    """What the backend wants of the kernel for it."""
    back: Backend
    """That of our backends by which the peer sends: the first in its own order."""


NOBODY = Admission((), {}, {})


def admit(backends: Sequence[Backend], node: Node, leases: Iterable[Lease], before: Admission = NOBODY) -> Admission:
    """The leases that become peers of `node`, and why the others do not. `backends` are the node's, preferred first.

    `before` may be what the same backends and node admitted last: a lease that is the same object costs less then.
    """
    gate = _Gate(backends, node)
    known = {id(lease): before.ways[lease.node] for lease in before.peers}
    peers: list[Lease] = []
    rejected: dict[str, str] = {}
    ways: dict[str, Way] = {}
    for lease in sorted(leases, key=lambda lease: lease.node):
        if lease.node == node.name:
            continue
        try:
            ways[lease.node] = gate.admit(lease, known.get(id(lease)))
            peers.append(lease)
        except InputError as error:
            rejected[lease.node] = str(error)
    return Admission(tuple(peers), rejected, ways)


class _Gate:
    """What has been taken so far, and by whom."""

    def __init__(self, backends: Sequence[Backend], node: Node) -> None:
        self._backends = backends
        self._node = node
        self._networks = {family_of(network): network for network in node.networks}
        self._subnets = {family: _Disjoint() for family in Family}
        self._addresses: dict[IPAddress, str] = {}
        self._objects: dict[Identity, str] = {
            identity: node.name for backend in backends for identity, _ in backend.state(node, ()).items()
        }
        for subnet in node.subnets:
            self._subnets[family_of(subnet)].add(subnet, node.name)
        for address in (*node.public, *node.underlay.addresses):
            self._addresses[address] = node.name

    def admit(self, lease: Lease, known: Way | None) -> Way:
        """Lets the lease in, whole; raises `InputError` and changes nothing where it cannot be."""
        endpoints = [endpoint for endpoint in lease.endpoints if endpoint.family in self._networks]
        if not endpoints:
            raise InputError(f"it has no subnet in {' or '.join(map(str, self._node.networks))}")
        for endpoint in endpoints:
            self._check(endpoint)
        way = known or self._way(lease)
        identities = [item.identity for item in way.objects]
        for identity in identities:
            if (holder := self._objects.get(identity)) is not None:
                raise InputError(f"{_told(identity)} is {holder}'s already")
        for endpoint in endpoints:
            self._subnets[endpoint.family].add(endpoint.subnet, lease.node)
            self._addresses[endpoint.reach.address] = lease.node
        self._objects.update(dict.fromkeys(identities, lease.node))
        return way

    def _way(self, lease: Lease) -> Way:
        """The first of our backends by which the lease can be reached, and the first of its own by which it reaches us.

        Raises `InputError` where none can.
        """
        refusal = InputError(f"its backend is {_names(lease.ways)}, and this node's {_names(self._backends)}")
        found: dict[tuple[int, int], tuple[Object, ...]] = {}
        for at, backend in enumerate(self._backends):
            for place, offered in enumerate(lease.ways):
                if offered.backend == backend.announces:
                    try:
                        found[place, at] = backend.peer(self._node, offered)
                    except InputError as error:
                        refusal = error
        if not found:
            raise refusal
        ours = min(found, key=lambda match: match[::-1])
        return Way(self._backends[ours[1]], found[ours], self._backends[min(found)[1]])

    def _check(self, endpoint: Endpoint) -> None:
        subnet, address = endpoint.subnet, endpoint.reach.address
        network = self._networks[endpoint.family]
        if subnet.prefixlen < network.prefixlen or int(subnet.network_address) & int(network.netmask) != int(
            network.network_address
        ):
            raise InputError(f"its subnet {subnet} lies outside the pod network {network}")
        if family_of(address) is not endpoint.family or not _is_station(address):
            raise InputError(f"{address} is no {endpoint.family} address that a node can be reached at")
        if (holder := self._subnets[endpoint.family].holder(subnet)) is not None:
            raise InputError(f"its subnet {subnet} overlaps that of {holder}")
        if (holder := self._addresses.get(address)) is not None:
            whose = "this node's own" if holder == self._node.name else f"{holder}'s already"
            raise InputError(
                f"its address {address} is {whose}", remedy="give one of the two another by --iface or --public-ip"
            )


class _Disjoint:
    """Subnets that do not overlap, each with its holder, in order of address."""

    def __init__(self) -> None:
        self._bases: list[int] = []
        self._held: list[tuple[int, str]] = []

    def holder(self, subnet: IPNetwork) -> str | None:
        """Who holds a subnet that overlaps this one."""
        before = bisect_right(self._bases, _last(subnet)) - 1
        if before < 0:
            return None
        last, holder = self._held[before]
        return holder if last >= int(subnet.network_address) else None

    def add(self, subnet: IPNetwork, holder: str) -> None:
        base = int(subnet.network_address)
        place = bisect_right(self._bases, base)
        self._bases.insert(place, base)
        self._held.insert(place, (_last(subnet), holder))


def _last(subnet: IPNetwork) -> int:
    return int(subnet.network_address) | int(subnet.hostmask)


def _is_station(address: IPAddress) -> bool:
    """Whether it can be one node's on a network: not unspecified, loopback, multicast or reserved (RFC 6890)."""
    if address.version == 4:
        return 0 < (first := int(address) >> 24) < 224 and first != 127
    return int(address) > 1 and int(address) >> 120 != 0xFF


def _names(offering: Iterable[Lease | Backend]) -> str:
    """What backends are offered, for a person: `'vxlan' or 'host-gw'`."""
    return " or ".join(repr(item.backend if isinstance(item, Lease) else item.announces) for item in offering)


def _told(identity: Identity) -> str:
    """An object's identity in words: `ForwardingEntry flannel.1 02:…`."""
    kind, *parts = identity
    name = kind.__name__ if isinstance(kind, type) else str(kind)
    return " ".join([name, *map(str, parts)])
