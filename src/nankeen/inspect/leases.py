"""What a registry's leases come to: who holds what, what is wrong with it, and how much of each pool is free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nankeen.model.address import Family, IPNetwork, family_of, parse_network
from nankeen.model.errors import InputError
from nankeen.model.lease import Lease
from nankeen.model.netconf import NetworkConfig, Pool
from nankeen.registry import Snapshot
from nankeen.registry.allocation import Taken
from nankeen.registry.choice import words
from nankeen.registry.configuration import misfit
from nankeen.registry.reservation import similar


class Holding(NamedTuple):
    """One lease, and what is remarkable about it."""

    lease: Lease
    remarks: tuple[str, ...] = ()


class PoolUse(NamedTuple):
    """How much of one family's pool is taken."""

    pool: Pool
    held: int
    """Subnets that leases and reservations hold, in whole or in part."""

    @property
    def free(self) -> int:
        return self.pool.size - self.held


@dataclass(frozen=True, slots=True)
class Stock:
    """What there is in a registry."""

    revision: int
    holdings: tuple[Holding, ...]
    """In the order of their subnets."""
    pools: tuple[PoolUse, ...]
    unused: Mapping[str, tuple[IPNetwork, ...]]
    """What is reserved for nodes that lease something else, or nothing."""
    rejected: Mapping[str, str]
    """Entries that are no lease, and why."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What keeps nodes from joining."""
        return tuple(f"the pool {use.pool.network} is used up: no node can join" for use in self.pools if not use.free)


def take_stock(snapshot: Snapshot) -> Stock:
    """What a snapshot comes to."""
    leases = sorted(snapshot.leases.values(), key=_place)
    taken = [*(subnet for lease in leases for subnet in lease.subnets), *_flat(snapshot.reservations.values())]
    overlaps = _overlaps(leases)
    return Stock(
        snapshot.revision,
        tuple(Holding(lease, (*_remarks(snapshot.config, lease), *overlaps.get(lease.node, ()))) for lease in leases),
        tuple(PoolUse(pool, _of(pool, taken).held(pool)) for pool in snapshot.config.pools),
        dict(_unused(snapshot)),
        snapshot.rejected,
    )


def find(snapshot: Snapshot, word: str) -> Lease:
    """The lease of the node of that name, or of that subnet. Raises `InputError`, which names what comes near."""
    if "/" not in word:
        return _of_node(snapshot, word)
    wanted = parse_network(word)
    holders = [lease for lease in snapshot.leases.values() if wanted in lease.subnets]
    if len(holders) > 1:
        names = " and ".join(lease.node for lease in holders)
        raise InputError(f"{wanted} is leased by {names}", remedy="name the node")
    if holders:
        return holders[0]
    near = [lease for lease in snapshot.leases.values() if any(_share(wanted, subnet) for subnet in lease.subnets)]
    told = f"{near[0].node} has {words(near[0].subnets)}" if near else "see `nankeen leases`"
    raise InputError(f"no lease has the subnet {wanted}", remedy=told)


def _of_node(snapshot: Snapshot, name: str) -> Lease:
    lease = snapshot.leases.get(name)
    if lease is None:
        near = similar(name, snapshot)
        told = f"did you mean {near}?" if near else "see `nankeen leases`"
        raise InputError(f"no node {name[:60]!r} has a lease", remedy=told)
    return lease


def _place(lease: Lease) -> tuple[int, int, str]:
    first = lease.subnets[0]
    return first.version, int(first.network_address), lease.node


def _remarks(config: NetworkConfig, lease: Lease) -> Iterator[str]:
    for subnet in lease.subnets:
        if why := misfit(config, subnet):
            pool = config.pool(family_of(subnet))
            blocked = Taken([subnet]).held(pool) if pool else 0
            size = f", and it takes {blocked} of the pool's {pool.size} subnets" if pool and blocked > 1 else ""
            yield f"no node can lease {subnet}: {why}{size}"


def _overlaps(leases: Sequence[Lease]) -> dict[str, list[str]]:
    """By node, with whom it shares addresses: told at the narrower of two subnets, of two alike at the later name."""
    found: dict[str, list[str]] = {}
    for family in Family:
        held = [(subnet, lease.node) for lease in leases for subnet in lease.subnets if family_of(subnet) is family]
        held.sort(key=lambda item: (int(item[0].network_address), item[0].prefixlen, item[1]))
        widest: tuple[IPNetwork, str] | None = None
        for subnet, node in held:
            if widest and _share(widest[0], subnet):
                found.setdefault(node, []).append(f"{subnet} overlaps {widest[0]} of {widest[1]}")
            else:
                widest = subnet, node
    return found


def _unused(snapshot: Snapshot) -> Iterator[tuple[str, tuple[IPNetwork, ...]]]:
    for node, subnets in sorted(snapshot.reservations.items()):
        lease = snapshot.leases.get(node)
        waiting = tuple(subnet for subnet in subnets if not lease or subnet not in lease.subnets)
        if waiting:
            yield node, waiting


def _of(pool: Pool, subnets: Iterable[IPNetwork]) -> Taken:
    return Taken(subnet for subnet in subnets if family_of(subnet) is pool.family)


def _flat(groups: Iterable[Iterable[IPNetwork]]) -> Iterator[IPNetwork]:
    for group in groups:
        yield from group


def _share(one: IPNetwork, other: IPNetwork) -> bool:
    """Whether two networks of either family share an address."""
    return one.version == other.version and bool(Taken([one]).within(other))
