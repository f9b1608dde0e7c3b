"""Kinds of kernel state that are only read, to predict what becomes of a packet: nobody desires them, so no diff has
them. `str()` of each is the line that `ip` or `bridge` prints.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Flag, IntEnum, auto

from nankeen.model.address import Family, HardwareAddress, IPAddress, IPNetwork

_MAIN_TABLE = 254
_TABLES = {253: "default", 254: "main", 255: "local"}
_PROTOCOLS = {0: "unspec", 1: "redirect", 2: "kernel", 3: "boot", 4: "static", 9: "ra", 16: "dhcp"}


class RouteType(IntEnum):
    """RTN_* (linux/rtnetlink.h)."""

    UNICAST = 1
    LOCAL = 2
    BROADCAST = 3
    ANYCAST = 4
    MULTICAST = 5
    BLACKHOLE = 6
    UNREACHABLE = 7
    PROHIBIT = 8
    THROW = 9


@dataclass(frozen=True, slots=True)
class NextHop:
    """One of the ways of a route."""

    device: str
    gateway: IPAddress | None = None
    weight: int = 1
    onlink: bool = False
    dead: bool = False
    """Its device is down (RTNH_F_DEAD)."""
    linkdown: bool = False
    """Its device has no carrier (RTNH_F_LINKDOWN)."""

    def __str__(self) -> str:
        via = f"via {_gateway(self.gateway)} " if self.gateway else ""
        return f"{via}dev {self.device}{' onlink' if self.onlink else ''}{' linkdown' if self.linkdown else ''}"


def _gateway(gateway: IPAddress) -> str:
    return f"inet6 {gateway}" if gateway.version == 6 else str(gateway)


@dataclass(frozen=True, slots=True)
class OtherRoute:
    """A route that is no plain `Route`: of another type than unicast, with several next hops or a type of service, or
    beside another of the same table, destination and metric.
    """

    type: RouteType
    destination: IPNetwork
    hops: tuple[NextHop, ...] = ()
    metric: int = 0
    table: int = _MAIN_TABLE
    protocol: int = 2
    source: IPAddress | None = None
    tos: int = 0

    @property
    def identity(self) -> tuple[Hashable, ...]:
        return (OtherRoute, self.type, self.table, self.destination, self.metric, self.tos, self.hops)

    @property
    def device(self) -> str | None:
        return self.hops[0].device if len(self.hops) == 1 else None

    def satisfied_by(self, observed: OtherRoute) -> bool:
        return self == observed

    def __str__(self) -> str:
        alone = self.destination.prefixlen == self.destination.max_prefixlen
        place = str(self.destination.network_address if alone else self.destination)
        parts = [self.type.name.lower()] if self.type is not RouteType.UNICAST else []
        parts += ["default" if self.destination.prefixlen == 0 else place]
        parts += [str(hop) for hop in self.hops] if len(self.hops) == 1 else []
        parts += ["table", _TABLES.get(self.table, str(self.table))] if self.table != _MAIN_TABLE else []
        parts += ["proto", _PROTOCOLS.get(self.protocol, str(self.protocol))] if self.protocol != 3 else []
        parts += ["src", str(self.source)] if self.source else []
        parts += ["metric", str(self.metric)] if self.metric else []
        if len(self.hops) > 1:
            parts += [f"nexthop {hop} weight {hop.weight}" for hop in self.hops]
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class RoutingRule:
    """A rule of the routing policy database (ip-rule(8), linux/fib_rules.h)."""

    family: Family
    priority: int
    table: int = 0
    """The table to look in; 0 where `action` says what happens instead."""
    action: RouteType = RouteType.UNICAST
    source: IPNetwork | None = None
    destination: IPNetwork | None = None
    iif: str = ""
    oif: str = ""
    mark: int = 0
    mask: int = 0
    """Bits of the mark that count; 0 where it does not matter."""
    invert: bool = False
    suppress: int = -1
    """Routes with a prefix of at most this length do not count; -1 where all do."""
    other: tuple[str, ...] = ()
    """Conditions that are not modelled: whether it matches is then not known."""

    @property
    def identity(self) -> tuple[Hashable, ...]:
        return (RoutingRule, self)

    @property
    def device(self) -> str | None:
        return None

    def satisfied_by(self, observed: RoutingRule) -> bool:
        return self == observed

    def __str__(self) -> str:
        parts = [f"{self.priority}:", *(["not"] if self.invert else []), "from", str(self.source or "all")]
        parts += ["to", str(self.destination)] if self.destination else []
        parts += ["fwmark", hex(self.mark) if self.mask == 0xFFFF_FFFF else f"{self.mark:#x}/{self.mask:#x}"] * bool(
            self.mask
        )
        parts += ["iif", self.iif] if self.iif else []
        parts += ["oif", self.oif] if self.oif else []
        parts += list(self.other)
        parts += ["lookup", _TABLES.get(self.table, str(self.table))] if self.table else [self.action.name.lower()]
        parts += ["suppress_prefixlength", str(self.suppress)] if self.suppress >= 0 else []
        return " ".join(parts)


class NeighbourState(Flag):
    """NUD_* (linux/neighbour.h), those that a permanent entry never has."""

    NONE = 0
    INCOMPLETE = auto()
    REACHABLE = auto()
    STALE = auto()
    DELAY = auto()
    PROBE = auto()
    FAILED = auto()
    NOARP = auto()


@dataclass(frozen=True, slots=True)
class DynamicNeighbour:
    """An entry of the neighbour table that the kernel keeps by itself, or knows to lead nowhere."""

    device: str
    destination: IPAddress
    address: HardwareAddress | None
    state: NeighbourState

    @property
    def identity(self) -> tuple[Hashable, ...]:
        return (DynamicNeighbour, self.device, self.destination)

    @property
    def is_valid(self) -> bool:
        """Whether frames are sent by it at once (NUD_VALID)."""
        return self.address is not None and not self.state & (NeighbourState.INCOMPLETE | NeighbourState.FAILED)

    def satisfied_by(self, observed: DynamicNeighbour) -> bool:
        return self == observed

    def __str__(self) -> str:
        address = f"lladdr {self.address} " if self.address else ""
        return f"{self.destination} dev {self.device} {address}{self.state.name or 'NONE'}"


@dataclass(frozen=True, slots=True)
class BridgeEntry:
    """An entry of a forwarding table that is no `ForwardingEntry`: a bridge's own, a learned one of a VXLAN device, or
    one more of several destinations for the same address.
    """

    device: str
    """The port of the bridge, the bridge itself for its own addresses, or the VXLAN device."""
    address: HardwareAddress
    bridge: str = ""
    """Whose table it is in; "" for the VXLAN device's own."""
    destination: IPAddress | None = None
    """Of the outer packets, where it is the VXLAN device's."""
    local: bool = False
    """Whether frames for the address are for the bridge's own host."""
    static: bool = False
    vlan: int = 0
    port: int = 0
    """Of the outer packets, 0 for the device's."""
    vni: int | None = None
    via: str = ""
    """The device that outer packets leave by."""

    @property
    def identity(self) -> tuple[Hashable, ...]:
        return (BridgeEntry, self)

    def satisfied_by(self, observed: BridgeEntry) -> bool:
        return self == observed

    def __str__(self) -> str:
        parts = [str(self.address), "dev", self.device]
        parts += ["dst", str(self.destination)] if self.destination else []
        parts += ["port", str(self.port)] if self.port else []
        parts += ["vni", str(self.vni)] if self.vni is not None else []
        parts += ["via", self.via] if self.via else []
        parts += ["vlan", str(self.vlan)] if self.vlan else []
        parts += ["master", self.bridge] if self.bridge else ["self"]
        parts += ["permanent"] if self.local else ["static"] if self.static else []
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class BridgePort:
    """How a device takes part in its bridge (linux/if_link.h, IFLA_BRPORT_*)."""

    device: str
    forwarding: bool = True
    """Whether its state is forwarding (BR_STATE_FORWARDING), and not disabled, blocking, listening or learning."""
    learning: bool = True
    flood: bool = True
    """Whether frames for addresses nobody knows leave by it."""
    multicast_flood: bool = True
    broadcast_flood: bool = True
    hairpin: bool = False
    isolated: bool = False
    suppress: bool = False
    """Whether the bridge answers ARP and neighbour discovery in its place (neigh_suppress)."""
    locked: bool = False

    @property
    def identity(self) -> tuple[Hashable, ...]:
        return (BridgePort, self.device)

    def satisfied_by(self, observed: BridgePort) -> bool:
        return self == observed

    def __str__(self) -> str:
        names = ("learning", "flood", "multicast_flood", "broadcast_flood", "hairpin", "isolated", "suppress", "locked")
        flags = [f"{name} {'on' if getattr(self, name) else 'off'}" for name in names]
        return " ".join([f"{self.device}:", "state", "forwarding" if self.forwarding else "blocking", *flags])


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """What else is to know of a device for who predicts its packets."""

    device: str
    vlan_filtering: bool = False
    """Of a bridge: whether VLANs decide."""
    other: tuple[str, ...] = ()
    """Settings that change where packets go, and that are not modelled."""

    @property
    def identity(self) -> tuple[Hashable, ...]:
        return (LinkFacts, self.device)

    def satisfied_by(self, observed: LinkFacts) -> bool:
        return self == observed

    def __str__(self) -> str:
        parts = ["vlan_filtering 1"] if self.vlan_filtering else []
        return " ".join([f"{self.device}:", *parts, *self.other])


ObservedObject = OtherRoute | RoutingRule | DynamicNeighbour | BridgeEntry | BridgePort | LinkFacts
