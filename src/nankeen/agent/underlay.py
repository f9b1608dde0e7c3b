"""Which device carries packets between the nodes, and with which addresses. A function of the observed state."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from nankeen.backend import Underlay
from nankeen.model.address import Family, IPAddress, family_of
from nankeen.model.errors import InputError
from nankeen.model.state import MAIN_TABLE, Address, Link, Route, State


def choose(observed: State, interface: str | None, families: Sequence[Family]) -> Underlay:
    """The device named `interface`, or the one that has it as an address, or, for None, the one of the default route,
    with its first address of each family (global before link-local). Raises `InputError`.
    """
    name = _device(observed, interface, families)
    link = observed.get((Link, name))
    if not isinstance(link, Link) or not link.mtu:
        raise InputError("there is no such interface", where=f"interface {name}", remedy=_offer(observed))
    addresses = tuple(_address(observed, name, family) for family in families)
    return Underlay(name, link.mtu, addresses)


def _device(observed: State, interface: str | None, families: Sequence[Family]) -> str:
    if interface is None:
        return _of_default_route(observed, families)
    try:
        wanted = ip_address(interface)
    except ValueError:
        return interface
    for address in observed.of(Address):
        if address.interface.ip == wanted:
            return address.device
    raise InputError("no interface has this address", where=f"interface {interface}", remedy=_offer(observed))


def _of_default_route(observed: State, families: Sequence[Family]) -> str:
    for family in families:
        defaults = [
            route
            for route in observed.of(Route)
            if route.destination.prefixlen == 0 and route.table == MAIN_TABLE and family_of(route.destination) is family
        ]
        if defaults:
            return min(defaults, key=lambda route: route.priority).device
    raise InputError(
        "there is no default route to tell the underlay interface by", remedy=f"name it; {_offer(observed)}"
    )


def _address(observed: State, device: str, family: Family) -> IPAddress:
    found = [
        address.interface.ip
        for address in observed.of(Address)
        if address.device == device and family_of(address.interface) is family
    ]
    if not found:
        raise InputError(
            f"it has no {family} address",
            where=f"interface {device}",
            remedy="give it one, or choose another interface",
        )
    return min(found, key=lambda ip: ip.is_link_local)  # stable: the kernel's order decides among equals


def _offer(observed: State) -> str:
    names = sorted(link.name for link in observed.of(Link) if link.name != "lo")
    return f"the interfaces are {', '.join(names)}" if names else "this namespace has no interface"
