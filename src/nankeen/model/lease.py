"""A lease: this node holds these pod subnets, and is reached at these addresses, in this way."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nankeen.model.address import Family, IPAddress, IPNetwork, family_of

LEASE_SECONDS = 86_400
"""How long a lease lives unless it is renewed: flannel's 24 hours."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How a node is reached in one family: what it asks a lease with, before it has a subnet."""

    address: IPAddress
    """The node's advertised underlay address."""
    data: str | None = None
    """What the backend needs to know of the node, as compact JSON; None where it needs nothing."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One family of a lease: a pod subnet and the way to it."""

    subnet: IPNetwork
    reach: Reach

    @property
    def family(self) -> Family:
        return family_of(self.subnet)


@dataclass(frozen=True, slots=True)
class Offer:
    """Another backend that a node can receive on, besides the one its lease names first."""

    backend: str
    data: tuple[str | None, ...]
    """What that backend needs to know, for each endpoint of the lease in its order: see `Reach.data`."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What one node holds. `endpoints` has at most one of each family, IPv4 first."""

    node: str
    backend: str
    endpoints: tuple[Endpoint, ...]
    expires: float | None = None
    """Unix time in seconds; None for a reservation, which does not expire."""
    offers: tuple[Offer, ...] = ()
    """The other backends that the node receives on. Flannel knows none: its nodes offer nothing more."""

    def endpoint(self, family: Family) -> Endpoint | None:
        """The lease's part of that family, if it has one."""
        return next((endpoint for endpoint in self.endpoints if endpoint.family is family), None)

    @property
    def ways(self) -> tuple[Lease, ...]:
        """The lease as it reads for each backend that the node can receive on, the one it names first first."""
        return (self, *map(self._by, self.offers))

    def _by(self, offer: Offer) -> Lease:
        endpoints = tuple(
            replace(endpoint, reach=replace(endpoint.reach, data=data))
            for endpoint, data in zip(self.endpoints, offer.data, strict=True)
        )
        return replace(self, backend=offer.backend, endpoints=endpoints, offers=())

    @property
    def subnets(self) -> tuple[IPNetwork, ...]:
        return tuple(endpoint.subnet for endpoint in self.endpoints)
