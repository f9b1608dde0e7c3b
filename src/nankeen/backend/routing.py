"""Whether a node is reached without a gateway: the main routing table as a pure lookup, as the kernel does it.

The longest prefix that holds the address decides, and the lowest metric among equals (RFC 1812 §5.2.4.3). A route of
several next hops leads to no one device: nothing is on-link by it. Routes that only refuse are not observed: the next
shorter prefix speaks for them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from nankeen.model.address import Family, IPAddress, IPNetwork, family_of
from nankeen.model.state import MAIN_TABLE, PROTOCOL_NANKEEN, Route, State


class NextHop(NamedTuple):
    """Where a packet goes next."""

    device: str
    gateway: IPAddress | None = None
    """None: the destination is on-link, on the device itself."""


class RouteTable:
    """What leads to each network. Immutable; equal tables send every address the same way."""

    __slots__ = ("_hops", "_lengths")

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        """Of the routes, those of the main table count."""
        best: dict[IPNetwork, Route] = {}
        for route in routes:
            if route.table == MAIN_TABLE:
                known = best.setdefault(route.destination, route)
                best[route.destination] = min(known, route, key=lambda route: route.priority)
        self._hops = {_key(network): NextHop(route.device, route.gateway) for network, route in best.items()}
        self._lengths = {family: _lengths(best, family) for family in Family}

    @classmethod
    def of(cls, observed: State, besides: Collection[str] = ()) -> RouteTable:
        """The underlay's part of what was observed: without the routes by the devices `besides` (the backend's, the
        pods' bridge), our own by the underlay, and IPv6 link-local ones, which every link has.
        """
        return cls(
            route
            for route in observed.of(Route)
            if route.device not in besides
            and route.protocol != PROTOCOL_NANKEEN
            and not (route.destination.version == 6 and route.destination.is_link_local)
        )

    def next_hop(self, address: IPAddress) -> NextHop | None:
        """What the longest prefix says; None where no route leads to the address."""
        found = self._longest(address)
        return None if found is None else found[1]

    def is_broadcast(self, address: IPAddress) -> bool:
        """Whether it is the first or last address of an on-link network, which no station has (RFC 1122 §3.2.1.3).

        IPv6 has no such addresses, and a /31 none to spare (RFC 3021).
        """
        found = self._longest(address) if address.version == 4 else None
        if found is None or found[1].gateway is not None:
            return False
        host = (1 << (32 - found[0])) - 1
        return host > 1 and int(address) & host in (0, host)

    def _longest(self, address: IPAddress) -> tuple[int, NextHop] | None:
        """The longest prefix that has the address: its length, and where it leads."""
        family = family_of(address)
        value = int(address)
        for length in self._lengths[family]:
            host_bits = family.bits - length
            hop = self._hops.get((family, length, value >> host_bits << host_bits))
            if hop is not None:
                return length, hop
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RouteTable) and self._hops == other._hops

    def __hash__(self) -> int:
        return hash(frozenset(self._hops.items()))

    def __repr__(self) -> str:
        return f"RouteTable({len(self._hops)} routes)"


def _key(network: IPNetwork) -> tuple[Family, int, int]:
    return family_of(network), network.prefixlen, int(network.network_address)


def _lengths(networks: Iterable[IPNetwork], family: Family) -> tuple[int, ...]:
    """The prefix lengths in use, longest first."""
    return tuple(sorted({network.prefixlen for network in networks if family_of(network) is family}, reverse=True))
