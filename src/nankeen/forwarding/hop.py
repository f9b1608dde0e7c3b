"""What a walk consists of: hops, each a table that was asked and the entry that decided, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from nankeen.forwarding.packet import IcmpKind, Packet
from nankeen.model.address import HardwareAddress, IPAddress


class Consulted(Enum):
    """What decides at a hop."""

    LINK = "link"
    LOCAL = "local"
    RULE = "rule"
    ROUTE = "route"
    NEIGHBOUR = "neighbour"
    FDB = "FDB"
    BRIDGE = "bridge"
    FILTER = "filter"
    NAT = "nat"
    TUNNEL = "tunnel"
    SETTING = "setting"

    @property
    def command(self) -> str:
        """What shows it."""
        return _COMMANDS[self]


_COMMANDS = {
    Consulted.LINK: "ip -d link",
    Consulted.LOCAL: "ip route show table local",
    Consulted.RULE: "ip rule",
    Consulted.ROUTE: "ip route",
    Consulted.NEIGHBOUR: "ip neigh",
    Consulted.FDB: "bridge fdb",
    Consulted.BRIDGE: "bridge -d link",
    Consulted.FILTER: "nft list ruleset",
    Consulted.NAT: "nft list ruleset",
    Consulted.TUNNEL: "wg show",
    Consulted.SETTING: "sysctl -a",
}


class Cause(Enum):
    """Why a packet is dropped."""

    NO_ROUTE = "there is no route to it"
    BLACKHOLE = "a route says so"
    NOT_FORWARDING = "the host does not forward packets"
    MARTIAN_SOURCE = "its source address cannot come from there"
    MARTIAN_DESTINATION = "its destination is no address that packets are forwarded to"
    REVERSE_PATH = "the route back to its source leads elsewhere (rp_filter)"
    NO_SOURCE = "the sender does not have its source address"
    NO_NEIGHBOUR = "nobody answers for the next hop"
    LINK_DOWN = "the device is down"
    NO_CARRIER = "the device has no carrier"
    NO_LINK = "there is no such device"
    NO_FORWARDING_ENTRY = "no forwarding entry tells where the frame goes"
    OTHER_STATION = "the frame is for another station"
    BLOCKED_PORT = "the port of the bridge does not let it pass"
    FILTERED = "the packet filter drops it"
    TOO_BIG = "it is larger than the link takes"
    NO_TUNNEL = "no tunnel takes it"
    NO_PEER = "no peer of the tunnel has the address"
    LOOP = "it goes round in a loop"
    NOT_FOR_IP = "the device has no such protocol"


@dataclass(frozen=True, slots=True)
class Hop:
    """One decision on the packet's way."""

    host: str
    device: str
    """What the packet comes in or goes out by; "" where none is known yet."""
    consulted: Consulted
    entry: object
    """What matched: its `str()` is the line that the command prints."""
    before: Packet
    after: Packet

    @property
    def line(self) -> str:
        return str(self.entry)

    def __str__(self) -> str:
        return f"{self.host}: {self.consulted.command}: {self.entry}"


class Direction(Enum):
    """Which way a packet passes a device, as its host sees it."""

    LEAVES = "leaves"
    ENTERS = "enters"


@dataclass(frozen=True, slots=True)
class Passage:
    """A device that the packet passes, where a packet socket on it sees the packet (packet(7))."""

    host: str
    device: str
    direction: Direction
    packet: Packet
    """As it is there: a frame, or an IP packet where the device has no hardware addresses."""

    def __str__(self) -> str:
        return f"{self.direction.value} {self.host} by {self.device}: {self.packet}"


@dataclass(frozen=True, slots=True)
class Delivered:
    """The packet arrives."""

    host: str
    device: str
    """What it came in by."""
    address: IPAddress
    """Whom it is delivered to."""

    def __str__(self) -> str:
        return f"delivered to {self.address} on {self.host}"


@dataclass(frozen=True, slots=True)
class Answered:
    """The packet ends, and its sender is told."""

    host: str
    device: str
    error: IcmpKind
    cause: Cause
    detail: str = ""
    mtu: int = 0
    """What the error tells, where the packet was too big."""
    reset: bool = False
    """Whether a TCP reset says it, and no ICMP."""
    source: IPAddress | None = None
    """What the error is sent from; None where the host chooses as for any packet of its own."""
    by_process: bool = False
    """Whether a process says it that carries packets for the host, by the device."""

    def __str__(self) -> str:
        error = "TCP reset" if self.reset else f"ICMP {self.error.words}"
        mtu = f", mtu {self.mtu}" if self.mtu else ""
        return f"answered by {self.host}: {error}{mtu}: {self.detail or self.cause.value}"


@dataclass(frozen=True, slots=True)
class Dropped:
    """The packet ends, and nobody is told."""

    host: str
    device: str
    cause: Cause
    detail: str = ""

    def __str__(self) -> str:
        return f"dropped by {self.host}: {self.detail or self.cause.value}"


@dataclass(frozen=True, slots=True)
class Unknown:
    """What becomes of the packet cannot be told from the state."""

    host: str
    device: str
    detail: str

    def __str__(self) -> str:
        return f"unknown beyond {self.host}: {self.detail}"


End = Delivered | Answered | Dropped | Unknown


@dataclass(frozen=True, slots=True)
class Flow:
    """What connection tracking knows a connection by, in one direction."""

    source: IPAddress
    destination: IPAddress
    protocol: int
    source_port: int
    """Or the identifier of an ICMP echo."""
    port: int

    def reversed(self) -> Flow:
        return Flow(self.destination, self.source, self.protocol, self.port, self.source_port)


@dataclass(frozen=True, slots=True)
class Connection:
    """An entry of a host's connection tracking: the first packet's flow, and that of the answers."""

    host: str
    original: Flow
    reply: Flow


Trail = tuple["Trail", str, str, Consulted | Direction, object, Packet, Packet] | None
"""Hops and passages as they are collected, the last one first: copies of a packet share those before they part."""


@dataclass(frozen=True, slots=True)
class Walk:
    """The way of one packet. Of copies that a bridge or switch makes, the one that comes furthest is told."""

    packet: Packet
    """As it was sent."""
    trail: Trail = field(repr=False)
    end: End
    last: Packet
    """As it is at its end."""
    connections: tuple[Connection, ...] = field(default=())
    """What the hosts passed remember of it: what the way of an answer depends on."""
    heard: Mapping[tuple[str, str, IPAddress], HardwareAddress] = field(default_factory=dict, repr=False)
    """Whom hosts know since, because they were asked by them: by host, device and address."""

    @property
    def hops(self) -> tuple[Hop, ...]:
        """All decisions, in order."""
        return tuple(each for each in self.course if isinstance(each, Hop))

    @property
    def course(self) -> tuple[Hop | Passage, ...]:
        """All decisions and, where these were asked for, the passages between them, in order."""
        found: list[Hop | Passage] = []
        trail = self.trail
        while trail is not None:
            trail, host, device, what, entry, before, after = trail
            if isinstance(what, Direction):
                found.append(Passage(host, device, what, after))
            else:
                found.append(Hop(host, device, what, entry, before, after))
        return tuple(reversed(found))

    @property
    def delivered(self) -> bool:
        return isinstance(self.end, Delivered)
