"""Longest-prefix lookup: a table for each length of prefix that occurs, asked from the longest on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from nankeen.model.address import IPAddress, IPNetwork

_Entry = TypeVar("_Entry")


class Prefixes(Generic[_Entry]):
    """Entries of one family by their network. A lookup costs a step for each length that occurs."""

    __slots__ = ("_lengths",)

    def __init__(self, entries: Iterable[tuple[IPNetwork, _Entry]]) -> None:
        """Of entries for the same network, the order stays."""
        tables: dict[int, tuple[int, dict[int, list[_Entry]]]] = {}
        for network, entry in entries:
            length = network.prefixlen
            shift, table = tables.setdefault(length, (network.max_prefixlen - length, {}))
            table.setdefault(int(network.network_address) >> shift, []).append(entry)
        self._lengths = [tables[length] for length in sorted(tables, reverse=True)]

    def matches(self, address: IPAddress) -> Iterator[list[_Entry]]:
        """The entries of each network that the address lies in, the longest prefix first."""
        value = int(address)
        for shift, table in self._lengths:
            found = table.get(value >> shift)
            if found is not None:
                yield found

    def longest(self, address: IPAddress) -> _Entry | None:
        """The first entry of the longest prefix that the address lies in."""
        for found in self.matches(address):
            return found[0]
        return None
