"""Kernel state as values: links, addresses, neighbours, forwarding entries, routes and sysctls.

What only some backends have stands in modules of its own: WireGuard's devices and peers, IPsec's policies, and what is
kept outside the kernel for a peer: IKE connections, commands, and what the udp backend's data path is told.

Each object has an identity (what makes it the same object to the kernel) and content (the rest). `str()` of an object
is the line that `ip`, `bridge` or `sysctl` prints for it. A field that is None in a desired object leaves the choice to
the kernel; observed objects have every field.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import TypeVar, get_args

from nankeen.model.address import HardwareAddress, IPAddress, IPInterface, IPNetwork
from nankeen.model.hook import Hook
from nankeen.model.ike import IkeConnection, IkeSecret
from nankeen.model.observed import ObservedObject
from nankeen.model.tunnel import TunnelPeer, TunnelSocket
from nankeen.model.wireguard import WireguardDevice, WireguardPeer
from nankeen.model.xfrm import XfrmPolicy

MAIN_TABLE = 254
"""RT_TABLE_MAIN (linux/rtnetlink.h)."""
PROTOCOL_KERNEL = 2
"""RTPROT_KERNEL: the route came with an address."""
PROTOCOL_BOOT = 3
"""RTPROT_BOOT: what flannel's routes carry, and ours on our own devices, so that `ip route` prints the same line."""
PROTOCOL_NANKEEN = 110
"""What our routes by the underlay carry. Their device is not ours: the number tells them from an administrator's."""
BLACKHOLE_METRIC = 32767
"""Behind every route that an interface address brings: those have 0, or, for IPv6, 256."""

Identity = tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class Vxlan:
    """A VXLAN tunnel end point (RFC 7348; linux/if_link.h, IFLA_VXLAN_*)."""

    vni: int
    underlay: str | None
    """The device its packets leave by."""
    local: IPAddress | None
    """Source address of the outer packets."""
    port: int = 8472
    """UDP destination port; 8472 is the kernel's default, 4789 IANA's."""
    learning: bool = False
    gbp: bool = False


@dataclass(frozen=True, slots=True)
class Ipip:
    """A tunnel of IPv4 in IPv4 (RFC 2003; linux/if_tunnel.h, IFLA_IPTUN_*)."""

    local: IPAddress | None
    """Source address of the outer packets."""
    remote: IPAddress | None = None
    """The one far end; None where each route's gateway is one."""


@dataclass(frozen=True, slots=True)
class Bridge:
    """An Ethernet bridge."""


@dataclass(frozen=True, slots=True)
class Veth:
    """One end of a virtual Ethernet pair."""


@dataclass(frozen=True, slots=True)
class Tun:
    """A TUN device: what is sent by it, a process reads as IP packets (linux/if_tun.h, IFLA_TUN_*)."""

    persistent: bool = True
    """Whether it stays when no process has it open."""
    multi_queue: bool = True
    """Whether it may be open more than once: a process reads each queue by a descriptor of its own."""


@dataclass(frozen=True, slots=True)
class Device:
    """A link of any other kind, by the kernel's name for it; "" for a physical device."""

    kind: str


LinkKind = Vxlan | Ipip | Bridge | Veth | Tun | Device


@dataclass(frozen=True, slots=True)
class Link:
    """A network device."""

    name: str
    kind: LinkKind
    mtu: int | None = None
    """Largest packet, without the Ethernet header, in bytes."""
    address: HardwareAddress | None = None
    up: bool = True
    master: str | None = None
    """The bridge it is a port of; "" for none."""
    txqlen: int | None = None
    """Length of the transmit queue in packets."""
    gso_max_size: int | None = None
    """Largest packet that is given to the device to be segmented, in bytes (IFLA_GSO_MAX_SIZE)."""
    carrier: bool | None = field(default=None, compare=False)
    """Whether its other end is there (IFF_LOWER_UP). It comes and goes by itself: two observations that differ in
    nothing else are equal.
    """

    @property
    def identity(self) -> Identity:
        return (Link, self.name)

    @property
    def device(self) -> str | None:
        return None

    def satisfied_by(self, observed: Link) -> bool:
        return (
            self.kind == observed.kind
            and self.mtu in (None, observed.mtu)
            and self.address in (None, observed.address)
            and self.up == observed.up
            and self.master in (None, observed.master)
            and self.txqlen in (None, observed.txqlen)
            and self.gso_max_size in (None, observed.gso_max_size)
        )

    def __str__(self) -> str:
        parts = [f"{self.name}:"]
        match self.kind:
            case Vxlan() as vxlan:
                parts += ["vxlan", "id", str(vxlan.vni)]
                parts += ["local", str(vxlan.local)] if vxlan.local else []
                parts += ["dev", vxlan.underlay] if vxlan.underlay else []
                parts += ["dstport", str(vxlan.port), "learning" if vxlan.learning else "nolearning"]
                parts += ["gbp"] if vxlan.gbp else []
            case Ipip(local, remote):
                parts += ["ipip", "remote", str(remote or "any"), "local", str(local or "any")]
            case Tun(persistent, multi_queue):
                parts += ["tun", "type", "tun", "pi", "off"]
                parts += ["multi_queue"] if multi_queue else []
                parts += ["persist", "on" if persistent else "off"]
            case Device(kind):
                parts += [kind] if kind else []
            case kind:
                parts += [type(kind).__name__.lower()]
        parts += ["mtu", str(self.mtu)] if self.mtu is not None else []
        parts += ["master", self.master] if self.master else []
        parts += ["address", str(self.address)] if self.address else []
        parts += ["up" if self.up else "down"]
        return " ".join(parts)


class AddressFlag(Flag):
    """What sets an interface address apart from one that an administrator gave it for good (linux/if_addr.h).

    That it is tentative is left out: it passes within a second.
    """

    DYNAMIC = auto()
    """It has a lifetime: DHCP or a router advertisement gave it (not IFA_F_PERMANENT)."""
    TEMPORARY = auto()
    """It was made up for privacy, and another follows it (IFA_F_TEMPORARY, RFC 8981); IPv6 only."""
    DEPRECATED = auto()
    """It is not to be used for anything new: its preferred lifetime is over (IFA_F_DEPRECATED, RFC 4862 §5.5.4)."""
    DADFAILED = auto()
    """Somebody else on the link has it (IFA_F_DADFAILED, RFC 4862 §5.4.5)."""


@dataclass(frozen=True, slots=True)
class Address:
    """An interface address: the address and the length of the network it is on."""

    device: str
    interface: IPInterface
    flags: AddressFlag | None = field(default=None, compare=False)
    """The kernel's, which change by themselves: two observations that differ in nothing else are equal."""

    @property
    def identity(self) -> Identity:
        return (Address, self.device, self.interface)

    def satisfied_by(self, observed: Address) -> bool:  # noqa: ARG002  (it is all identity)
        return True

    def __str__(self) -> str:
        family = "inet" if self.interface.version == 4 else "inet6"
        flags = [str(flag.name).lower() for flag in self.flags or ()]
        return " ".join([family, str(self.interface), "dev", self.device, *flags])


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent entry of the neighbour table: ARP for IPv4, neighbour discovery for IPv6."""

    device: str
    destination: IPAddress
    address: HardwareAddress

    @property
    def identity(self) -> Identity:
        return (Neighbour, self.device, self.destination)

    def satisfied_by(self, observed: Neighbour) -> bool:
        return self.address == observed.address

    def __str__(self) -> str:
        return f"{self.destination} dev {self.device} lladdr {self.address} PERMANENT"


@dataclass(frozen=True, slots=True)
class ForwardingEntry:
    """A permanent entry of a VXLAN device's own forwarding table (FDB): frames for `address` go to `destination`."""

    device: str
    address: HardwareAddress
    destination: IPAddress

    @property
    def identity(self) -> Identity:
        return (ForwardingEntry, self.device, self.address)

    def satisfied_by(self, observed: ForwardingEntry) -> bool:
        return self.destination == observed.destination

    def __str__(self) -> str:
        return f"{self.address} dev {self.device} dst {self.destination} self permanent"


@dataclass(frozen=True, slots=True)
class Route:
    """A unicast route, or a blackhole. IPv6 routes have metric 1024 where none is given: the kernel's default."""

    destination: IPNetwork
    device: str
    """Observed, "" where the route has several next hops: such a route is never ours. A blackhole has none."""
    gateway: IPAddress | None = None
    onlink: bool = False
    metric: int | None = None
    table: int = MAIN_TABLE
    protocol: int = PROTOCOL_BOOT
    source: IPAddress | None = None
    blackhole: bool = False
    """Whether packets are dropped. Of blackholes only our own are observed."""

    @classmethod
    def blackhole_of(cls, network: IPNetwork) -> Route:
        """Drops what no other route to the network takes: it stands behind that of an interface address."""
        return cls(network, "", metric=BLACKHOLE_METRIC, protocol=PROTOCOL_NANKEEN, blackhole=True)

    @property
    def priority(self) -> int:
        """The metric that the kernel sees."""
        if self.metric is not None:
            return self.metric
        return 0 if self.destination.version == 4 else 1024

    @property
    def identity(self) -> Identity:
        return (Route, self.table, self.destination, self.priority)

    def satisfied_by(self, observed: Route) -> bool:
        return (
            self.device == observed.device
            and self.gateway == observed.gateway
            and self.onlink == observed.onlink
            and self.protocol == observed.protocol
            and self.blackhole == observed.blackhole
            and self.source in (None, observed.source)
        )

    def __str__(self) -> str:
        parts = ["blackhole"] if self.blackhole else []
        parts += ["default" if self.destination.prefixlen == 0 else str(self.destination)]
        if self.gateway is not None:  # an IPv4 route may lead by an IPv6 next hop (RFC 5549)
            parts += ["via", *(["inet6"] * (self.gateway.version != self.destination.version)), str(self.gateway)]
        if not self.blackhole:
            parts += ["dev", self.device] if self.device else ["nexthop", "several"]
        parts += ["table", str(self.table)] if self.table != MAIN_TABLE else []
        if self.protocol != PROTOCOL_BOOT:
            parts += ["proto", "kernel" if self.protocol == PROTOCOL_KERNEL else str(self.protocol)]
        parts += ["src", str(self.source)] if self.source else []
        parts += ["metric", str(self.priority)] if self.priority else []
        parts += ["onlink"] if self.onlink else []
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A kernel setting, by its path under /proc/sys: `net/ipv6/conf/flannel.1/accept_ra`."""

    path: str
    value: str

    @property
    def identity(self) -> Identity:
        return (Sysctl, self.path)

    @property
    def device(self) -> str | None:
        """The device of a per-device setting, or None."""
        match self.path.split("/"):
            case ["net", "ipv4" | "ipv6", "conf" | "neigh", device, _] if device not in ("all", "default"):
                return device
        return None

    def satisfied_by(self, observed: Sysctl) -> bool:
        return self.value == observed.value

    def __str__(self) -> str:
        return f"{self.path} = {self.value}"


KernelObject = (
    Link | Address | Neighbour | ForwardingEntry | Route | Sysctl | WireguardDevice | WireguardPeer | XfrmPolicy
)
Object = KernelObject | IkeConnection | IkeSecret | Hook | TunnelSocket | TunnelPeer | ObservedObject
KERNEL: frozenset[type[Object]] = frozenset(get_args(KernelObject))
"""The kinds that may be desired of the kernel itself. The others are kept by a companion of a backend, or only read."""
_Kind = TypeVar("_Kind", bound=Object)


class State:
    """A set of kernel objects, by identity. Immutable; two states are equal when they hold equal objects."""

    __slots__ = ("_objects",)

    def __init__(self, objects: Iterable[Object] = ()) -> None:
        """Raises `ValueError` where two different objects share an identity: they cannot stand side by side."""
        self._objects: dict[Identity, Object] = {}
        for item in objects:
            if self._objects.setdefault(item.identity, item) != item:
                raise ValueError(f"{item} and {self._objects[item.identity]} cannot stand side by side")

    def get(self, identity: Identity) -> Object | None:
        """The object of that identity."""
        return self._objects.get(identity)

    def of(self, kind: type[_Kind]) -> Iterator[_Kind]:
        """The objects of one kind."""
        return (item for item in self._objects.values() if isinstance(item, kind))

    def items(self) -> Iterable[tuple[Identity, Object]]:
        """Every identity with its object."""
        return self._objects.items()

    def replaced(self, parts: State, others: State) -> State:
        """The state with other objects in the place of these, which are part of it."""
        kept = self._objects.copy()
        for identity in parts._objects:
            del kept[identity]
        changed = State()
        changed._objects = {**kept, **others._objects}  # dictionaries remember hashes; those of networks are slow
        if len(changed) < len(kept) + len(others):
            return State([*kept.values(), *others])  # of one identity there may be equal objects, but no others
        return changed

    def __or__(self, other: State) -> State:
        return State([*self, *other])

    def __iter__(self) -> Iterator[Object]:
        return iter(self._objects.values())

    def __len__(self) -> int:
        return len(self._objects)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, State) and self._objects == other._objects

    def __hash__(self) -> int:
        return hash(frozenset(self._objects.values()))

    def __repr__(self) -> str:
        return "State(\n" + "".join(f"  {item}\n" for item in self) + ")"
