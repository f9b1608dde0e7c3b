"""WG_CMD_*: what WireGuard devices are set to, and their peers (linux/wireguard.h).

Each peer is a message of its own: however many there are, no message grows, and the kernel tells which one it refuses.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from nankeen.kernel.netlink.generic import HEADER_LENGTH, command
from nankeen.kernel.netlink.message import attribute, attributes, elements, nested, read_string, string, u32
from nankeen.kernel.netlink.route import network
from nankeen.model.address import IPNetwork
from nankeen.model.curve25519 import KEY_LENGTH
from nankeen.model.secret import Secret
from nankeen.model.wireguard import PublicKey, SocketAddress, WireguardDevice, WireguardPeer

NAME = "wireguard"
"""Of the family, of the kind of link, and of the module that brings both."""

_VERSION = 1
_GET_DEVICE, _SET_DEVICE = 0, 1
_IFNAME, _PRIVATE_KEY, _PUBLIC_KEY, _LISTEN_PORT, _PEERS = 2, 3, 4, 6, 8
_PEER_PUBLIC_KEY, _PEER_PRESHARED_KEY, _PEER_FLAGS, _PEER_ENDPOINT, _PEER_KEEPALIVE = 1, 2, 3, 4, 5
_PEER_LAST_HANDSHAKE, _PEER_ALLOWED_IPS = 6, 9
_REMOVE_ME, _REPLACE_ALLOWED_IPS = 1, 2
_IP_FAMILY, _IP_ADDRESS, _IP_LENGTH = 1, 2, 3

_U16 = struct.Struct("=H")
_TIMESPEC = struct.Struct("=qq")
_SOCKADDR = struct.Struct("=H2s4s8x")
_SOCKADDR6 = struct.Struct("=H2sI16sI")
_NO_KEY = bytes(KEY_LENGTH)

REJECT_AFTER_SECONDS = 180
"""How long after its handshake a session carries packets (REJECT_AFTER_TIME of WireGuard's paper, §6.1)."""


def set_device(family: int, device: WireguardDevice) -> bytes:
    """Sets the port, and the key where it is given; the device's peers stay."""
    body = string(_IFNAME, device.device) + attribute(_LISTEN_PORT, _U16.pack(device.listen_port))
    if device.private_key is not None:
        body += attribute(_PRIVATE_KEY, device.private_key.octets)
    return command(family, _SET_DEVICE, _VERSION, body)


def set_peer(family: int, peer: WireguardPeer, observed: WireguardPeer | None = None) -> bytes:
    """Adds the peer or gives it these settings. Of one that is `observed` alive the endpoint stays as it is."""
    body = u32(_PEER_FLAGS, _REPLACE_ALLOWED_IPS)
    body += attribute(_PEER_PRESHARED_KEY, peer.preshared_key.octets if peer.preshared_key else _NO_KEY)
    if peer.endpoint is not None and not (observed is not None and observed.alive):
        body += attribute(_PEER_ENDPOINT, _sockaddr(peer.endpoint))
    body += attribute(_PEER_KEEPALIVE, _U16.pack(peer.keepalive))
    body += nested(_PEER_ALLOWED_IPS, *(_allowed_ip(ip) for ip in sorted(peer.allowed_ips, key=str)))
    return _change(family, peer, body)


def remove_peer(family: int, peer: WireguardPeer) -> bytes:
    return _change(family, peer, u32(_PEER_FLAGS, _REMOVE_ME))


def _change(family: int, peer: WireguardPeer, body: bytes) -> bytes:
    one = nested(0, attribute(_PEER_PUBLIC_KEY, peer.public_key.octets), body)
    return command(family, _SET_DEVICE, _VERSION, string(_IFNAME, peer.device) + nested(_PEERS, one))


def _sockaddr(endpoint: SocketAddress) -> bytes:
    """A struct sockaddr_in or sockaddr_in6: the family in host byte order, the port in network byte order."""
    port = endpoint.port.to_bytes(2, "big")
    if endpoint.address.version == 4:
        return _SOCKADDR.pack(socket.AF_INET, port, endpoint.address.packed)
    return _SOCKADDR6.pack(socket.AF_INET6, port, 0, endpoint.address.packed, 0)


def _allowed_ip(ip: IPNetwork) -> bytes:
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    return nested(
        0,
        attribute(_IP_FAMILY, _U16.pack(family)),
        attribute(_IP_ADDRESS, ip.network_address.packed),
        attribute(_IP_LENGTH, bytes([ip.prefixlen])),
    )


def get_device(family: int, name: str) -> bytes:
    """Asks for a device and all its peers, as a dump."""
    return command(family, _GET_DEVICE, _VERSION, string(_IFNAME, name))


def parse(bodies: Iterable[bytes], now: float) -> Iterator[WireguardDevice | WireguardPeer]:
    """What the answers of one dump tell of one device; `now` is the Unix time in seconds.

    A device too large for one answer goes on in the next, and so does a peer: parts that follow each other are joined.
    """
    peer: WireguardPeer | None = None
    for body in bodies:
        found = attributes(body, HEADER_LENGTH)
        device = read_string(found[_IFNAME])
        if _LISTEN_PORT in found:
            yield _device(device, found)
        for part in elements(found.get(_PEERS, b"")):
            following = _peer(device, attributes(part), now)
            if peer is not None and peer.identity == following.identity:
                peer = replace(peer, allowed_ips=peer.allowed_ips | following.allowed_ips)
                continue
            if peer is not None:
                yield peer
            peer = following
    if peer is not None:
        yield peer


def _device(name: str, found: Mapping[int, bytes]) -> WireguardDevice:
    key = found.get(_PUBLIC_KEY)
    return WireguardDevice(name, _U16.unpack(found[_LISTEN_PORT])[0], PublicKey(key) if key else None)


def _peer(device: str, found: Mapping[int, bytes], now: float) -> WireguardPeer:
    endpoint, key = found.get(_PEER_ENDPOINT), found.get(_PEER_PRESHARED_KEY, _NO_KEY)
    handshake, _ = _TIMESPEC.unpack(found.get(_PEER_LAST_HANDSHAKE, bytes(_TIMESPEC.size)))
    return WireguardPeer(
        device,
        PublicKey(found[_PEER_PUBLIC_KEY]),
        _parse_sockaddr(endpoint) if endpoint is not None else None,
        frozenset(_parse_allowed_ip(attributes(ip)) for ip in elements(found.get(_PEER_ALLOWED_IPS, b""))),
        Secret(key) if any(key) else None,
        _U16.unpack(found[_PEER_KEEPALIVE])[0] if _PEER_KEEPALIVE in found else 0,
        alive=handshake > 0 and now - handshake < REJECT_AFTER_SECONDS,
    )


def _parse_sockaddr(packed: bytes) -> SocketAddress:
    if _U16.unpack_from(packed)[0] == socket.AF_INET:
        _, port, address = _SOCKADDR.unpack_from(packed)
        return SocketAddress(IPv4Address(address), int.from_bytes(port, "big"))
    _, port, _, address, _ = _SOCKADDR6.unpack_from(packed)
    return SocketAddress(IPv6Address(address), int.from_bytes(port, "big"))


def _parse_allowed_ip(found: Mapping[int, bytes]) -> IPNetwork:
    return network(found[_IP_ADDRESS], found[_IP_LENGTH][0])
