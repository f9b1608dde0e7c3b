"""Namespaces, observed whole, as the `World` that packets are predicted in.

They are read one after the other, while somebody may change them. So each is watched meanwhile, and one that changed is
read again: what comes of it is what all of them held at one moment, when none had changed since it was read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from nankeen.forwarding import nft
from nankeen.forwarding.ruleset import NO_RULES
from nankeen.forwarding.ruleset import Ruleset as Rules
from nankeen.forwarding.world import Host, Port, Wire, World
from nankeen.kernel.iptables import Engine
from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink import link, nftables, nsid
from nankeen.kernel.netlink.netfilter import NetfilterSocket
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.observe import observe_all, unannounced
from nankeen.kernel.program import run
from nankeen.kernel.ruleset import Ruleset
from nankeen.kernel.watch import Watch
from nankeen.model.errors import KernelError
from nankeen.model.state import Veth

_ATTEMPTS = 20
"""Only what changed is read again: somebody who configures one host is done some time."""
_REMEDY_CHANGES = "ask again when it is at rest"
_REMEDY = "install the package nftables: there are rules to be read"


def survey(namespaces: Mapping[str, Namespace], switches: Iterable[Wire] = ()) -> World:
    """Every namespace by its name, and the veth pairs between them. `switches` are the wires that no kernel tells of.

    Raises `KernelError`, also where they change faster than they can be read.
    """
    with ExitStack() as stack:
        readers = {name: stack.enter_context(_Reader(name, found)) for name, found in namespaces.items()}
        stale = list(readers.values())
        for _ in range(_ATTEMPTS):
            for reader in stale:
                reader.read()
            sockets = {name: reader.socket for name, reader in readers.items()}
            wires = list(pairs((end for reader in readers.values() for end in reader.ends), sockets, namespaces))
            stale = [reader for reader in readers.values() if reader.is_stale()]
            if not stale:
                return World.of([reader.host for reader in readers.values()], [*wires, *switches])
        names = ", ".join(reader.name for reader in stale)
        raise KernelError("its tables change faster than they can be read", where=names, remedy=_REMEDY_CHANGES)


class _Reader:
    """A namespace, watched while it is read."""

    def __init__(self, name: str, namespace: Namespace) -> None:
        self.name = name
        self.namespace = namespace
        self.socket = NetlinkSocket(namespace)
        self._watch = Watch(namespace, self.socket)

    def read(self) -> None:
        self._watch.begin()
        self._unannounced = unannounced(self.socket, self.namespace)
        self.host = Host(self.name, observe_all(self.socket, self.namespace), read_rules(self.namespace))
        self.ends = list(ends(self.name, _links(self.socket)))

    def is_stale(self) -> bool:
        """Whether anything has changed since: by the kernel's news, and by a look at what there are none of."""
        return self._watch.has_changed() or self._unannounced != unannounced(self.socket, self.namespace)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.close()
        self.socket.close()


def read_rules(namespace: Namespace | None = None) -> Rules:
    """The packet filter of a namespace. Raises `KernelError`."""
    with Ruleset(namespace) as standing:
        legacy = tuple(str(table) for table in standing.iptables() if table.engine is Engine.LEGACY)
    with NetfilterSocket(namespace) as socket:
        if not socket.dump(nftables.dump_tables()):
            return Rules(unread=legacy) if legacy else NO_RULES
    document = run(["nft", "--json", "list", "ruleset"], remedy=_REMEDY, namespace=namespace)
    listing = run(["nft", "--handle", "list", "ruleset"], remedy=_REMEDY, namespace=namespace)
    found = nft.parse(document, listing)
    return Rules(found.bases, found.chains, (*found.unread, *legacy))


@dataclass(frozen=True, slots=True)
class End:
    """One end of a veth pair: its index and its peer's, and the number that the peer's namespace has in its own."""

    port: Port
    index: int
    peer: int
    number: int | None


def pairs(
    wired: Iterable[End], sockets: Mapping[str, NetlinkSocket], namespaces: Mapping[str, Namespace]
) -> Iterator[Wire]:
    """The wires between ends of veth pairs. Raises `KernelError`."""
    ends = list(wired)
    by_indexes: dict[tuple[int, int], list[End]] = defaultdict(list)
    for end in ends:
        by_indexes[end.index, end.peer].append(end)
    done: set[Port] = set()
    for end in ends:
        for other in by_indexes[end.peer, end.index]:
            if end.port not in done and other.port not in done and _is_peer(end, other, sockets, namespaces):
                done |= {end.port, other.port}
                yield Wire((end.port, other.port))


def ends(name: str, links: Iterable[bytes]) -> Iterator[End]:
    """The ends of veth pairs among the links of a host, which are messages of the kernel's."""
    for body in links:
        if isinstance(link.parse(body, {}).kind, Veth):
            index, device = link.index_and_name(body)
            yield End(Port(name, device), index, link.peer_index(body), link.peer_namespace(body))


def _links(socket: NetlinkSocket) -> Iterator[bytes]:
    return (body for kind, body in socket.dump(link.dump()) if kind == link.RTM_NEWLINK)


def _is_peer(end: End, other: End, sockets: Mapping[str, NetlinkSocket], namespaces: Mapping[str, Namespace]) -> bool:
    """Whether the namespace of one is where the other's peer is: pairs of indexes repeat themselves."""
    if end.port == other.port:
        return False
    if end.number is None or other.number is None:
        return end.number is other.number and end.port.host == other.port.host
    socket, home = sockets[end.port.host], namespaces[other.port.host]
    answers = socket.query(nsid.ask(home.descriptor), other.port.host)
    return any(nsid.parse(body) == end.number for body in answers)
