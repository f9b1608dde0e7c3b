"""All that a packet may meet, observed: the world of a lab, and what each host is in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum

from nankeen.forwarding import World
from nankeen.kernel.namespace import Namespace
from nankeen.kernel.world import survey
from nankeen.lab import Lab, LabNode, LabPod
from nankeen.lab.lab import LabRouter, LabSwitch, Member
from nankeen.model.address import IPAddress
from nankeen.model.errors import KernelError
from nankeen.model.state import Link, State, Tun
from nankeen.tunnel.client import told_now

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

    def role(self, host: str) -> Role:
        return self.roles.get(host, Role.NODE)


@contextmanager
def observed(lab: Lab) -> Iterator[Surroundings]:
    """A lab as it is now. Namespaces are held open for the block. This process must be in the lab (`inside`).

    Raises `KernelError`.
    """
    with ExitStack() as stack:
        namespaces = {
            member.name: stack.enter_context(Namespace.open(member.namespaces.network)) for member in lab.members
        }
        world = survey(namespaces)
        for node in lab.nodes:
            world = _with_data_path(world, node)
        yield Surroundings(
            world,
            {member.name: _role(member) for member in lab.members},
            {member.name: _addresses(member) for member in lab.members},
            namespaces,
        )


def _with_data_path(world: World, node: LabNode) -> World:
    """With the table of the node's udp data path, which no kernel has. Where it does not answer, packets that go to its
    device go nobody knows where, and the walk says so.
    """
    host = world.hosts[node.name]
    if host.state is None or not any(isinstance(link.kind, Tun) for link in host.state.of(Link)):
        return world
    try:
        told = told_now(node.directory / _TUNNEL, _PATIENCE)
    except KernelError:
        return world
    return world.with_host(replace(host, state=host.state | State([*told.sockets, *told.peers]))) if told else world


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
