"""Packets drawn at random: from whom, to whom, of which protocol, size and time to live."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from nankeen.forwarding import Packet, World
from nankeen.forwarding.packet import Icmp, IcmpKind, Ip, Tcp, Udp
from nankeen.model.address import IPAddress, IPNetwork
from nankeen.model.state import Address, Link

PORT = 5555
PROTOCOLS = ("udp", "tcp", "icmp")
LEAST = 8
"""Bytes of payload: a tag is in there."""
_NOBODY = {4: ip_address("0.0.0.0"), 6: ip_address("::")}  # noqa: S104  (the host chooses its source)
_ELSEWHERE = {
    4: ("198.51.100.7", "255.255.255.255", "127.0.0.1", "10.244.250.9", "192.168.0.200"),
    6: ("2001:db8::7", "fd00:10:244:fa::9", "fd00:192:168::200", "::1"),
}
"""Outside, everybody on the link, itself, in a subnet that no node has, on the underlay but nobody's."""


@dataclass(frozen=True, slots=True)
class Case:
    """One packet."""

    host: str
    """Who sends it."""
    to: IPAddress
    protocol: str
    payload: int
    """Bytes after the transport header."""
    dont_fragment: bool
    ttl: int

    def packet(self, number: int) -> Packet:
        """As the sender hands it over; `number` is its source port or identifier."""
        header = Ip(_NOBODY[self.to.version], self.to, self.ttl, self.dont_fragment)
        match self.protocol:
            case "udp":
                return Packet((header, Udp(number, PORT)), self.payload)
            case "tcp":
                return Packet((header, Tcp(number, PORT)), self.payload)
        return Packet((header, Icmp(IcmpKind.ECHO_REQUEST, number)), self.payload)

    def __str__(self) -> str:
        flags = " DF" if self.dont_fragment else ""
        return f"{self.host} → {self.to} {self.protocol} {self.payload} bytes ttl {self.ttl}{flags}"


class Places:
    """Who may send, and where to: all that the sound lab has, and what it does not have."""

    def __init__(self, world: World, senders: tuple[str, ...], versions: tuple[int, ...]) -> None:
        self._senders = senders
        self._targets = tuple(target for version in versions for target in _targets(world, version))
        self._mtus = sorted({link.mtu for host in world.hosts.values() if host.state
                             for link in host.state.of(Link) if link.mtu and link.mtu < 60_000})  # fmt: skip

    def drawn(self, chance: random.Random) -> Case:
        """Any packet."""
        to, protocol = chance.choice(self._targets), chance.choice(PROTOCOLS)
        payload = 0 if protocol == "tcp" else self._size(chance, to.version)
        ttl = chance.choice((64, 64, 64, 1, 2, 3, 4))
        return Case(chance.choice(self._senders), to, protocol, payload, chance.random() < 0.4, ttl)

    def _size(self, chance: random.Random, version: int) -> int:
        """Mostly small, often about an MTU of some link, sometimes above all of them."""
        kind = chance.random()
        if kind < 0.5:
            return chance.randint(LEAST, 1100)
        headers = (20 if version == 4 else 40) + 8
        if kind < 0.85:
            return max(LEAST, chance.choice(self._mtus) - headers + chance.choice((-51, -50, -8, -1, 0, 1, 5)))
        return chance.randint(1400, 4000)


def _targets(world: World, version: int) -> Iterator[IPAddress]:
    networks: set[IPNetwork] = set()
    for host in world.hosts.values():
        for address in host.state.of(Address) if host.state else ():
            interface = address.interface
            if interface.version != version or interface.ip.is_loopback or interface.ip.is_link_local:
                continue
            yield interface.ip
            if interface.network.num_addresses > 2:
                networks.add(interface.network)
    for network in sorted(networks, key=str):
        yield network[99]
        if version == 4:
            yield network.broadcast_address
    yield from map(ip_address, _ELSEWHERE[version])
