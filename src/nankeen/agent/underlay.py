"""Which device carries packets between the nodes, and with which addresses. A function of the observed state.

The rules are flannel's: what is named, what matches, what leads to an address, else the default route; both families
on one device. Different on purpose: what a node binds to is its own, and what it advertises may be any address; one
that no interface has is advertised from the device of the default route, where flannel gives up; and what was chosen
stays chosen while it would do, because we follow what changes and flannel looks once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from nankeen.agent.wish import Wish
from nankeen.backend import Underlay
from nankeen.model.address import Family, IPAddress, IPNetwork, family_of
from nankeen.model.errors import InputError
from nankeen.model.state import MAIN_TABLE, Address, AddressFlag, Link, Route, State


def choose(observed: State, wish: Wish, networks: Sequence[IPNetwork], current: Underlay | None = None) -> Underlay:
    """The device that the wish leads to, its MTU, and the address of each family that the node binds to.

    Of several ways to find it, the first that ends well counts. `networks` are the pod networks: they tell the
    families, and an address inside of them is never the underlay's. `current` is what was chosen before: an address
    stays while the device has it, and a device while it has a default route or none has one, even if a better one came;
    only a link-local address gives way to a global one. Raises `InputError`.
    """
    host = _Host(observed, networks)
    preferred = (*wish.public, *(current.addresses if current else ()))
    refusals: list[InputError] = []
    for way in _ways(host, wish, current.device if current else ""):
        try:
            return host.underlay(way(), preferred)
        except InputError as refusal:
            refusals.append(refusal)
    if len(refusals) == 1:
        raise refusals[0]
    told = ", ".join(f"{refusal.where}: {refusal.problem}" for refusal in refusals)
    raise InputError(told, where="underlay", remedy=host.offer)


def hindrance(observed: State, underlay: Underlay) -> str:
    """Why the underlay carries nothing now, in words; "" where nothing is known to be in its way."""
    link = observed.get((Link, underlay.device))
    if not isinstance(link, Link) or (link.up and link.carrier is not False):
        return ""
    return f"{link.name} has no carrier" if link.up else f"{link.name} is down"


class _Choice(NamedTuple):
    """A device, and those of its addresses that were chosen with it."""

    device: str
    addresses: tuple[IPAddress, ...] = ()


_Way = Callable[[], _Choice]


def _ways(host: _Host, wish: Wish, current: str) -> Sequence[_Way]:
    """The ways to find the device, in their order. Each may raise `InputError`."""
    ways: list[_Way] = [partial(_named, host, name, wish.public) for name in wish.interfaces]
    ways += [partial(_matching, host, pattern.pattern, pattern.search) for pattern in wish.patterns]
    ways += [partial(_leading, host, wish.can_reach)] if wish.can_reach is not None else []
    return ways or [partial(_unnamed, host, wish.public, current)]


def _named(host: _Host, name: str | IPAddress, public: Sequence[IPAddress]) -> _Choice:
    if isinstance(name, str):
        return _Choice(name)
    device = host.holder(name)
    if device is None:
        raise InputError("no interface has this address", where=f"interface {name}", remedy=host.offer)
    others = [address for address in public if address.version != name.version]
    _on_one_device(host.held((name, *others)))
    return _Choice(device, (name,))


def _matching(host: _Host, pattern: str, matches: Callable[[str], object]) -> _Choice:
    """The first device with an address of each family that matches; else the first whose name does."""
    able = [name for name in host.links if all(host.usable(name, family) for family in host.families)]
    for name in able:
        found = [[ip for ip in host.usable(name, family) if matches(str(ip))] for family in host.families]
        if all(found):
            return _Choice(name, tuple(addresses[0] for addresses in found))
    for name in able:
        if matches(name):
            return _Choice(name)
    families = " and ".join(map(str, host.families))
    raise InputError(
        f"no interface that has an {families} address matches", where=f"--iface-regex {pattern}", remedy=host.offer
    )


def _leading(host: _Host, destination: IPAddress) -> _Choice:
    """The device that packets to the address leave by, with the source address that the kernel gives them."""
    where = f"--iface-can-reach {destination}"
    own = host.holder(destination)
    if own is not None:
        return _Choice(own, (destination,))
    route = host.route_to(destination)
    if route is None:
        raise InputError("no route leads there", where=where, remedy=host.offer)
    if not route.device:
        raise InputError("the route there has several next hops", where=where, remedy=f"name one; {host.offer}")
    source = route.source or host.neighbour_of(route.device, route.gateway or destination)
    return _Choice(route.device, (source,) if source is not None else ())


def _unnamed(host: _Host, public: Sequence[IPAddress], current: str) -> _Choice:
    """The device that has a public address, where one has; else that of the default route."""
    held = host.held(public)
    if held:
        _on_one_device(held)
        return _Choice(next(iter(held.values())), tuple(held))
    defaults = {family: devices for family in host.families if (devices := host.default_devices(family))}
    if not defaults and current in host.links:
        return _Choice(current)
    if not defaults:
        remedy = f"name it with --iface; {host.offer}"
        raise InputError("there is no default route to tell the underlay interface by", remedy=remedy)
    return _Choice(_default(host, defaults, current))


def _default(host: _Host, defaults: Mapping[Family, Sequence[str]], current: str) -> str:
    """The one device of the default routes."""
    chosen = {family: current if current in devices else devices[0] for family, devices in defaults.items()}
    for family, device in chosen.items():
        if not device:
            problem = f"the {family} default route has several next hops"
            raise InputError(problem, remedy=f"name the underlay's interface with --iface; {host.offer}")
    if len(set(chosen.values())) > 1:
        told = ", ".join(f"that of {family} is {device}'s" for family, device in chosen.items())
        raise InputError(f"the default routes are not of one interface: {told}", remedy="name one with --iface")
    return next(iter(chosen.values()))


def _on_one_device(held: Mapping[IPAddress, str]) -> None:
    if len(set(held.values())) > 1:
        told = " and ".join(f"{address} is on {device}" for address, device in held.items())
        raise InputError(told, where="underlay", remedy="both families must be on one interface")


class _Host:
    """The observed state, asked what the ways ask."""

    def __init__(self, observed: State, networks: Sequence[IPNetwork]) -> None:
        self.families = tuple(family_of(network) for network in networks)
        self.links = {link.name: link for link in observed.of(Link)}
        self._networks = networks
        self._addresses = tuple(observed.of(Address))
        self._routes = tuple(route for route in observed.of(Route) if route.table == MAIN_TABLE)

    @property
    def offer(self) -> str:
        """What could be named."""
        names = sorted(name for name in self.links if name != "lo")
        return f"the interfaces are {', '.join(names)}" if names else "this namespace has no interface"

    def underlay(self, choice: _Choice, preferred: Sequence[IPAddress]) -> Underlay:
        """What was chosen, with what else there is to know of it. Raises `InputError`."""
        where = f"interface {choice.device}"
        link = self.links.get(choice.device)
        if link is None:
            raise InputError("there is no such interface", where=where, remedy=self.offer)
        if not link.mtu:
            raise InputError("its MTU is 0", where=where, remedy=f"ip link set {link.name} mtu 1500")
        addresses = tuple(self._address(choice, family, preferred) for family in self.families)
        return Underlay(link.name, link.mtu, addresses)

    def _address(self, choice: _Choice, family: Family, preferred: Sequence[IPAddress]) -> IPAddress:
        for address in choice.addresses:
            if family_of(address) is family:
                return address
        usable = self.usable(choice.device, family)
        if not usable:
            remedy = "give it one, or choose another interface"
            raise InputError(f"it has no {family} address", where=f"interface {choice.device}", remedy=remedy)
        best = [address for address in usable if address.is_link_local == usable[0].is_link_local]
        return next((address for address in preferred if address in best), best[0])

    def usable(self, device: str, family: Family) -> tuple[IPAddress, ...]:
        """The addresses that the underlay can have there, best first; the kernel's order decides among equals."""
        found = [
            address
            for address in self._addresses
            if address.device == device and family_of(address.interface) is family and self._is_usable(address)
        ]
        return tuple(address.interface.ip for address in sorted(found, key=_demerits))

    def _is_usable(self, address: Address) -> bool:
        ip, flags = address.interface.ip, address.flags or AddressFlag(0)
        return (
            not flags & (AddressFlag.DEPRECATED | AddressFlag.DADFAILED)
            and not (ip.is_loopback or ip.is_multicast or ip.is_unspecified)
            and not any(ip in network for network in self._networks)
        )

    def holder(self, ip: IPAddress) -> str | None:
        """The device that has the address."""
        return next((address.device for address in self._addresses if address.interface.ip == ip), None)

    def held(self, addresses: Sequence[IPAddress]) -> dict[IPAddress, str]:
        """Those of the addresses, in the families in use, that a device has, with that device."""
        return {ip: device for ip in addresses if family_of(ip) in self.families and (device := self.holder(ip))}

    def neighbour_of(self, device: str, hop: IPAddress) -> IPAddress | None:
        """The device's address in the network that a next hop is in: what the kernel sends from, if nothing else is
        said.
        """
        return next(
            (item.interface.ip for item in self._addresses if item.device == device and hop in item.interface.network),
            None,
        )

    def default_devices(self, family: Family) -> tuple[str, ...]:
        """The devices of the family's default routes, lowest metric first; "" for one of several next hops."""
        found = [
            route
            for route in self._routes
            if not route.destination.prefixlen and family_of(route.destination) is family
        ]
        return tuple(route.device for route in sorted(found, key=lambda route: route.priority))

    def route_to(self, ip: IPAddress) -> Route | None:
        """The route that leads to the address: of the longest prefix, then of the lowest metric."""
        leading = (route for route in self._routes if ip in route.destination)
        return max(leading, key=lambda route: (route.destination.prefixlen, -route.priority), default=None)


def _demerits(address: Address) -> tuple[bool, bool, bool]:
    """Global before link-local, permanent before dynamic, lasting before temporary."""
    flags = address.flags or AddressFlag(0)
    return address.interface.ip.is_link_local, AddressFlag.DYNAMIC in flags, AddressFlag.TEMPORARY in flags
