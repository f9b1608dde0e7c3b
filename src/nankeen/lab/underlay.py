"""The network that nodes stand on: switches (a bridge each), routers, and the cables between them.

Every pair of interfaces is made directly where its ends belong, and each member is brought to its desired state by the
same diff as a node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_network

from nankeen.kernel import namespace, sysctl
from nankeen.kernel.apply import apply_or_raise
from nankeen.kernel.namespace import Namespace, entered
from nankeen.kernel.netlink import link
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.observe import indexes, observe
from nankeen.lab.topology import Cable, Topology
from nankeen.model.address import Family, HardwareAddress, IPAddress, IPInterface, family_of
from nankeen.model.diff import diff
from nankeen.model.errors import KernelError
from nankeen.model.state import Address, Bridge, Device, Link, Neighbour, Object, Route, State, Sysctl, Veth

Addresses = Mapping[Cable, tuple[IPInterface, ...]]

BRIDGE = "br0"
"""The device of a switch; its ports are named by the topology."""

LEARNED = 16
"""Up to so many members of a switch find each other by ARP and neighbour discovery. More are told of each other: all
namespaces of a machine share one table of learned neighbours, which holds 1024 (gc_thresh3, arp(7)) and drops packets
when it is full."""

_FORWARDING = {Family.IPV4: "net/ipv4/ip_forward", Family.IPV6: "net/ipv6/conf/all/forwarding"}
_LOOPBACK = Link("lo", Device(""))
_BRIDGE_NETFILTER = tuple(f"net/bridge/bridge-nf-call-{what}" for what in ("iptables", "ip6tables", "arptables"))
"""Whether bridged packets pass the IP layer's packet filter. A switch has none, and a node needs none for its pods; a
kernel with br_netfilter built in turns it on in each new namespace, at a fifth of the throughput."""


def build(topology: Topology, name_of: Callable[[str], str]) -> dict[str, Namespace]:
    """Builds it and returns the open network namespaces of all that its cables join, by member. Raises `KernelError`.

    `name_of` gives the name that a member's namespace gets.
    """
    members = (*topology.switches, *topology.routers, *topology.nodes, *topology.servers)
    namespaces = {member: Namespace.open(namespace.create(name_of(member))) for member in members}
    for home in namespaces.values():
        _bridge_plainly(home)
    addresses, gateways = topology.addresses(), topology.gateways()
    hardware = {cable: HardwareAddress(b"\x02\x00" + i.to_bytes(4)) for i, cable in enumerate(addresses, 1)}
    for switch in topology.switches:
        _build_switch(namespaces[switch], topology.cables_of(switch), namespaces, hardware)
    neighbours = {switch: _neighbours(topology.cables_of(switch), addresses, hardware) for switch in topology.switches}
    for member in (*topology.routers, *topology.nodes, *topology.servers):
        plugged = {cable: addresses[cable] for cable in topology.cables_of(member)}
        more: list[Object] = [n for cable in plugged for n in neighbours[cable.switch](cable)]
        if member in topology.routers:
            more += _forwarding(topology.families)
        else:
            more += [r for cable in plugged for r in _default_routes(cable.interface, gateways.get(cable.switch, ()))]
        _bring_up(namespaces[member], plugged, more)
    return namespaces


def _bridge_plainly(home: Namespace) -> None:
    with entered(home):
        for setting in _BRIDGE_NETFILTER:
            if sysctl.read(setting) not in (None, "0"):
                sysctl.write(setting, "0")


def _neighbours(
    cables: Sequence[Cable], addresses: Addresses, hardware: Mapping[Cable, HardwareAddress]
) -> Callable[[Cable], list[Neighbour]]:
    """What the member at one of a switch's cables has to be told of the others."""
    if len(cables) <= LEARNED:
        return lambda _: []
    return lambda own: [
        Neighbour(own.interface, interface.ip, hardware[cable])
        for cable in cables
        if cable != own
        for interface in addresses[cable]
    ]


def _build_switch(
    home: Namespace,
    cables: Sequence[Cable],
    namespaces: Mapping[str, Namespace],
    hardware: Mapping[Cable, HardwareAddress],
) -> None:
    with NetlinkSocket(home) as socket:
        _bring_to(home, socket, State([_LOOPBACK, Link(BRIDGE, Bridge())]))
        bridge = indexes(socket)[BRIDGE]
        pairs = [
            link.veth(
                cable.port,
                cable.interface,
                namespaces[cable.member].descriptor,
                mtu=cable.mtu,
                master=bridge,
                peer_address=hardware[cable],
                up=True,
            )
            for cable in cables
        ]
        for failure in socket.batch(pairs):
            cable = cables[failure.index]
            where = f"{cable.switch}:{cable.port}"
            raise KernelError(f"cannot plug in {cable.member}: {failure}", where=where, errno=failure.errno)


def _bring_up(home: Namespace, plugged: Addresses, more: Iterable[Object]) -> None:
    """Gives interfaces their addresses. Settings come first: they are about what happens when the device is set up."""
    families = {family_of(interface) for interfaces in plugged.values() for interface in interfaces}
    settings = [
        Sysctl(f"net/ipv6/conf/{cable.interface}/{setting}", "0")
        for cable in plugged
        for setting in ("accept_dad", "accept_ra")  # no waiting for duplicates of addresses that we hand out ourselves
        if Family.IPV6 in families
    ]
    objects: list[Object] = [_LOOPBACK]
    for cable, interfaces in plugged.items():
        objects.append(Link(cable.interface, Veth()))
        objects += [Address(cable.interface, interface) for interface in interfaces]
    with NetlinkSocket(home) as socket:
        _bring_to(home, socket, State(settings))
        _bring_to(home, socket, State([*objects, *more]))


def _bring_to(home: Namespace, socket: NetlinkSocket, desired: State) -> None:
    apply_or_raise(socket, diff(desired, observe(socket)), home)


def _forwarding(families: Iterable[Family]) -> list[Sysctl]:
    return [Sysctl(_FORWARDING[family], "1") for family in families]


def _default_routes(device: str, gateways: Iterable[IPAddress]) -> list[Route]:
    return [Route(ip_network("0.0.0.0/0" if ip.version == 4 else "::/0"), device, ip) for ip in gateways]
