"""Who is where: the peers' subnets, found by longest prefix, and their endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import chain

from nankeen.model.address import IPNetwork
from nankeen.model.tunnel import TunnelPeer
from nankeen.tunnel.control import Counters

_MOST = 1 << 14
"""Answers that are remembered. Any pod can ask for new ones; each is found again by the prefixes."""


@dataclass(slots=True, eq=False)
class Peer:
    """A peer's part of one family: where packets to it go, and how many went and came."""

    node: str
    host: str
    """Its underlay address, as sockets write it."""
    endpoint: tuple[str, int]
    sent_packets: int = 0
    sent_bytes: int = 0
    received_packets: int = 0
    received_bytes: int = 0

    @property
    def counters(self) -> Counters:
        return Counters(self.sent_packets, self.sent_bytes, self.received_packets, self.received_bytes)


class PeerTable:
    """The peers. Finding one costs one look into a dictionary for each length of prefix in use, and most often one in
    all, because what was found is remembered.
    """

    def __init__(self, own: Iterable[IPNetwork] = ()) -> None:
        """`own` are the node's own subnets and addresses, which no peer sends from."""
        self._own = tuple(own)
        self._subnets: dict[IPNetwork, Peer] = {}
        self._prefixes: dict[int, list[tuple[int, dict[int, Peer]]]] = {}
        """By version: for each length, longest first, the bits to drop and who has what is left."""
        self._hosts: dict[str, Peer] = {}
        """By outer address: the first of the peers there."""
        self._by_destination: dict[bytes, Peer | None] = {}
        self._admitted: dict[tuple[str, bytes], Peer | str] = {}
        self._gone: dict[str, Counters] = {}

    def configure(self, peers: Iterable[TunnelPeer]) -> None:
        """From now on these are the peers. Who was one before goes on being counted."""
        before, self._subnets = self._subnets, {}
        self._take(peers, before)

    def change(self, added: Iterable[TunnelPeer], removed: Iterable[IPNetwork]) -> None:
        """Some of the peers go, then others come."""
        before = self._subnets.copy()
        for subnet in removed:
            self._subnets.pop(subnet, None)
        self._take(added, before)

    def to(self, destination: bytes) -> Peer | None:
        """Who has an inner address, in network order; None where nobody has."""
        try:
            return self._by_destination[destination]
        except KeyError:
            return self._remember(destination)

    def admit(self, host: str, addresses: bytes) -> Peer | str:
        """Whose packet this is, which came from an outer address, with its inner source and destination; or why it is
        not let in. An inner source that no node has is let in by any peer: it comes from outside the pod network.
        """
        key = host, addresses
        try:
            return self._admitted[key]
        except KeyError:
            if len(self._admitted) >= _MOST:
                self._admitted.clear()
            verdict = self._admitted[key] = self._judge(host, addresses)
            return verdict

    def told(self, device: str) -> Iterator[TunnelPeer]:
        """The peers, as they were told."""
        for subnet, peer in self._subnets.items():
            yield TunnelPeer(device, subnet, ip_address(peer.host), peer.endpoint[1], peer.node)

    def counters(self) -> dict[str, Counters]:
        """By node, of all that are peers or have been."""
        found = dict(self._gone)
        for peer in self._distinct():
            found[peer.node] = _sum(found.get(peer.node, Counters()), peer.counters)
        return found

    def _take(self, peers: Iterable[TunnelPeer], before: dict[IPNetwork, Peer]) -> None:
        known = {(peer.node, *peer.endpoint): peer for peer in chain(before.values(), self._subnets.values())}
        for item in peers:
            key = item.node, str(item.endpoint), item.port
            self._subnets[item.subnet] = known.setdefault(key, Peer(item.node, key[1], key[1:]))
        kept = {id(peer) for peer in self._subnets.values()}
        for peer in {id(peer): peer for peer in before.values()}.values():
            if id(peer) not in kept:
                self._gone[peer.node] = _sum(self._gone.get(peer.node, Counters()), peer.counters)
        self._index()

    def _index(self) -> None:
        tables: dict[tuple[int, int], dict[int, Peer]] = {}
        for subnet, peer in self._subnets.items():
            drop = subnet.max_prefixlen - subnet.prefixlen
            tables.setdefault((subnet.version, drop), {})[int(subnet.network_address) >> drop] = peer
        self._prefixes = {4: [], 6: []}
        for (version, drop), table in sorted(tables.items(), key=lambda item: item[0]):
            self._prefixes[version].append((drop, table))
        self._hosts = {peer.host: peer for peer in reversed(self._subnets.values())}
        self._by_destination.clear()
        self._admitted.clear()

    def _find(self, address: bytes) -> Peer | None:
        number = int.from_bytes(address)
        for drop, table in self._prefixes.get(4 if len(address) == 4 else 6, ()):
            peer = table.get(number >> drop)
            if peer is not None:
                return peer
        return None

    def _remember(self, destination: bytes) -> Peer | None:
        if len(self._by_destination) >= _MOST:
            self._by_destination.clear()
        peer = self._by_destination[destination] = self._find(destination)
        return peer

    def _is_own(self, address: bytes) -> bool:
        number, bits = int.from_bytes(address), 8 * len(address)
        return any(
            own.max_prefixlen == bits and number & int(own.netmask) == int(own.network_address) for own in self._own
        )

    def _judge(self, host: str, addresses: bytes) -> Peer | str:
        if host not in self._hosts:
            return "from an unknown peer"
        half = len(addresses) // 2
        if self._find(addresses[half:]) is not None:
            return "for another node"
        if self._is_own(addresses[:half]):
            return "with a source of this node"
        owner = self._find(addresses[:half])
        if owner is None:
            return self._hosts[host]
        return owner if owner.host == host else "with a source of another node"

    def _distinct(self) -> Iterable[Peer]:
        return {id(peer): peer for peer in self._subnets.values()}.values()


def _sum(one: Counters, other: Counters) -> Counters:
    return Counters(
        one.sent_packets + other.sent_packets,
        one.sent_bytes + other.sent_bytes,
        one.received_packets + other.received_packets,
        one.received_bytes + other.received_bytes,
    )
