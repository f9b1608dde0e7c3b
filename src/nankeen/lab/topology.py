"""What to build: a lab as a value, whether a file or the command line's flags said it.

node1 ──eth0──┐                     underlay of switch k (from 0): 192.168.k.0/24 and fd00:192:168:k::/64,
node2 ──eth0──┤ sw1 ──eth0── r1     routers from .1, nodes from .11, in the order of the file,
node3 ──eth0──┘              │             a registry's server on the first switch .10
node4 ──eth0─── sw2 ──eth1───┘      pod subnets: node i (from 1) holds the i-th of the network
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_interface

from nankeen.model.address import Family, IPAddress, IPInterface, IPNetwork
from nankeen.model.errors import InputError
from nankeen.model.netconf import NetworkConfig

NODES_PER_SWITCH = 240
ROUTERS_PER_SWITCH = 9
SWITCHES = 256


@dataclass(frozen=True, slots=True)
class Cable:
    """A link of the underlay between a switch's port and the interface of a node, router or server."""

    switch: str
    port: str
    member: str
    interface: str
    mtu: int | None = None
    """Largest packet on it, in bytes; None for Ethernet's 1500."""


@dataclass(frozen=True, slots=True)
class PodPlan:
    """A pod that comes up with the lab."""

    name: str
    node: str
    containers: int = 1


@dataclass(frozen=True, slots=True)
class Topology:
    """A whole lab. Made by `parse`, which checks it: each node has one cable, each router at least one."""

    name: str
    switches: tuple[str, ...]
    routers: tuple[str, ...]
    nodes: tuple[str, ...]
    pods: tuple[PodPlan, ...]
    cables: tuple[Cable, ...]
    network: NetworkConfig
    registry: str = "sqlite"
    servers: tuple[str, ...] = ()
    """Who serves the registry, where it needs somebody."""

    @property
    def families(self) -> tuple[Family, ...]:
        """Those of the pod network: the underlay has the same."""
        return tuple(pool.family for pool in self.network.pools)

    def cables_of(self, member: str) -> tuple[Cable, ...]:
        """Where a switch, router or node is plugged in."""
        return tuple(cable for cable in self.cables if member in (cable.member, cable.switch))

    def addresses(self) -> dict[Cable, tuple[IPInterface, ...]]:
        """The underlay addresses of the interface at each cable's end, IPv4 first."""
        found = {}
        for number, switch in enumerate(self.switches):
            cables = self.cables_of(switch)
            routers = [cable for cable in cables if cable.member in self.routers]
            nodes = [cable for cable in cables if cable.member in self.nodes]
            servers = [cable for cable in cables if cable.member in self.servers]
            hosts = ((routers, 1), (servers, 10), (nodes, 11))
            for cable, host in (pair for each, first in hosts for pair in zip(each, _from(first), strict=False)):
                found[cable] = tuple(_interface(family, number, host) for family in self.families)
        return found

    def gateways(self) -> dict[str, tuple[IPAddress, ...]]:
        """By switch, where its nodes send what is not on it: to its first router. Switches without one are left out."""
        found: dict[str, tuple[IPAddress, ...]] = {}
        for cable, interfaces in self.addresses().items():
            if cable.member in self.routers:
                found.setdefault(cable.switch, tuple(interface.ip for interface in interfaces))
        return found

    def underlays(self) -> dict[str, tuple[IPNetwork, ...]]:
        """The networks on each switch."""
        return {
            switch: tuple(_interface(family, number, 1).network for family in self.families)
            for number, switch in enumerate(self.switches)
        }

    def subnets(self) -> dict[str, tuple[IPNetwork, ...]]:
        """The pod subnets of each node, one of each family."""
        columns = zip(*(iter(pool) for pool in self.network.pools), strict=False)
        return dict(zip(self.nodes, columns, strict=False))


def check(topology: Topology, where: str) -> Topology:
    """The topology, when all its parts fit together; raises `InputError` saying which does not."""
    for problem, remedy in _problems(topology):
        raise InputError(problem, where=where, remedy=remedy)
    return topology


def _problems(topology: Topology) -> Iterator[tuple[str, str]]:
    if not topology.nodes:
        yield "there is no node", "give it one at least"
    if len(topology.switches) > SWITCHES:
        yield f"{len(topology.switches)} switches", f"at most {SWITCHES} are allowed"
    yield from _cabling_problems(topology)
    for pool in topology.network.pools:
        if pool.size < len(topology.nodes):
            yield f"{pool.network} has subnets for {pool.size} nodes only", "widen it, or make SubnetLen longer"
    yield from _overlaps(topology)


def _cabling_problems(topology: Topology) -> Iterator[tuple[str, str]]:
    ends = [end for cable in topology.cables for end in ((cable.switch, cable.port), (cable.member, cable.interface))]
    for member, interface in ends:
        if ends.count((member, interface)) > 1:
            yield f"{member}:{interface} has several links", "an interface takes one"
    plugged = [cable.member for cable in topology.cables]
    for node in topology.nodes:
        if plugged.count(node) != 1:
            yield f"{node} has {plugged.count(node)} links", "a node has one"
    for router in topology.routers:
        if router not in plugged:
            yield f"{router} has no link", "a router has one to each of its switches"
    for switch in topology.switches:
        members = [cable.member for cable in topology.cables_of(switch)]
        routers = sum(member in topology.routers for member in members)
        nodes = sum(member in topology.nodes for member in members)
        if nodes > NODES_PER_SWITCH or routers > ROUTERS_PER_SWITCH:
            limits = f"at most {NODES_PER_SWITCH} nodes and {ROUTERS_PER_SWITCH} routers are allowed"
            yield f"{switch} has {nodes} nodes and {routers} routers", limits


def _overlaps(topology: Topology) -> Iterator[tuple[str, str]]:
    for pod_network in topology.network.networks:
        for switch, networks in topology.underlays().items():
            for network in networks:
                if network.version == pod_network.version and network.overlaps(pod_network):
                    yield f"the pod network {pod_network} overlaps {network} of {switch}", "choose another"


def _interface(family: Family, switch: int, host: int) -> IPInterface:
    """IPv6 shows the same decimal digits, so that fd00:192:168:1::12 is at once known as 192.168.1.12."""
    if family is Family.IPV4:
        return ip_interface(f"192.168.{switch}.{host}/24")
    return ip_interface(f"fd00:192:168:{switch}::{host}/64")


def _from(first: int) -> Iterator[int]:
    return iter(range(first, 1000))
