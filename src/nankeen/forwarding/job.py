"""What is left to do of a walk: a packet (or a copy of it) at some stage of some host's network stack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto

from nankeen.forwarding.hop import Connection, Consulted, Direction, End, Flow, Trail
from nankeen.forwarding.packet import Packet
from nankeen.forwarding.tables import Tables
from nankeen.forwarding.world import Host, World
from nankeen.model.address import HardwareAddress, IPAddress


class Stage(IntEnum):
    """Where a packet is in a host's network stack."""

    SEND = auto()
    """With a process of the host."""
    OUTPUT = auto()
    """Made by the host itself, routed."""
    TRANSMIT = auto()
    """At a device, with the next hop known."""
    FRAME = auto()
    """At an Ethernet device, as a frame."""
    ARRIVE = auto()
    """Come in by a device, as a frame."""
    RECEIVE = auto()
    """Come in by a device, as an IP packet."""
    LOOP_BACK = auto()
    """The host's own copy of what it sends to all on a link."""
    DELIVER = auto()
    """For the host itself."""


class Tracked(Enum):
    """What a packet is to connection tracking, as `ct state` calls it (linux/netfilter/nf_conntrack_common.h)."""

    NEW = "new"
    ESTABLISHED = "established"
    RELATED = "related"
    INVALID = "invalid"
    UNTRACKED = "untracked"


@dataclass(slots=True)
class Track:
    """What connection tracking makes of the packet on this host."""

    original: Flow
    """As it came."""
    wanted: Flow
    """As it shall leave."""
    state: Tracked
    is_own: bool = False
    """From the host itself: what comes back by the loopback device has been decided on."""

    @property
    def is_new(self) -> bool:
        """The first packet of a connection: rules decide how it is translated."""
        return self.state is Tracked.NEW


@dataclass(slots=True)
class Job:
    """A packet at a stage. Whoever works on it changes it, and returns it for the next stage."""

    stage: Stage
    host: Host
    device: str
    """What it came in by, or is to leave by."""
    packet: Packet
    trail: Trail = None
    iif: str = ""
    """What it came in by, while it is forwarded; "" for packets of the host itself."""
    nexthop: IPAddress | None = None
    mark: int = 0
    track: Track | None = None
    fragments: bool = True
    """Whether it may leave in fragments."""
    is_broadcast: bool = False
    """Whether the host sends it to all on the link."""

    @property
    def tables(self) -> Tables:
        return self.host.tables

    @property
    def inbound(self) -> str:
        """What the packet came in by; "" for the host's own."""
        return self.iif or (self.device if self.stage is Stage.RECEIVE else "")

    def note(self, consulted: Consulted, entry: object, after: Packet | None = None, device: str | None = None) -> None:
        """Adds a hop, and goes on with the packet that it leaves."""
        packet = self.packet
        after = packet if after is None else after
        where = self.device if device is None else device
        self.trail = (self.trail, self.host.name, where, consulted, entry, packet, after)
        self.packet = after

    def passes(self, direction: Direction) -> None:
        """Adds the passage of the device that the packet is at."""
        self.trail = (self.trail, self.host.name, self.device, direction, None, self.packet, self.packet)

    def at(self, stage: Stage, device: str | None = None) -> Job:
        """The same packet, at another stage."""
        self.stage = stage
        if device is not None:
            self.device = device
        return self

    def become(self, host: Host, device: str, trail: Trail) -> None:
        """The packet is in another host's hands, come in by that device: nothing that this one remembers goes along."""
        self.stage, self.host, self.device, self.trail = Stage.RECEIVE, host, device, trail
        self.iif, self.nexthop, self.mark, self.track, self.fragments, self.is_broadcast = (
            "",
            None,
            0,
            None,
            True,
            False,
        )

    def copy(self, stage: Stage, host: Host, device: str) -> Job:
        """A copy of the packet, in another host's hands: nothing that this one remembers of it goes along."""
        return Job(stage, host, device, self.packet, self.trail)


Outcome = Job | list[Job] | End


@dataclass(slots=True)
class Run:
    """What a walk knows besides its packets."""

    world: World
    resolve: Callable[[Run, Job, IPAddress], HardwareAddress | None]
    """Asks the neighbours of a device who has the address, by ARP or neighbour discovery."""
    passages: bool = False
    """Whether the devices passed are told, too: it takes time."""
    known: dict[tuple[str, Flow], Connection] = field(default_factory=dict)
    """Connections from earlier packets, by host and by either flow."""
    made: list[Connection] = field(default_factory=list)
    """Connections that this packet makes."""
    learned: dict[tuple[str, str, HardwareAddress], str] = field(default_factory=dict)
    """The ports that bridges have learned from frames, by host, bridge and hardware address."""
    vteps: dict[tuple[str, str, HardwareAddress], IPAddress] = field(default_factory=dict)
    """The far ends that VXLAN devices have learned."""
    heard: dict[tuple[str, str, IPAddress], HardwareAddress] = field(default_factory=dict)
    """Whom hosts know because they were asked by them, by host, device and address."""
    depth: int = 0
    """How many questions of neighbours this one was asked for."""
    question: IPAddress | None = None
    """Of a walk that resolves a neighbour: whose address is asked for."""
    answers: set[HardwareAddress] = field(default_factory=set)
    is_filtered: bool = False
    """Whether a packet filter was asked about a frame that crosses a bridge."""
