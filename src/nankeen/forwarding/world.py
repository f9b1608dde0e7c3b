"""All that a packet may pass: hosts (nodes, pods, routers), each with its state, and the wires between devices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from nankeen.forwarding.ruleset import NO_RULES, Ruleset
from nankeen.forwarding.tables import Tables
from nankeen.model.address import HardwareAddress, IPAddress
from nankeen.model.errors import InputError
from nankeen.model.state import State

if TYPE_CHECKING:
    from nankeen.forwarding.leg import Leg


@dataclass(frozen=True)
class Host:
    """A network namespace: its name, what its kernel holds, and its packet filter."""

    name: str
    state: State | None
    """None where it could not be read: nothing is known of packets that come there."""
    ruleset: Ruleset = NO_RULES

    @property
    def is_observed(self) -> bool:
        """Whether there is a state. To ask for it may mean to read it; to ask for this does not."""
        return self.state is not None

    @property
    def is_read(self) -> bool:
        """Whether the state is at hand: a host may be read only when a packet comes there."""
        return True

    @cached_property
    def tables(self) -> Tables:
        """The state, prepared for lookups: once, when the first packet comes."""
        return Tables(self.state or State())


@dataclass(frozen=True, slots=True)
class Port:
    """A device, and whose it is."""

    host: str
    device: str

    def __str__(self) -> str:
        return f"{self.device} of {self.host}"


@dataclass(frozen=True, slots=True)
class Wire:
    """What carries a frame from each of its ports to all the others: a cable, a veth pair, or a switch."""

    ports: tuple[Port, ...]


@dataclass(frozen=True, slots=True)
class Resolution:
    """What came of a question of a neighbour."""

    address: HardwareAddress | None
    unknown: str = ""
    """Why it is not known who answers, where it is not."""
    learned: Mapping[tuple[str, str, HardwareAddress], str] = field(default_factory=dict)
    """What bridges learned from question and answer, by host, bridge and address."""
    vteps: Mapping[tuple[str, str, HardwareAddress], IPAddress] = field(default_factory=dict)
    """What VXLAN devices learned."""
    heard: Mapping[tuple[str, str, IPAddress], HardwareAddress] = field(default_factory=dict)
    """Who answered knows who asked."""


class _Segment:
    """A wire, and who on it takes frames for which address: a switch has no use for asking each of its ports."""

    def __init__(self, wire: Wire, hosts: Mapping[str, Host]) -> None:
        self.ports = wire.ports
        self._hosts = hosts

    def ports_for(self, to: HardwareAddress) -> tuple[Port, ...]:
        if len(self.ports) == 2 or to.is_multicast:
            return self.ports
        by_address, others = self._stations
        return (*by_address.get(to, ()), *others)

    @cached_property
    def _stations(self) -> tuple[dict[HardwareAddress, list[Port]], list[Port]]:
        """The ports by their own address, and those behind which there may be further stations."""
        by_address: dict[HardwareAddress, list[Port]] = defaultdict(list)
        others = []
        for port in self.ports:
            link = self._hosts[port.host].tables.links.get(port.device)
            if link is not None and link.address is not None and not link.master:
                by_address[link.address].append(port)
            else:
                others.append(port)
        return dict(by_address), others


class World:
    """Hosts and wires, prepared once; every walk reads it and none changes it."""

    def __init__(self, hosts: Mapping[str, Host], wires: tuple[Wire, ...]) -> None:
        self.hosts = hosts
        self.wires = wires
        segments = [_Segment(wire, hosts) for wire in wires]
        self._wires = {(port.host, port.device): segment for segment in segments for port in segment.ports}
        self.resolved: dict[tuple[str, str, IPAddress, IPAddress], Resolution] = {}
        """What questions of neighbours have brought, by host, device, who was asked for and the address that asked: the
        same questions come with every packet.
        """
        self.legs: dict[tuple[str, str, IPAddress, IPAddress | None], Leg | Literal[False]] = {}
        """Ways of frames that were walked before, by host, device, next hop, and the source where it is the host's own;
        False for those that must be walked each time.
        """

    @classmethod
    def of(cls, hosts: Iterable[Host], wires: Iterable[Wire] = ()) -> World:
        """Raises `InputError` where two hosts have one name, a wire ends at none, or a device is on two wires."""
        named: dict[str, Host] = {}
        for host in hosts:
            if named.setdefault(host.name, host) is not host:
                raise InputError("two hosts have this name", where=host.name)
        taken: set[Port] = set()
        wires = tuple(wires)
        for port in (port for wire in wires for port in wire.ports):
            if port.host not in named:
                raise InputError("a wire ends at a host that is not there", where=str(port))
            if port in taken:
                raise InputError("two wires end here", where=str(port))
            taken.add(port)
        return cls(named, wires)

    def with_host(self, host: Host) -> World:
        """The same world, but for one host's state."""
        return World({**self.hosts, host.name: host}, self.wires)

    def receivers(self, host: str, device: str, to: HardwareAddress) -> tuple[Port, ...] | None:
        """Where a frame that leaves by the device may be taken in; None where the device is on no wire."""
        segment = self._wires.get((host, device))
        if segment is None:
            return None
        return tuple(port for port in segment.ports_for(to) if port.device != device or port.host != host)

    def holder(self, address: IPAddress) -> Host | None:
        """The one host that has the address; None where none has, or several have."""
        found = self._holders.get(address, ())
        return found[0] if len(found) == 1 else None

    @cached_property
    def _holders(self) -> dict[IPAddress, list[Host]]:
        holders: dict[IPAddress, list[Host]] = defaultdict(list)
        for host in self.hosts.values():
            for address in host.tables.held:
                holders[address].append(host)
        return dict(holders)
