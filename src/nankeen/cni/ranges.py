"""Ranges that pods' addresses are handed out of, with host-local's keys and rules.

    "ranges": [[{"subnet": "10.5.34.0/24", "rangeStart": …, "rangeEnd": …, "gateway": …}], …]

A pod gets one address of each range set, that is of each inner list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from nankeen.cni.error import CniError, Code
from nankeen.cni.reading import address, parse_cidr
from nankeen.cni.version import at_least
from nankeen.model.address import IPAddress, IPInterface, IPNetwork, family_of
from nankeen.model.errors import InputError
from nankeen.model.gojson import Fields

_MOST = 16
"""Range sets of a network, and ranges of a set, at most."""


@dataclass(frozen=True, slots=True)
class Range:
    """Some addresses of a subnet; the gateway is none that a pod may have."""

    subnet: IPNetwork
    first: IPAddress
    last: IPAddress
    gateway: IPAddress

    @classmethod
    def of(cls, subnet: IPNetwork) -> Range:
        """A whole subnet: without its own address and, in IPv4, the broadcast address; its gateway is the first.

        Raises `CniError` where it is too small for a pod.
        """
        if subnet.num_addresses < 4:
            problem = f"subnet {subnet} is too small to hand out addresses of"
            raise CniError(Code.INVALID_CONFIG, problem, remedy="it needs four at least")
        return cls(subnet, subnet[1], subnet[-2 if subnet.version == 4 else -1], subnet[1])

    def __contains__(self, found: IPAddress) -> bool:
        return found.version == self.subnet.version and int(self.first) <= int(found) <= int(self.last)

    def interface(self, found: IPAddress) -> IPInterface:
        """An address of the range, on the range's subnet."""
        interface = parse_cidr(f"{found}/{self.subnet.prefixlen}")
        assert interface is not None  # noqa: S101  (written the one way that is read)
        return interface

    def numbers(self, start: int | None = None, end: int | None = None) -> Iterator[IPAddress]:
        """The addresses from `start` up to, not including, `end`: all by default. The gateway is left out."""
        base, gateway = int(self.subnet.network_address), int(self.gateway)
        begin = int(self.first) if start is None else start
        for number in range(begin, int(self.last) + 1 if end is None else end):
            if number != gateway:
                yield self.subnet[number - base]

    def overlaps(self, other: Range) -> bool:
        """Whether any address is in both."""
        return self.first in other or self.last in other or other.first in self

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


RangeSet = tuple[Range, ...]


def whole(subnets: Iterable[IPNetwork]) -> tuple[RangeSet, ...]:
    """One set for each subnet, of all its addresses. Raises `CniError`."""
    return tuple((Range.of(subnet),) for subnet in subnets)


def holding(ranges: RangeSet, found: IPAddress) -> Range | None:
    """The range of a set that an address is in."""
    return next((item for item in ranges if found in item), None)


def after(ranges: RangeSet, last: IPAddress | None) -> Iterator[IPAddress]:
    """Every address of a set once, beginning with the one after `last`, or with the first."""
    here = next((index for index, item in enumerate(ranges) if last is not None and last in item), None)
    if here is None or last is None:
        for item in ranges:
            yield from item.numbers()
        return
    yield from ranges[here].numbers(start=int(last) + 1)
    for item in (*ranges[here + 1 :], *ranges[:here]):
        yield from item.numbers()
    yield from ranges[here].numbers(end=int(last) + 1)


def describe(ranges: RangeSet) -> str:
    """As host-local writes a set in its errors."""
    return ",".join(map(str, ranges))


def parse_ranges(ipam: Fields, given: Fields | None, version: str) -> tuple[RangeSet, ...]:
    """The range sets of a configuration's `ipam`, after those that the runtime gives; none where it names none.

    Raises `CniError` and `InputError`.
    """
    sets = [] if given is None else _sets(given, "ipRanges")
    if ipam.raw("subnet") is not None:
        sets.append((_range(ipam),))
    sets += _sets(ipam, "ranges")
    _check(sets, version)
    return tuple(sets)


def _sets(fields: Fields, key: str) -> list[RangeSet]:
    value = fields.raw(key)
    if value is None:
        return []
    allowed = f"it must be a list of at most {_MOST} lists"
    if not isinstance(value, list) or len(value) > _MOST or not all(isinstance(item, list) and item for item in value):
        raise fields.refusal(key, allowed)
    inner = [Fields({"set": item}, "network configuration", prefix=f"ipam.{key}.") for item in value]
    return [tuple(_range(item) for item in found.objects("set", _MOST)) for found in inner]


def _range(fields: Fields) -> Range:
    subnet = parse_cidr(fields.string("subnet"))
    if subnet is None or subnet.ip != subnet.network.network_address:
        raise fields.refusal("subnet", "it must be a network without bits of a host: 10.5.34.0/24")
    usual = Range.of(subnet.network)
    found = Range(
        usual.subnet,
        address(fields, "rangeStart") or usual.first,
        address(fields, "rangeEnd") or usual.last,
        address(fields, "gateway") or usual.gateway,
    )
    for key, item in (("rangeStart", found.first), ("rangeEnd", found.last)):
        if item not in usual:
            raise fields.refusal(key, f"it must be one of {usual}")
    if int(found.first) > int(found.last):
        raise fields.refusal("rangeStart", f"it must not be after rangeEnd, {found.last}")
    if found.gateway.version != subnet.version:
        raise fields.refusal("gateway", f"it must be of the same family as {subnet.network}")
    return found


def _check(sets: Sequence[RangeSet], version: str) -> None:
    for one, other in combinations([item for found in sets for item in found], 2):
        if one.overlaps(other):
            raise InputError(f"ranges {one} and {other} overlap", where="ipam.ranges")
    families = [{family_of(item.subnet) for item in found} for found in sets]
    if any(len(found) > 1 for found in families):
        raise InputError("a range set has both families", where="ipam.ranges", remedy="one list for each family")
    several = len(sets) > len({family for found in families for family in found})
    if several and not at_least(version, "0.3.0"):
        problem = f"CNI version {version} does not support more than one address of a family"
        raise InputError(problem, where="ipam.ranges")
