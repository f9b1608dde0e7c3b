"""The network that nodes stand on: switches (a bridge each), routers, and the cables between them.

Every pair of interfaces is made directly where its ends belong, and each member is brought to its desired state by the
same diff as a node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_network

from nankeen.kernel import namespace
from nankeen.kernel.apply import apply_or_raise
from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink import link
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.observe import indexes, observe
from nankeen.lab.topology import Cable, Topology
from nankeen.model.address import Family, IPAddress, IPInterface, family_of
from nankeen.model.diff import diff
from nankeen.model.errors import KernelError
from nankeen.model.state import Address, Bridge, Device, Link, Object, Route, State, Sysctl, Veth

BRIDGE = "br0"
"""The device of a switch; its ports are named by the topology."""

_FORWARDING = {Family.IPV4: "net/ipv4/ip_forward", Family.IPV6: "net/ipv6/conf/all/forwarding"}
_LOOPBACK = Link("lo", Device(""))


def build(topology: Topology, name_of: Callable[[str], str]) -> dict[str, Namespace]:
    """Builds it and returns the open network namespaces of all that its cables join, by member. Raises `KernelError`.

    `name_of` gives the name that a member's namespace gets.
    """
    members = (*topology.switches, *topology.routers, *topology.nodes)
    namespaces = {member: Namespace.open(namespace.create(name_of(member))) for member in members}
    for switch in topology.switches:
        _build_switch(namespaces[switch], topology.cables_of(switch), namespaces)
    addresses, gateways = topology.addresses(), topology.gateways()
    for router in topology.routers:
        plugged = {cable: addresses[cable] for cable in topology.cables_of(router)}
        _bring_up(namespaces[router], plugged, _forwarding(topology.families))
    for cable in topology.cables:
        if cable.member in topology.nodes:
            default = _default_routes(cable.interface, gateways.get(cable.switch, ()))
            _bring_up(namespaces[cable.member], {cable: addresses[cable]}, default)
    return namespaces


def _build_switch(home: Namespace, cables: Iterable[Cable], namespaces: dict[str, Namespace]) -> None:
    with NetlinkSocket(home) as socket:
        _bring_to(home, socket, State([_LOOPBACK, Link(BRIDGE, Bridge())]))
        bridge = indexes(socket)[BRIDGE]
        plugged = list(cables)
        pairs = [
            link.veth(
                cable.port,
                cable.interface,
                namespaces[cable.member].descriptor,
                mtu=cable.mtu,
                master=bridge,
                up=True,
            )
            for cable in plugged
        ]
        for failure in socket.batch(pairs):
            cable = plugged[failure.index]
            where = f"{cable.switch}:{cable.port}"
            raise KernelError(f"cannot plug in {cable.member}: {failure}", where=where, errno=failure.errno)


def _bring_up(home: Namespace, plugged: dict[Cable, tuple[IPInterface, ...]], more: Iterable[Object]) -> None:
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
