"""Which subnet is free: the arithmetic of a pool, whoever keeps the leases.

Subnets of several lengths can stand side by side after the configuration changed, so what counts is whether two
overlap, not whether they are equal.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

from nankeen.model.address import Family, IPNetwork
from nankeen.model.netconf import Pool


class Taken:
    """The subnets of one family that leases and reservations hold, ordered for search."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, subnets: Iterable[IPNetwork]) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in sorted(_span(subnet) for subnet in subnets):
            if self._lasts and last <= self._lasts[-1]:
                continue  # two networks are nested or apart, never staggered: this one lies inside the one before
            self._firsts.append(first)
            self._lasts.append(last)

    def overlaps(self, subnet: IPNetwork) -> bool:
        """Whether a taken subnet shares an address with this one."""
        first, last = _span(subnet)
        return bisect_left(self._lasts, first) < bisect_right(self._firsts, last)

    def within(self, network: IPNetwork) -> int:
        """How many taken subnets share an address with the network."""
        first, last = _span(network)
        return bisect_right(self._firsts, last) - bisect_left(self._lasts, first)

    def first_free(self, pool: Pool) -> IPNetwork | None:
        """The lowest subnet of the pool that is not taken, or None. One pass over what is taken."""
        size = 1 << (pool.family.bits - pool.subnet_length)
        candidate = int(pool.first.network_address)
        for index in range(bisect_left(self._lasts, candidate), len(self._firsts)):
            if self._firsts[index] >= candidate + size:
                break
            candidate = max(candidate, (self._lasts[index] // size + 1) * size)
        if candidate > int(pool.last.network_address):
            return None
        kind = IPv4Network if pool.family is Family.IPV4 else IPv6Network
        return kind((candidate, pool.subnet_length))


def _span(subnet: IPNetwork) -> tuple[int, int]:
    """Its first and last address as numbers."""
    first = int(subnet.network_address)
    return first, first + (1 << (subnet.max_prefixlen - subnet.prefixlen)) - 1
