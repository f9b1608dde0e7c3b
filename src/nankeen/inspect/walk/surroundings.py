"""All that a packet may meet, observed: the world of a lab, and what each host is in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import Enum

from nankeen.forwarding import World
from nankeen.kernel.glimpse import glimpse
from nankeen.kernel.namespace import Namespace
from nankeen.lab import Lab, LabNode, LabPod
from nankeen.lab.lab import LabRouter, LabSwitch, Member
from nankeen.model.address import IPAddress
from nankeen.model.errors import KernelError
from nankeen.model.state import Link, Object, State, Tun

_TUNNEL = "run/nankeen/tunnel.sock"
"""Where the udp backend's data path is asked, from a node's root."""
_PATIENCE = 0.5
"""Seconds for its answer."""


class Role(Enum):
    """What a host is."""

    POD = "pod"
    NODE = "node"
    ROUTER = "router"
    SWITCH = "switch"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The world, and what its hosts are."""

    world: World
    roles: Mapping[str, Role]
    addresses: Mapping[str, tuple[IPAddress, ...]] = field(default_factory=dict)
    """What each was given: the address that a name stands for."""
    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    """Where each is, as long as it is held open."""
    changed: Callable[[], tuple[str, ...]] = tuple
    """The hosts whose tables are others now than when they were read."""

    def holder(self, address: IPAddress) -> str | None:
        """The one host that has the address, of those that were given it and those that have been read; None where none
        has, or several have.
        """
        given = [name for name, held in self.addresses.items() if address in held]
        read = [host.name for host in self.world.hosts.values() if host.is_read and host.tables.holds(address)]
        found = set(given) | set(read)
        return found.pop() if len(found) == 1 else None

    def role(self, host: str) -> Role:
        return self.roles.get(host, Role.NODE)


@contextmanager
def observed(lab: Lab) -> Iterator[Surroundings]:
    """A lab as it is now, read as far as packets come while the block lasts. This process must be in the lab
    (`inside`). Raises `KernelError`, also where the world is asked in the block.
    """
    nodes = {node.name: node for node in lab.nodes}

    def data_path(name: str, state: State) -> Iterable[Object]:
        return _data_path(nodes[name], state) if name in nodes else ()

    with ExitStack() as stack:
        namespaces = {
            member.name: stack.enter_context(Namespace.open(member.namespaces.network)) for member in lab.members
        }
        found = stack.enter_context(glimpse(namespaces, data_path))
        yield Surroundings(
            found.world,
            {member.name: _role(member) for member in lab.members},
            {member.name: _addresses(member) for member in lab.members},
            namespaces,
            found.changed,
        )


def _data_path(node: LabNode, state: State) -> Iterable[Object]:
    """The table of the node's udp data path, which no kernel has. Where it does not answer, packets that go to its
    device go nobody knows where, and the walk says so.
    """
    if not any(isinstance(link.kind, Tun) for link in state.of(Link)):
        return ()
    from nankeen.tunnel.client import told_now  # noqa: PLC0415  (its library takes time, and few nodes have such a path)

    try:
        told = told_now(node.directory / _TUNNEL, _PATIENCE)
    except KernelError:
        return ()
    return (*told.sockets, *told.peers) if told else ()


def _role(member: Member) -> Role:
    match member:
        case LabPod():
            return Role.POD
        case LabNode():
            return Role.NODE
        case LabRouter():
            return Role.ROUTER
        case LabSwitch():
            return Role.SWITCH
    return Role.SERVER


def _addresses(member: Member) -> tuple[IPAddress, ...]:
    return tuple(interface.ip for interface in getattr(member, "addresses", ()))
