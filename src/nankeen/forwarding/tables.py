"""A host's state, arranged for lookups: by destination, by device, by hardware address. Nothing is decided here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from nankeen.forwarding.prefixes import Prefixes
from nankeen.model.address import Family, HardwareAddress, IPAddress
from nankeen.model.observed import (
    BridgeEntry,
    BridgePort,
    DynamicNeighbour,
    LinkFacts,
    NextHop,
    OtherRoute,
    RouteType,
    RoutingRule,
)
from nankeen.model.state import (
    MAIN_TABLE,
    Address,
    Bridge,
    ForwardingEntry,
    Ipip,
    Link,
    Neighbour,
    Route,
    State,
    Sysctl,
    Tun,
    Vxlan,
)
from nankeen.model.tunnel import TunnelPeer, TunnelSocket
from nankeen.model.wireguard import WireguardDevice, WireguardPeer
from nankeen.model.xfrm import XfrmPolicy

LOCAL_TABLE = 255
"""RT_TABLE_LOCAL (linux/rtnetlink.h)."""
_DEFAULT_TABLE = 253
_REMEMBERED = 100_000
"""Lookups of one host."""

_DEFAULT_RULES = {
    version: tuple(
        RoutingRule(Family(version), priority, table)
        for priority, table in ((0, LOCAL_TABLE), (32766, MAIN_TABLE), (32767, _DEFAULT_TABLE))
    )
    for version in (4, 6)
}


class Unpredictable(Exception):  # noqa: N818  (it is no error of anybody: a fact that was not observed is needed)
    """The state does not tell what becomes of the packet; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A route as lookups see it."""

    type: RouteType
    hops: tuple[NextHop, ...]
    priority: int
    length: int
    source: IPAddress | None
    tos: int
    shown: Route | OtherRoute


class Tables:
    """Of one host. What is not asked for is not prepared."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.links = {link.name: link for link in state.of(Link)}
        self.settings = {setting.path: setting.value for setting in state.of(Sysctl)}
        self.facts = {facts.device: facts for facts in state.of(LinkFacts)}
        self.ports = {port.device: port for port in state.of(BridgePort)}
        self.remembered: dict[object, object] = {}
        """What earlier lookups of this state found: the state does not change."""
        self._forwarding: dict[tuple[int, str], bool] = {}

    def setting(self, path: str) -> int:
        """A setting that is a number. Raises `Unpredictable`."""
        try:
            return int(self.settings[path])
        except (KeyError, ValueError):
            raise Unpredictable(f"the setting {path} was not read") from None

    def either(self, version: int, device: str, name: str) -> int:
        """The larger value of a setting for all devices and for this one, as the kernel takes it (IN_DEV_MAXCONF)."""
        base = f"net/ipv{version}/conf/"
        return max(self.setting(f"{base}all/{name}"), self.setting(f"{base}{device}/{name}"))

    def is_forwarding(self, version: int, device: str) -> bool:
        """Whether packets that come in by the device are sent on; in IPv6 the host decides as one (ip6_forward)."""
        found = self._forwarding.get((version, device))
        if found is None:
            found = bool(self.setting(f"net/ipv{version}/conf/{device if version == 4 else 'all'}/forwarding"))
            self._forwarding[version, device] = found
        return found

    @cached_property
    def addresses(self) -> dict[str, list[Address]]:
        """By device."""
        found: dict[str, list[Address]] = defaultdict(list)
        for address in self.state.of(Address):
            found[address.device].append(address)
        return dict(found)

    @cached_property
    def held(self) -> dict[IPAddress, list[Address]]:
        """By address; one may be on several devices."""
        found: dict[IPAddress, list[Address]] = defaultdict(list)
        for address in self.state.of(Address):
            found[address.interface.ip].append(address)
        return dict(found)

    def holds(self, address: IPAddress) -> bool:
        """Whether a device of the host has the address."""
        return address in self.held

    def holds_on(self, address: IPAddress, device: str) -> bool:
        return any(held.device == device for held in self.held.get(address, ()))

    @cached_property
    def neighbours(self) -> dict[tuple[str, IPAddress], Neighbour | DynamicNeighbour]:
        found: dict[tuple[str, IPAddress], Neighbour | DynamicNeighbour] = {
            (entry.device, entry.destination): entry for entry in self.state.of(DynamicNeighbour)
        }
        found.update({(entry.device, entry.destination): entry for entry in self.state.of(Neighbour)})
        return found

    @cached_property
    def forwarding(self) -> dict[tuple[str, HardwareAddress], list[ForwardingEntry | BridgeEntry]]:
        """The tables of bridges and VXLAN devices, by the name of either."""
        found: dict[tuple[str, HardwareAddress], list[ForwardingEntry | BridgeEntry]] = defaultdict(list)
        for entry in self.state.of(ForwardingEntry):
            found[entry.device, entry.address].append(entry)
        for other in self.state.of(BridgeEntry):
            if not other.vlan:
                found[other.bridge or other.device, other.address].append(other)
        return dict(found)

    @cached_property
    def members(self) -> dict[str, list[Link]]:
        """The ports of each bridge."""
        found: dict[str, list[Link]] = defaultdict(list)
        for link in self.links.values():
            if link.master:
                found[link.master].append(link)
        return dict(found)

    @cached_property
    def tunnels(self) -> frozenset[str]:
        """Devices by which packets leave inside of others, or not at all."""
        return frozenset(link.name for link in self.links.values() if isinstance(link.kind, Vxlan | Ipip | Tun))

    @cached_property
    def vxlans(self) -> dict[tuple[int, int, int], Link]:
        """VXLAN devices that are up, by the version of IP that they are carried in, UDP port and VNI."""
        return {
            (link.kind.local.version if link.kind.local else 4, link.kind.port, link.kind.vni): link
            for link in self.links.values()
            if isinstance(link.kind, Vxlan) and link.up
        }

    @cached_property
    def wireguard(self) -> dict[str, tuple[WireguardDevice, tuple[WireguardPeer, ...]]]:
        """By device."""
        peers = tuple(self.state.of(WireguardPeer))
        return {
            device.device: (device, tuple(peer for peer in peers if peer.device == device.device))
            for device in self.state.of(WireguardDevice)
        }

    @cached_property
    def datagram_peers(self) -> dict[tuple[str, int], Prefixes[TunnelPeer]]:
        """Of the udp backend, by device and version of IP."""
        found: dict[tuple[str, int], list[TunnelPeer]] = defaultdict(list)
        for peer in self.state.of(TunnelPeer):
            found[peer.device, peer.subnet.version].append(peer)
        return {key: Prefixes((peer.subnet, peer) for peer in peers) for key, peers in found.items()}

    def datagram_socket(self, device: str, version: int) -> TunnelSocket | None:
        """What the udp backend sends by."""
        found = self.state.get((TunnelSocket, device, Family(version)))
        return found if isinstance(found, TunnelSocket) else None

    @cached_property
    def policies(self) -> tuple[XfrmPolicy, ...]:
        return tuple(self.state.of(XfrmPolicy))

    @cached_property
    def bridges(self) -> frozenset[str]:
        return frozenset(link.name for link in self.links.values() if isinstance(link.kind, Bridge))

    @cached_property
    def rules(self) -> dict[int, tuple[RoutingRule, ...]]:
        """By version of IP, in order. A state without any has those that every kernel starts with."""
        found = sorted(self.state.of(RoutingRule), key=lambda rule: rule.priority)
        return {
            version: tuple(rule for rule in found if rule.family.value == version) or _DEFAULT_RULES[version]
            for version in (4, 6)
        }

    @cached_property
    def has_own_rules(self) -> dict[int, bool]:
        """Whether there are rules besides those that every kernel starts with (fib4_has_custom_rules)."""
        return {version: set(rules) != set(_DEFAULT_RULES[version]) for version, rules in self.rules.items()}

    @cached_property
    def routes(self) -> dict[tuple[int, int], Prefixes[Entry]]:
        """By version of IP and table; routes to one network in the order of their metrics."""
        found: dict[tuple[int, int], list[Entry]] = defaultdict(list)
        for version, table, entry in self._entries():
            found[version, table].append(entry)
        return {
            key: Prefixes(
                (entry.shown.destination, entry) for entry in sorted(entries, key=lambda entry: entry.priority)
            )
            for key, entries in found.items()
        }

    def _entries(self) -> Iterator[tuple[int, int, Entry]]:
        for route in self.state.of(Route):
            hops = () if route.blackhole else (NextHop(route.device, route.gateway, 1, route.onlink),)
            kind, destination = RouteType.BLACKHOLE if route.blackhole else RouteType.UNICAST, route.destination
            entry = Entry(kind, hops, route.priority, destination.prefixlen, route.source, 0, route)
            yield destination.version, route.table, entry
        for other in self.state.of(OtherRoute):
            destination = other.destination
            kind, length = other.type, destination.prefixlen
            entry = Entry(kind, other.hops, other.metric, length, other.source, other.tos, other)
            yield destination.version, other.table, entry

    def remember(self, key: object, found: object) -> None:
        if len(self.remembered) >= _REMEMBERED:
            self.remembered.clear()
        self.remembered[key] = found
