"""What an attachment is to look like: the pod's interface out of a request, and the result that tells of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from nankeen.cni.config import NO_VLANS, PluginConfig, Vlans
from nankeen.cni.error import CniError, Code
from nankeen.cni.request import Attachment, Request
from nankeen.cni.result import NO_DNS, Dns, Result, ResultAddress, ResultInterface, ResultRoute
from nankeen.model.address import HardwareAddress, IPAddress, IPInterface, IPNetwork
from nankeen.model.state import MAIN_TABLE, Address, Device, Link, Route, State, Sysctl, Veth
from nankeen.model.tunnel import GSO_MAX_SIZE
from nankeen.pods.addresses import Reservation
from nankeen.pods.network import BRIDGE, PodNetwork, hardware_address

_POD_END = 2
"""Index of the pod's interface in a result: the bridge and the node's end come before it."""


@dataclass(frozen=True, slots=True)
class PodInterface:
    """The interface that a pod is to have."""

    name: str
    """Inside the pod."""
    host_name: str
    """Of the end on the node."""
    bridge: str
    mtu: int
    """In bytes; of both ends."""
    addresses: tuple[IPInterface, ...]
    """IPv4 first."""
    routes: tuple[Route, ...]
    hairpin: bool = False
    isolated: bool = False
    vlans: Vlans = NO_VLANS
    given: HardwareAddress | None = None
    """The hardware address that somebody asked for."""
    network: str = ""
    """The network that the attachment is to."""
    gso_max_size: int | None = None
    """In bytes; None for what the kernel gives it."""

    @property
    def hardware_address(self) -> HardwareAddress:
        """Of the pod's end."""
        return self.given or hardware_address(self.addresses[0].ip)

    @property
    def host_hardware_address(self) -> HardwareAddress:
        """Of the node's end."""
        return host_hardware_address(self.network, self.host_name)


@dataclass(frozen=True, slots=True)
class Attached:
    """An interface as it was made, and what belongs to it."""

    interface: PodInterface
    bridge_address: HardwareAddress | None
    beside: tuple[ResultInterface, ...] = ()
    """Other devices of the node that were made for it."""


def host_name(network: str, attachment: Attachment, bridge: str = BRIDGE) -> str:
    """The name of the node's end: `veth` and eight digits, as the bridge plugin's, but always the same."""
    text = f"{network}\n{attachment.container}\n{attachment.interface}"
    if bridge != BRIDGE:
        text += f"\n{bridge}"
    return f"veth{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def host_hardware_address(network: str, name: str) -> HardwareAddress:
    """Of the node's end, or the IFB, of that name: a given one, for udev may change a random one later. It also tells a
    network's devices from those of others that have such a name.
    """
    return HardwareAddress(b"\x02" + hashlib.sha256(f"{network}{name}".encode()).digest()[:5])


def pod_interface(
    request: Request, config: PluginConfig, network: PodNetwork, reservation: Reservation
) -> PodInterface:
    """The interface that the request asks for. Raises `CniError` and `InputError`."""
    routes = {route.identity: route for route in _own_routes(request, config, network, reservation)}
    routes |= {route.identity: route for route in _given_routes(request, config, reservation)}
    return PodInterface(
        name=request.interface,
        host_name=host_name(config.name, request.attachment, config.bridge),
        bridge=config.bridge,
        mtu=config.mtu or network.mtu,
        addresses=reservation.addresses,
        routes=tuple(routes.values()),
        hairpin=config.hairpin,
        isolated=config.isolated,
        vlans=config.vlans,
        given=request.hardware_address,
        network=config.name,
        gso_max_size=network.gso_max_size if network.gso_max_size < GSO_MAX_SIZE else None,
    )


def pod_state(wanted: PodInterface) -> State:
    """What is to stand in the pod's namespace."""
    return State([
        Link("lo", Device("")),
        Link(wanted.name, Veth(), wanted.mtu, wanted.hardware_address, gso_max_size=wanted.gso_max_size),
        *(Address(wanted.name, item) for item in wanted.addresses),
        *wanted.routes,
    ])  # fmt: skip


def pod_sysctls(wanted: PodInterface) -> Iterator[Sysctl]:
    """What is to be set in the pod's namespace before its interface is up."""
    name = wanted.name
    yield Sysctl(f"net/ipv4/conf/{name}/arp_notify", "1")
    yield Sysctl(f"net/ipv6/conf/{name}/accept_ra", "0")
    if any(item.version == 6 for item in wanted.addresses):
        yield Sysctl("net/ipv6/conf/lo/disable_ipv6", "0")
        yield Sysctl(f"net/ipv6/conf/{name}/disable_ipv6", "0")
        yield Sysctl(f"net/ipv6/conf/{name}/accept_dad", "0")
        yield Sysctl(f"net/ipv6/conf/{name}/keep_addr_on_down", "1")


def result(attached: Attached, gateways: tuple[IPAddress, ...], sandbox: str, dns: Dns = NO_DNS) -> Result:
    """What the runtime is told; `gateways` are those of the addresses."""
    wanted = attached.interface
    return Result(
        interfaces=(
            ResultInterface(wanted.bridge, attached.bridge_address),
            ResultInterface(wanted.host_name, wanted.host_hardware_address, wanted.mtu),
            ResultInterface(wanted.name, wanted.hardware_address, wanted.mtu, sandbox),
            *attached.beside,
        ),
        addresses=tuple(
            ResultAddress(item, leads, _POD_END) for item, leads in zip(wanted.addresses, gateways, strict=True)
        ),
        routes=tuple(_told(item) for item in wanted.routes),
        dns=dns,
    )


def _own_routes(
    request: Request, config: PluginConfig, network: PodNetwork, reservation: Reservation
) -> Iterator[Route]:
    """To the pod network of each family that the pod has, and to everywhere, by the bridge."""
    clusters = network.networks if not config.ipam.ranges else ()
    for address, leads in zip(reservation.addresses, reservation.gateways, strict=True):
        everywhere: IPNetwork = IPv4Network("0.0.0.0/0") if address.version == 4 else IPv6Network("::/0")
        wanted = [everywhere] if config.default_gateway else []
        wanted += [item for item in clusters if item.version == address.version]
        for destination in dict.fromkeys(wanted):
            if destination != address.network:  # where the kernel has put one
                yield Route(destination, request.interface, leads)


def _given_routes(request: Request, config: PluginConfig, reservation: Reservation) -> Iterator[Route]:
    """Those of the configuration; without a gateway they lead by the one of their family."""
    by_family = {item.version: item for item in reversed(reservation.gateways)}
    for item in config.ipam.routes:
        leads = item.gateway or by_family.get(item.destination.version)
        if leads is None:
            problem = f"there is no gateway for the route to {item.destination}"
            raise CniError(Code.INVALID_CONFIG, problem, where="ipam.routes", remedy="the pod has no such address")
        if item.gateway or all(item.destination != address.network for address in reservation.addresses):
            table = item.table or MAIN_TABLE
            yield Route(item.destination, request.interface, leads, metric=item.priority, table=table)


def _told(route: Route) -> ResultRoute:
    table = None if route.table == MAIN_TABLE else route.table
    return ResultRoute(route.destination, route.gateway, route.metric, table)
