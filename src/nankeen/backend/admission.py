"""Which leases become peers. A lease that is wrong is refused alone, with the reason, and holds up nobody else.

Refused is what could not work, or would take packets from another: another backend, a subnet outside the pod network,
data that leads nowhere, and whatever collides with this node or with a peer admitted before. Where nobody stands yet,
peers come in the order of their names, so that all nodes refuse the same one of two; later whoever stands stays.

A node may run several backends, and a lease offer several. A peer is reached by the first of ours that it offers.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from nankeen.backend import Backend, Node, offers
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
    """What the backend wants of the kernel for it, and what others want to receive from it."""
    back: Backend
    """That of our backends by which the peer sends: the first in its own order."""


NOBODY = Admission((), {}, {})
_SHOWN = 30
"""How many characters of a backend's name an error quotes."""


def admit(backends: Sequence[Backend], node: Node, leases: Iterable[Lease]) -> Admission:
    """The leases that become peers of `node`, and why the others do not. `backends` are the node's, preferred first."""
    return Gate(backends, node).admit(leases)


class Gate:
    """Admission kept up to date: one changed lease of many costs what one lease costs.

    Who stands keeps what he holds. Otherwise whoever can write a lease could push any peer out of the fabric, by
    claiming its subnet, address or VTEP under a name that comes first. Of two that come together the first to have
    stood goes before, then the one whose name does.
    """

    def __init__(self, backends: Sequence[Backend], node: Node, standing: Iterable[Lease] = ()) -> None:
        """`standing` are leases that were admitted before, by another gate, in the order of their precedence."""
        self._backends = backends
        self._node = node
        self._networks = {family_of(network): network for network in node.networks}
        self._taken = _Taken(backends, node)
        self._leases: dict[str, Lease] = {}
        self._earlier = {lease.node: lease for lease in standing}
        self._colliding: frozenset[str] = frozenset()
        self.admission = NOBODY
        """What was decided last."""

    @property
    def leases(self) -> tuple[Lease, ...]:
        """Those that were decided on last: peers and rejected ones."""
        return tuple(self._leases.values())

    @property
    def standing(self) -> tuple[Lease, ...]:
        """For a gate that follows this one: the peers, and then those that were peers until something happened to them,
        such as a route to them that went away.
        """
        return (*self.admission.peers, *self._earlier.values())

    def admit(self, leases: Iterable[Lease]) -> Admission:
        """Decides on these leases, all that there are now. One that is the same object as before costs nothing."""
        known, wanted = self._leases, {lease.node: lease for lease in leases if lease.node != self._node.name}
        gone = [name for name, lease in known.items() if wanted.get(name) is not lease]
        again = self._colliding if gone else frozenset()
        in_turn = self._in_turn(
            [lease for name, lease in wanted.items() if known.get(name) is not lease or name in again]
        )
        rejected, ways = dict(self.admission.rejected), dict(self.admission.ways)
        for name in gone:
            if (way := ways.pop(name, None)) is not None:
                self._taken.release(known[name], way)
                self._earlier[name] = known[name]
        for name in (*gone, *again):
            rejected.pop(name, None)
        self._colliding -= {*gone, *again}
        for lease in in_turn:
            self._decide(lease, rejected, ways)
        self._leases = wanted
        self._earlier = {name: lease for name, lease in self._earlier.items() if name in rejected}
        self.admission = Admission(tuple(wanted[name] for name in sorted(ways)), rejected, ways)
        return self.admission

    def _in_turn(self, undecided: Sequence[Lease]) -> Sequence[Lease]:
        """In the order that they are decided in."""
        if len(undecided) < 2:
            return undecided
        places = {lease.node: (place, lease) for place, lease in enumerate(self.standing)}
        return sorted(undecided, key=lambda lease: _precedence(lease, places.get(lease.node)))

    def _decide(self, lease: Lease, rejected: dict[str, str], ways: dict[str, Way]) -> None:
        try:
            way = self._way(lease)
            self._taken.take(lease, way)
            ways[lease.node] = way
        except InputError as error:
            rejected[lease.node] = str(error)
            if isinstance(error, _Collision):
                self._colliding |= {lease.node}

    def _way(self, lease: Lease) -> Way:
        """How the lease is reached, whoever else there is. Raises `InputError` where it cannot be."""
        endpoints = _endpoints(lease, self._networks)
        if not endpoints:
            raise InputError(f"it has no subnet in {' or '.join(map(str, self._node.networks))}")
        for endpoint in endpoints:
            self._check(endpoint)
        return self._first_way(lease)

    def _check(self, endpoint: Endpoint) -> None:
        """Raises `InputError` where nobody could have such an endpoint in the pod network."""
        subnet, address, network = endpoint.subnet, endpoint.reach.address, self._networks[endpoint.family]
        if not _is_inside(subnet, network):
            raise InputError(f"its subnet {subnet} lies outside the pod network {network}")
        if family_of(address) is not endpoint.family or not _is_station(address):
            raise InputError(f"{address} is no {endpoint.family} address that a node can be reached at")
        if _is_at(address, network):  # the packets to it would go to a pod, or come back for ever
            raise InputError(f"its address {address} lies inside the pod network {network}")
        if self._node.routes.is_broadcast(address):
            raise InputError(f"its address {address} is that of a whole network")

    def _first_way(self, lease: Lease) -> Way:
        """The first of our backends by which the lease can be reached, and the first of its own by which it reaches us.

        Raises `InputError` where none can.
        """
        refusal: InputError | None = None
        found: dict[tuple[int, int], tuple[Object, ...]] = {}
        for at, backend in enumerate(self._backends):
            for place, offered in offers(lease, backend):
                try:
                    found[place, at] = backend.peer(self._node, offered)
                except InputError as error:
                    refusal = error
        if not found:
            raise refusal or InputError(
                f"its backend is {_names(lease.ways)}, and this node's {_names(self._backends)}"
            )
        ours = min(found, key=lambda match: match[::-1])
        objects = [*found[ours]]
        for at, backend in enumerate(self._backends):
            objects += backend.receiving(self._node, lease) if at != ours[1] else ()
        return Way(self._backends[ours[1]], tuple(objects), self._backends[min(found)[1]])


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


def _precedence(lease: Lease, stood: tuple[int, Lease] | None) -> tuple[int, int, str]:
    """A peer that did not change comes first, then one that kept its subnets, then all others, by name."""
    if stood is None or stood[1].subnets != lease.subnets:
        return 2, 0, lease.node
    place, before = stood
    return int(replace(before, expires=lease.expires) != lease), place, lease.node


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
    return int(subnet.network_address) + (1 << subnet.max_prefixlen - subnet.prefixlen) - 1


def _is_inside(subnet: IPNetwork, network: IPNetwork) -> bool:
    return subnet.prefixlen >= network.prefixlen and _is_at(subnet.network_address, network)


def _is_at(address: IPAddress, network: IPNetwork) -> bool:
    return int(address) & int(network.netmask) == int(network.network_address)


def _is_station(address: IPAddress) -> bool:
    """Whether it can be one node's on a network: not unspecified, loopback, multicast or reserved (RFC 6890), nor IPv4
    written as IPv6 (RFC 4291 §2.5.5).
    """
    if address.version == 4:
        return 0 < (first := int(address) >> 24) < 224 and first != 127
    return int(address) >> 48 != 0 and int(address) >> 120 != 0xFF


def _names(offering: Iterable[Lease | Backend]) -> str:
    """What backends are offered, for a person: `'vxlan' or 'host-gw'`."""
    return " or ".join(repr((item.backend if isinstance(item, Lease) else item.name)[:_SHOWN]) for item in offering)


def _told(identity: Identity) -> str:
    """An object's identity in words: `ForwardingEntry flannel.1 02:…`."""
    kind, *parts = identity
    name = kind.__name__ if isinstance(kind, type) else str(kind)
    return " ".join([name, *map(str, parts)])
