"""Which subnet a node gets, and by which address it is reached there: the same in every registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from nankeen.model.address import Family, IPNetwork, family_of
from nankeen.model.errors import InputError, LeaseError
from nankeen.model.lease import Endpoint, Reach
from nankeen.model.leasevalue import parse_key
from nankeen.model.netconf import Pool
from nankeen.registry.allocation import Taken


def endpoints(
    pools: Iterable[Pool],
    node: str,
    reaches: Sequence[Reach],
    wanted: Sequence[IPNetwork],
    taken: Mapping[Family, Taken],
    where: str,
) -> tuple[Endpoint, ...]:
    """A subnet of each pool for that node: the first wanted one that fits and is free, else the first free one.

    Raises `LeaseError`, which names `where`.
    """
    return tuple(
        Endpoint(_choose(pool, wanted, taken[pool.family], where), _reach(pool, node, reaches)) for pool in pools
    )


def _choose(pool: Pool, wanted: Iterable[IPNetwork], taken: Taken, where: str) -> IPNetwork:
    for subnet in wanted:
        if pool.admits(subnet) and not taken.overlaps(subnet):
            return subnet
    free = taken.first_free(pool)
    if free is None:
        raise LeaseError(
            f"the pool {pool.network} is used up: {taken.within(pool.network)} subnets of it are held",
            where=where,
            remedy="release leases of nodes that are gone, or configure a larger network",
        )
    return free


def _reach(pool: Pool, node: str, reaches: Sequence[Reach]) -> Reach:
    for reach in reaches:
        if family_of(reach.address) is pool.family:
            return reach
    raise LeaseError(
        f"{node} cannot lease a subnet of {pool.network}: it names no {pool.family} address to be reached at",
        remedy=f"give the node's interface an {pool.family} address, or disable {pool.family} in the configuration",
    )


def readable_key(text: object) -> tuple[IPNetwork, ...]:
    """The subnets of a lease's key. One that is damaged, or no text, holds nothing; snapshots tell of it."""
    try:
        return parse_key(text) if isinstance(text, str) else ()
    except InputError:
        return ()


def words(subnets: Iterable[IPNetwork]) -> str:
    """Subnets in a row, as a person reads them."""
    return " and ".join(map(str, subnets)) or "nothing"
