"""WireGuard: pod packets encrypted in UDP, as flannel makes them, with one device for each family or one for both.

With N the pod network, K a peer's public key, X its underlay address and S its subnet:

    N dev flannel-wg scope link                                   all pods are behind the device,
    wg flannel-wg peer K endpoint X:51820 allowed-ips S           and the device knows which peer has which

A packet to a subnet that no peer has ends at the device: nothing leaves in the clear. Modes: `separate` has a device
for each family, whose packets travel in that family; `ipv4`, `ipv6` and `auto` have one device, whose packets travel in
that family where the peer has it, or in the one that fits the addresses.

Different from flannel on purpose: in the modes of one device an IPv6 endpoint has the port that the device listens on,
one family alone works in each mode, and a device that stands is taken over, peers and all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Interface, IPv6Interface, ip_network
from typing import NamedTuple

from nankeen.backend import Node, offers
from nankeen.model.address import Family, HardwareAddress, IPAddress, IPInterface, IPNetwork, family_of
from nankeen.model.errors import ConfigError, InputError
from nankeen.model.gojson import Fields, parse_object
from nankeen.model.lease import Endpoint, Lease, Reach
from nankeen.model.netconf import WHERE
from nankeen.model.secret import Secret
from nankeen.model.state import Address, Device, Link, Object, Route, State
from nankeen.model.wireguard import KeyPair, PublicKey, SocketAddress, WireguardDevice, WireguardPeer, parse_secret

NAME = "wireguard"
DEFAULT_PORT = 51_820
DEFAULT_PORT_IPV6 = 51_821

_DEVICE = {Family.IPV4: "flannel-wg", Family.IPV6: "flannel-wg-v6"}
_OVERHEAD = 80
"""Bytes added to an inner packet: outer IPv6 40, UDP 8, WireGuard 32. Flannel counts the same over IPv4."""
_SMALLEST_MTU = {Family.IPV4: 68, Family.IPV6: 1280}
"""What each link must carry (RFC 791 §3.2, RFC 8200 §5)."""
_PRIVATE = {
    Family.IPV4: [ip_network("10.0.0.0/8"), ip_network("172.16.0.0/12"), ip_network("192.168.0.0/16")],  # RFC 1918
    Family.IPV6: [ip_network("fc00::/7")],  # RFC 4193
}


class Mode(Enum):
    """How many devices there are, and which family their packets travel in."""

    SEPARATE = "separate"
    AUTO = "auto"
    IPV4 = "ipv4"
    IPV6 = "ipv6"


@dataclass(frozen=True, slots=True)
class WireguardBackend:
    """The options, checked. See `nankeen.backend.Backend` for what the methods promise."""

    mode: Mode = Mode.SEPARATE
    port: int = DEFAULT_PORT
    """UDP port that the one device listens on, or that for IPv4."""
    port_ipv6: int = DEFAULT_PORT_IPV6
    """UDP port that the device for IPv6 listens on, where it is a separate one."""
    preshared_key: Secret | None = None
    """The same for every peer."""
    outer_mtu: int | None = None
    """Largest outer packet in bytes; None for the underlay's."""
    keepalive: int = 0
    """Seconds between packets that keep a NAT's mapping alive; 0 for none."""

    @property
    def name(self) -> str:
        return NAME

    @property
    def announces(self) -> str:
        return NAME

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"wireguard"})

    def devices(self, node: Node) -> frozenset[str]:
        return frozenset(self._device(family) for family in node.families)

    def receives(self, node: Node) -> Mapping[str, int]:  # noqa: ARG002  (nothing gets in unauthenticated)
        return {}

    def mtu(self, node: Node) -> int:
        outer = min(self.outer_mtu or node.underlay.mtu, node.underlay.mtu)
        inner = outer - _OVERHEAD
        needed = max(_SMALLEST_MTU[family] for family in node.families)
        if inner < needed:
            raise ConfigError(
                f"an outer MTU of {outer} leaves pods {inner} bytes, and they need {needed}",
                where=node.underlay.device,
                remedy="raise Backend.MTU or the interface's MTU",
            )
        return inner

    def reaches(self, node: Node) -> tuple[Reach, ...]:
        public = _keys(node).public
        return tuple(
            Reach(node.public_address(family), f'{{"PublicKey":"{public}","Port":{self._port(family)}}}')
            for family in node.families
        )

    def announced(self, lease: Lease) -> Mapping[str, HardwareAddress]:  # noqa: ARG002  (its devices have none)
        return {}

    def state(self, node: Node, peers: Iterable[Lease]) -> State:
        return State([*self._own(node), *(item for lease in peers for item in self.peer(node, lease))])

    def peer(self, node: Node, lease: Lease) -> tuple[Object, ...]:
        families = node.families
        endpoints = [endpoint for endpoint in lease.endpoints if endpoint.family in families]
        if self.mode is Mode.SEPARATE:
            return tuple(self._peer(node, endpoint, [endpoint]) for endpoint in endpoints)
        return (self._peer(node, self._way(node, endpoints), endpoints),)

    def receiving(self, node: Node, lease: Lease) -> tuple[Object, ...]:
        for _, offered in offers(lease, self):
            with suppress(InputError):
                return self.peer(node, offered)
        return ()

    def _device(self, family: Family) -> str:
        """The device that a family's pod packets go by."""
        return _DEVICE[family if self.mode is Mode.SEPARATE else Family.IPV4]

    def _port(self, family: Family) -> int:
        """The port that this device listens on."""
        return self.port_ipv6 if self.mode is Mode.SEPARATE and family is Family.IPV6 else self.port

    def _own(self, node: Node) -> Iterator[Object]:
        """The node's own end of all tunnels."""
        mtu = self.mtu(node)
        keys = node.keys
        for device, port in {self._device(family_of(net)): self._port(family_of(net)) for net in node.subnets}.items():
            yield Link(device, Device("wireguard"), mtu=mtu)
            yield WireguardDevice(device, port, keys.public if keys else None, keys.private if keys else None)
        for subnet in node.subnets:
            yield Address(self._device(family_of(subnet)), _alone(subnet))
        leased = {family_of(subnet) for subnet in node.subnets}
        for network in node.networks:
            if family_of(network) in leased:
                yield Route(network, self._device(family_of(network)))

    def _peer(self, node: Node, way: Endpoint, endpoints: Sequence[Endpoint]) -> WireguardPeer:
        """A peer that has all these subnets, and is reached by one of its endpoints."""
        told = [_announcement(endpoint) for endpoint in endpoints]
        keys = {announcement.key for announcement in told}
        if len(keys) > 1:
            raise InputError("it announces two public keys, and one device takes one", remedy="use the mode separate")
        (key,) = keys
        if node.keys is not None and key == node.keys.public:
            raise InputError(f"its public key is this node's, {key}")
        # In the modes of one device, flannel announces for IPv6 a port that nobody listens on.
        port = next((announcement.port for announcement in told if announcement.port), self._port(way.family))
        return WireguardPeer(
            self._device(way.family),
            key,
            SocketAddress(way.reach.address, port),
            frozenset(endpoint.subnet for endpoint in endpoints),
            self.preshared_key,
            self.keepalive,
        )

    def _way(self, node: Node, endpoints: Sequence[Endpoint]) -> Endpoint:
        """The endpoint whose family carries the packets."""
        by_family = {endpoint.family: endpoint for endpoint in endpoints}
        ipv4, ipv6 = by_family.get(Family.IPV4), by_family.get(Family.IPV6)
        if ipv4 is None or ipv6 is None:
            return endpoints[0]
        match self.mode:
            case Mode.IPV6:
                return ipv6
            case Mode.AUTO if _is_private(ipv4.reach.address):
                both_public = not _is_private(ipv6.reach.address) and not _is_private(node.public_address(Family.IPV6))
                return ipv6 if both_public else ipv4
        return ipv4


def parse(options: Fields) -> WireguardBackend:
    """The backend with these options; raises `ConfigError`."""
    modes = [mode.value for mode in Mode]
    mode = options.string("Mode") or Mode.SEPARATE.value
    if mode not in modes:
        raise options.refusal("Mode", f"it must be one of {', '.join(modes)}")
    backend = WireguardBackend(
        mode=Mode(mode),
        port=options.integer("ListenPort", 0, 0, 65_535) or DEFAULT_PORT,
        port_ipv6=options.integer("ListenPortV6", 0, 0, 65_535) or DEFAULT_PORT_IPV6,
        preshared_key=_preshared_key(options),
        outer_mtu=options.integer("MTU", 0, 0, 65_535) or None,
        keepalive=options.integer("PersistentKeepaliveInterval", 0, 0, 65_535),
    )
    if backend.mode is Mode.SEPARATE and backend.port == backend.port_ipv6:
        raise options.refusal("ListenPortV6", "it must differ from ListenPort: each of the two devices has its own")
    return backend


def _preshared_key(options: Fields) -> Secret | None:
    text = options.raw("PSK")
    if text in (None, ""):
        return None
    key = parse_secret(text) if isinstance(text, str) else None
    if key is None:  # the value itself is for nobody's eyes
        raise ConfigError("Backend.PSK is no preshared key", where=WHERE, remedy="it must be 32 octets in base64")
    return key


class _Announcement(NamedTuple):
    """What a peer's lease says of one of its devices."""

    key: PublicKey
    port: int
    """0 where none is told: peers of old flannel listen where we do."""


def _announcement(endpoint: Endpoint) -> _Announcement:
    fields = parse_object(endpoint.reach.data or "null", "backend data")
    return _Announcement(PublicKey.parse(fields.string("PublicKey")), fields.integer("Port", 0, 0, 65_535))


def _keys(node: Node) -> KeyPair:
    if node.keys is None:
        raise InputError("the node has no key pair", where=NAME, remedy="prepare the backend's companion first")
    return node.keys


def _is_private(address: IPAddress) -> bool:
    return any(address in network for network in _PRIVATE[family_of(address)])


def _alone(subnet: IPNetwork) -> IPInterface:
    """The subnet's base address as a network of its own: /32 or /128."""
    if subnet.version == 4:
        return IPv4Interface((subnet.network_address, 32))
    return IPv6Interface((subnet.network_address, 128))
