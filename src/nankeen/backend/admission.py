"""Which leases become peers. A lease that is wrong is refused alone, with the reason, and holds up nobody else.

Refused is what could not work, or would take packets from another: another backend, a subnet outside the pod network,
data that leads nowhere, and whatever collides with this node or with a peer admitted before. Peers come in the order of
their names, so that all nodes refuse the same one of two.

A node may run several backends, and a lease offer several. A peer is reached by the first of ours that it offers.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterable, Mapping, Sequence
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


def admit(backends: Sequence[Backend], node: Node, leases: Iterable[Lease]) -> Admission:
    """The leases that become peers of `node`, and why the others do not. `backends` are the node's, preferred first."""
    return Gate(backends, node).admit(leases)


class Gate:
    """Admission kept up to date: one changed lease of many costs little, as long as no two collide.

    Where two do, their order decides, and all is decided anew: what was admitted at any time is what `admit` says of
    the same leases.
    """

    def __init__(self, backends: Sequence[Backend], node: Node) -> None:
        self._backends = backends
        self._node = node
        self._networks = {family_of(network): network for network in node.networks}
        self._taken = _Taken(backends, node)
        self._leases: dict[str, Lease] = {}
        self._collide = False
        self.admission = NOBODY
        """What was decided last."""

    @property
    def leases(self) -> tuple[Lease, ...]:
        """Those that were decided on last: peers and rejected ones."""
        return tuple(self._leases.values())

    def admit(self, leases: Iterable[Lease]) -> Admission:
        """Decides on these leases, all that there are now. One that is the same object as before costs nothing."""
        wanted = {lease.node: lease for lease in leases if lease.node != self._node.name}
        known, self._leases = self._leases, wanted
        new = [lease for name, lease in wanted.items() if known.get(name) is not lease]
        gone = [lease for name, lease in known.items() if wanted.get(name) is not lease]
        if self._collide or not self._amend(gone, new):
            self._decide_anew(known)
        return self.admission

    def _amend(self, gone: Sequence[Lease], new: Sequence[Lease]) -> bool:
        """Takes those out and lets these in; False, and nothing holds any more, where one collides."""
        rejected, ways = dict(self.admission.rejected), dict(self.admission.ways)
        for lease in gone:
            if (way := ways.pop(lease.node, None)) is not None:
                self._taken.release(lease, way)
            rejected.pop(lease.node, None)
        for lease in new:
            try:
                ways[lease.node] = way = self._way(lease)
                self._taken.take(lease, way)
            except _Collision:
                return False
            except InputError as error:
                rejected[lease.node] = str(error)
        self._conclude(rejected, ways)
        return True

    def _decide_anew(self, known: Mapping[str, Lease]) -> None:
        """All leases in the order of their names; ways to those that are known already are kept."""
        before, rejected, ways = self.admission.ways, dict[str, str](), dict[str, Way]()
        self._taken, self._collide = _Taken(self._backends, self._node), False
        for name, lease in sorted(self._leases.items()):
            kept = before.get(name) if known.get(name) is lease else None
            try:
                way = kept or self._way(lease)
                self._taken.take(lease, way)
                ways[name] = way
            except InputError as error:
                self._collide |= isinstance(error, _Collision)
                rejected[name] = str(error)
        self._conclude(rejected, ways)

    def _conclude(self, rejected: Mapping[str, str], ways: Mapping[str, Way]) -> None:
        self.admission = Admission(tuple(self._leases[name] for name in sorted(ways)), rejected, ways)

    def _way(self, lease: Lease) -> Way:
        """How the lease is reached, whoever else there is. Raises `InputError` where it cannot be."""
        endpoints = _endpoints(lease, self._networks)
        if not endpoints:
            raise InputError(f"it has no subnet in {' or '.join(map(str, self._node.networks))}")
        for endpoint in endpoints:
            _check(endpoint, self._networks[endpoint.family])
        return self._first_way(lease)

    def _first_way(self, lease: Lease) -> Way:
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


class _Collision(InputError):  # noqa: N818  (what happened, not whose fault)
    """The lease is right by itself, but somebody else holds what it claims."""


class _Taken:
    """What has been taken, and by whom."""

    def __init__(self, backends: Sequence[Backend], node: Node) -> None:
        self._node = node
        self._families = node.families
        self._subnets = {family: _Disjoint() for family in Family}
        self._addresses: dict[IPAddress, str] = {}
        self._objects: dict[Identity, str] = {
            identity: node.name for backend in backends for identity, _ in backend.state(node, ()).items()
        }
        for subnet in node.subnets:
            self._subnets[family_of(subnet)].add(subnet, node.name)
        for address in (*node.public, *node.underlay.addresses):
            self._addresses[address] = node.name

    def take(self, lease: Lease, way: Way) -> None:
        """Takes what the lease claims, all of it; raises `_Collision` and takes nothing where some is taken."""
        endpoints = _endpoints(lease, self._families)
        identities = [item.identity for item in way.objects]
        self._check_free(endpoints, identities)
        for endpoint in endpoints:
            self._subnets[endpoint.family].add(endpoint.subnet, lease.node)
            self._addresses[endpoint.reach.address] = lease.node
        self._objects.update(dict.fromkeys(identities, lease.node))

    def release(self, lease: Lease, way: Way) -> None:
        """Gives back what the lease took."""
        for endpoint in _endpoints(lease, self._families):
            self._subnets[endpoint.family].remove(endpoint.subnet)
            del self._addresses[endpoint.reach.address]
        for item in way.objects:
            del self._objects[item.identity]

    def _check_free(self, endpoints: Iterable[Endpoint], identities: Iterable[Identity]) -> None:
        for endpoint in endpoints:
            subnet, address = endpoint.subnet, endpoint.reach.address
            if (holder := self._subnets[endpoint.family].holder(subnet)) is not None:
                raise _Collision(f"its subnet {subnet} overlaps that of {holder}")
            if (holder := self._addresses.get(address)) is not None:
                whose = "this node's own" if holder == self._node.name else f"{holder}'s already"
                raise _Collision(
                    f"its address {address} is {whose}", remedy="give one of the two another by --iface or --public-ip"
                )
        for identity in identities:
            if (holder := self._objects.get(identity)) is not None:
                raise _Collision(f"{_told(identity)} is {holder}'s already")


def _endpoints(lease: Lease, families: Container[Family]) -> list[Endpoint]:
    """The lease's part of each of those families."""
    return [endpoint for endpoint in lease.endpoints if endpoint.family in families]


def _check(endpoint: Endpoint, network: IPNetwork) -> None:
    """Raises `InputError` where nobody could have such an endpoint in the pod network."""
    subnet, address = endpoint.subnet, endpoint.reach.address
    if subnet.prefixlen < network.prefixlen or int(subnet.network_address) & int(network.netmask) != int(
        network.network_address
    ):
        raise InputError(f"its subnet {subnet} lies outside the pod network {network}")
    if family_of(address) is not endpoint.family or not _is_station(address):
        raise InputError(f"{address} is no {endpoint.family} address that a node can be reached at")


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

    def remove(self, subnet: IPNetwork) -> None:
        place = bisect_left(self._bases, int(subnet.network_address))
        del self._bases[place], self._held[place]


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
