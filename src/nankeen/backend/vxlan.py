"""VXLAN (RFC 7348): pod packets in UDP, between one VTEP for each family on each node, as flannel makes them.

A peer takes three objects for each family. With S its subnet, B the base address of S, M its VTEP's hardware address
and X its underlay address:

    S via B dev flannel.1 onlink             every pod of the peer is behind one next hop,
    B dev flannel.1 lladdr M PERMANENT       whose hardware address is known without asking,
    M dev flannel.1 dst X self permanent     and reached at the peer's node

With `DirectRouting`, a family in which the peer is on-link takes the plain route of `nankeen.backend.host_gw` instead.

Different from flannel on purpose: packets leave from the underlay's own address, also behind NAT, and IPv6 is counted
with its true overhead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from nankeen.backend import Node
from nankeen.backend.host_gw import direct_route
from nankeen.model.address import Family, HardwareAddress, IPInterface, IPNetwork, family_of
from nankeen.model.errors import ConfigError, InputError
from nankeen.model.gojson import Fields, parse_object
from nankeen.model.lease import Endpoint, Lease, Reach
from nankeen.model.netconf import WHERE
from nankeen.model.state import Address, ForwardingEntry, Link, Neighbour, Object, Route, State, Sysctl, Vxlan

NAME = "vxlan"
DEFAULT_PORT = 8472
"""The Linux kernel's UDP port, which is older than IANA's 4789."""

_LONGEST_NAME = 15  # IFNAMSIZ (linux/if.h) without the closing zero
_LARGEST_VNI = (1 << 24) - 1
_PLAIN = re.compile(r'\{"VNI":([0-9]{1,8}),"VtepMAC":"([0-9a-f]{2}(?::[0-9a-f]{2}){5})"\}')
_PREFIX = {Family.IPV4: "flannel", Family.IPV6: "flannel-v6"}
_OVERHEAD = {Family.IPV4: 50, Family.IPV6: 70}
"""Bytes added to an inner packet: outer IP 20 or 40, UDP 8, VXLAN 8, inner Ethernet 14 (RFC 7348 §5)."""
_SMALLEST_MTU = {Family.IPV4: 68, Family.IPV6: 1280}
"""What each link must carry (RFC 791 §3.2, RFC 8200 §5)."""


@dataclass(frozen=True, slots=True)
class VxlanBackend:
    """The options, checked. See `nankeen.backend.Backend` for what the methods promise."""

    vni: int = 1
    """VXLAN network identifier, 24 bits."""
    port: int = DEFAULT_PORT
    """UDP destination port, the same on all nodes."""
    gbp: bool = False
    """Group based policy extension."""
    learning: bool = False
    """Whether the FDB learns from frames that come in."""
    outer_mtu: int | None = None
    """Largest outer packet in bytes; None for the underlay's."""
    direct_routing: bool = False
    """Whether peers on the same link are reached without encapsulation."""

    @property
    def name(self) -> str:
        return NAME

    @property
    def announces(self) -> str:
        return NAME

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"vxlan"})

    def devices(self, node: Node) -> frozenset[str]:
        return frozenset(device_name(self.vni, family) for family in node.families)

    def receives(self, node: Node) -> Mapping[str, int]:
        return dict.fromkeys(self.devices(node), self.port)

    def mtu(self, node: Node) -> int:
        return min(self._device_mtu(node, family) for family in node.families)

    def reaches(self, node: Node) -> tuple[Reach, ...]:
        return tuple(
            Reach(node.public_address(family), self._announcement(node.hardware[device_name(self.vni, family)]))
            for family in node.families
        )

    def announced(self, lease: Lease) -> Mapping[str, HardwareAddress]:
        return {
            device_name(self.vni, endpoint.family): self._vtep_address(endpoint.reach.data)
            for endpoint in lease.endpoints
        }

    def state(self, node: Node, peers: Iterable[Lease]) -> State:
        own = (item for subnet in node.subnets for item in self._vtep(node, subnet))
        return State([*own, *(item for lease in peers for item in self.peer(node, lease))])

    def peer(self, node: Node, lease: Lease) -> tuple[Object, ...]:
        families = node.families
        return tuple(
            item for endpoint in lease.endpoints if endpoint.family in families for item in self._path(node, endpoint)
        )

    def receiving(self, node: Node, lease: Lease) -> tuple[Object, ...]:  # noqa: ARG002  (nobody is kept out)
        return ()

    def _device_mtu(self, node: Node, family: Family) -> int:
        outer = min(self.outer_mtu or node.underlay.mtu, node.underlay.mtu)  # the kernel takes no more either
        inner = outer - _OVERHEAD[family]
        if inner < _SMALLEST_MTU[family]:
            raise ConfigError(
                f"an outer MTU of {outer} leaves pods {inner} bytes, and {family} needs {_SMALLEST_MTU[family]}",
                where=node.underlay.device,
                remedy="raise Backend.MTU or the interface's MTU",
            )
        return inner

    def _announcement(self, address: HardwareAddress) -> str:
        """The lease's data, in the very letters that flannel takes apart by position."""
        return f'{{"VNI":{self.vni},"VtepMAC":"{address}"}}'

    def _vtep(self, node: Node, subnet: IPNetwork) -> Iterator[Object]:
        """The node's own tunnel end point for the family of its subnet."""
        family = family_of(subnet)
        device = device_name(self.vni, family)
        yield Link(
            device,
            Vxlan(self.vni, node.underlay.device, node.local_address(family), self.port, self.learning, self.gbp),
            mtu=self._device_mtu(node, family),
            address=node.hardware[device],
            txqlen=0,
        )
        yield Sysctl(f"net/ipv6/conf/{device}/accept_ra", "0")
        if family is Family.IPV6:  # nobody else has the address, and a tentative one would not be used
            yield Sysctl(f"net/ipv6/conf/{device}/accept_dad", "0")
        yield Address(device, _alone(subnet))

    def _path(self, node: Node, endpoint: Endpoint) -> tuple[Object, ...]:
        """The way to a peer's pods of one family, from its far end."""
        device = device_name(self.vni, endpoint.family)
        address = self._vtep_address(endpoint.reach.data)
        if address == node.hardware[device]:
            raise InputError(f"its VTEP has this node's hardware address, {address}")
        if self.direct_routing and node.is_on_link(endpoint.reach.address):
            return (direct_route(node, endpoint),)
        base = endpoint.subnet.network_address
        return (
            ForwardingEntry(device, address, endpoint.reach.address),
            Neighbour(device, base, address),
            Route(endpoint.subnet, device, gateway=base, onlink=True),
        )

    def _vtep_address(self, data: str | None) -> HardwareAddress:
        """The hardware address that a peer announces: in a fifth of the time where it is written to the letter."""
        plain = _PLAIN.fullmatch(data or "")
        if plain is None or plain[1] != str(self.vni):
            return self._parsed_vtep_address(data)
        address = HardwareAddress(bytes.fromhex(plain[2].replace(":", "")))
        return self._parsed_vtep_address(data) if address.is_multicast or address.is_zero else address

    def _parsed_vtep_address(self, data: str | None) -> HardwareAddress:
        """The same of any data, with what is wrong with it. Older flannel announces no VNI."""
        fields = parse_object(data or "null", "backend data")
        if fields.integer("VNI", self.vni, 0, _LARGEST_VNI) != self.vni:
            raise fields.refusal("VNI", f"it must be {self.vni}, as on this node")
        address = HardwareAddress.parse(fields.string("VtepMAC"))
        if address.is_multicast or address.is_zero:
            raise fields.refusal("VtepMAC", "it must be the address of one station")
        return address


def parse(options: Fields) -> VxlanBackend:
    """The backend with these options; raises `ConfigError`."""
    vni = options.integer("VNI", 1, 0, _LARGEST_VNI)
    device_name(vni, Family.IPV4)  # the shorter one: where it does not fit, none does
    return VxlanBackend(
        vni=vni,
        port=options.integer("Port", 0, 0, 65_535) or DEFAULT_PORT,
        gbp=options.boolean("GBP", default=False),
        learning=options.boolean("Learning", default=False),
        outer_mtu=options.integer("MTU", 0, 0, 65_535) or None,
        direct_routing=options.boolean("DirectRouting", default=False),
    )


def device_name(vni: int, family: Family) -> str:
    """Flannel's name for the device; raises `ConfigError` where the kernel would not take it."""
    name = f"{_PREFIX[family]}.{vni}"
    if len(name) > _LONGEST_NAME:
        digits = _LONGEST_NAME - len(_PREFIX[family]) - 1
        raise ConfigError(
            f"Backend.VNI is {vni}, and {name} is too long for a device name",
            where=WHERE,
            remedy=f"with {family} it must have at most {digits} digits",
        )
    return name


def _alone(subnet: IPNetwork) -> IPInterface:
    """The subnet's base address as a network of its own: /32 or /128."""
    if subnet.version == 4:
        return IPv4Interface((subnet.network_address, 32))
    return IPv6Interface((subnet.network_address, 128))
