"""Which subnet is free: the arithmetic of a pool, whoever keeps the leases.

Subnets of several lengths can stand side by side after the configuration changed, so what counts is whether two
overlap, not whether they are equal.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from nankeen.model.address import Family, IPNetwork, family_of
from nankeen.model.errors import InputError
from nankeen.model.leasevalue import parse_key
from nankeen.model.netconf import Pool

Span = tuple[int, int]


class Taken:
    """The subnets of one family that leases and reservations hold, ordered for search."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, subnets: Iterable[IPNetwork] = (), spans: Iterable[Span] = ()) -> None:
        """`spans` are further subnets, each by its first and last address as numbers."""
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        highest = -1
        for first, last in sorted([*map(_span, subnets), *spans]):
            if last > highest:  # two networks are nested or apart, never staggered: others lie inside the one before
                self._firsts.append(first)
                self._lasts.append(last)
                highest = last

    def overlaps(self, subnet: IPNetwork) -> bool:
        """Whether a taken subnet shares an address with this one."""
        first, last = _span(subnet)
        return bisect_left(self._lasts, first) < bisect_right(self._firsts, last)

    def within(self, network: IPNetwork) -> int:
        """How many taken subnets share an address with the network."""
        first, last = _span(network)
        return bisect_right(self._firsts, last) - bisect_left(self._lasts, first)

    def held(self, pool: Pool) -> int:
        """How many subnets of the pool are not free, in whole or in part."""
        size = 1 << (pool.family.bits - pool.subnet_length)
        counted, last_slot = int(pool.first.network_address) // size - 1, int(pool.last.network_address) // size
        held = 0
        for first, last in zip(self._firsts, self._lasts, strict=True):
            begin, end = max(first // size, counted + 1), min(last // size, last_slot)
            if begin <= end:
                held, counted = held + end - begin + 1, end
        return held

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


def _span(subnet: IPNetwork) -> Span:
    """Its first and last address as numbers."""
    first = int(subnet.network_address)
    return first, first + (1 << (subnet.max_prefixlen - subnet.prefixlen)) - 1


def spans_of_keys(keys: Iterable[str]) -> dict[Family, list[Span]]:
    """What the keys of leases hold, by family. A key that is damaged holds nothing.

    As `parse_key` has it, which is asked wherever there is a doubt, but without making networks of thousands of keys.
    """
    found: dict[Family, list[Span]] = {family: [] for family in Family}
    ipv4, hosts = found[Family.IPV4], _HOSTS[32]
    for key in keys:
        base, _, length = key.partition("-")
        try:  # IPv4 alone, by far the most frequent, is not worth a call
            ipv4.append(_aligned(int.from_bytes(inet_pton(AF_INET, base)), hosts[length]))
        except (KeyError, OSError, ValueError):
            for family, span in _read(key):
                found[family].append(span)
    return found


def _read(key: str) -> list[tuple[Family, Span]]:
    ipv4, _, ipv6 = key.partition("&")
    try:
        return [_read_ipv4(ipv4), _read_ipv6(ipv6)] if ipv6 else [_read_ipv6(key)]
    except (KeyError, OSError, ValueError):
        return _read_slowly(key)


def _read_slowly(key: str) -> list[tuple[Family, Span]]:
    try:
        return [(family_of(subnet), _span(subnet)) for subnet in parse_key(key)]
    except InputError:
        return []


def _read_ipv4(text: str) -> tuple[Family, Span]:
    """The subnet of that part of a key. Raises `KeyError`, `OSError` and `ValueError` where it is none, or in doubt."""
    base, _, length = text.partition("-")
    return Family.IPV4, _aligned(int.from_bytes(inet_pton(AF_INET, base)), _HOSTS[32][length])


def _read_ipv6(text: str) -> tuple[Family, Span]:
    base, _, length = text.partition("-")
    packed = inet_pton(AF_INET6, base)
    if inet_ntop(AF_INET6, packed) != base:
        raise ValueError(base)
    return Family.IPV6, _aligned(int.from_bytes(packed), _HOSTS[128][length])


def _aligned(first: int, hosts: int) -> Span:
    if first & hosts:
        raise ValueError(first)
    return first, first | hosts


_HOSTS = {bits: {str(length): (1 << bits - length) - 1 for length in range(bits + 1)} for bits in (32, 128)}
"""The bits of the hosts in a subnet, by the bits of an address and the length of the prefix as it is written."""
