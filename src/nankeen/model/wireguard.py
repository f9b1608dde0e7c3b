"""WireGuard's part of the kernel state: what a device is set to, and its peers (linux/wireguard.h, wg(8)).

The device itself is a `Link` of kind "wireguard" and goes by rtnetlink; these go by generic netlink. Keys are points of
Curve25519 (RFC 7748), written in base64.
"""

from __future__ import annotations

import binascii
import os
from base64 import b64decode, b64encode
from collections.abc import Hashable
from dataclasses import dataclass, field

from nankeen.model.address import IPAddress, IPNetwork
from nankeen.model.curve25519 import KEY_LENGTH, clamp, public_key
from nankeen.model.errors import InputError
from nankeen.model.secret import Secret


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What a peer is known by."""

    octets: bytes

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """From base64; raises `InputError`, also for the key of zeros, which is nobody's."""
        octets = _decode(text)
        if octets is None or not any(octets):
            raise InputError(f"{text[:60]!r} is no public key of WireGuard", remedy="it is 32 octets in base64")
        return cls(octets)

    def __str__(self) -> str:
        return b64encode(self.octets).decode()


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A node's own keys."""

    private: Secret
    public: PublicKey

    @classmethod
    def of(cls, private: Secret) -> KeyPair:
        """Of a private key, which is clamped as the kernel does it."""
        clamped = clamp(private.octets)
        return cls(Secret(clamped), PublicKey(public_key(clamped)))

    @classmethod
    def generate(cls) -> KeyPair:
        """A new one."""
        return cls.of(Secret(os.urandom(KEY_LENGTH)))


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """An address and a UDP port."""

    address: IPAddress
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}" if self.address.version == 4 else f"[{self.address}]:{self.port}"


@dataclass(frozen=True, slots=True)
class WireguardDevice:
    """What a WireGuard device is set to. `public_key` None leaves the keys as they are."""

    device: str
    listen_port: int
    public_key: PublicKey | None = None
    private_key: Secret | None = field(default=None, compare=False)
    """Needed to set the device up, never to compare it."""

    @property
    def identity(self) -> tuple[Hashable, ...]:
        return (WireguardDevice, self.device)

    def satisfied_by(self, observed: WireguardDevice) -> bool:
        return self.listen_port == observed.listen_port and self.public_key in (None, observed.public_key)

    def __str__(self) -> str:
        key = ["public-key", str(self.public_key)] if self.public_key else []
        return " ".join(["wg", self.device, "listen-port", str(self.listen_port), *key])


@dataclass(frozen=True, slots=True)
class WireguardPeer:
    """A peer of a WireGuard device: where its packets go to, and which inner addresses are its own."""

    device: str
    public_key: PublicKey
    endpoint: SocketAddress | None
    allowed_ips: frozenset[IPNetwork]
    """What is sent to it, and may come from it."""
    preshared_key: Secret | None = None
    keepalive: int = 0
    """Seconds between packets that keep a NAT's mapping alive; 0 for none."""
    alive: bool = field(default=False, compare=False)
    """Observed: it was heard from lately, so its endpoint is right, wherever the kernel has followed it to."""

    @property
    def identity(self) -> tuple[Hashable, ...]:
        return (WireguardPeer, self.device, self.public_key)

    def satisfied_by(self, observed: WireguardPeer) -> bool:
        return (
            (self.endpoint == observed.endpoint or observed.alive)
            and self.allowed_ips == observed.allowed_ips
            and self.preshared_key == observed.preshared_key
            and self.keepalive == observed.keepalive
        )

    def __str__(self) -> str:
        parts = ["wg", self.device, "peer", str(self.public_key)]
        parts += ["preshared-key", str(self.preshared_key)] if self.preshared_key else []
        parts += ["endpoint", str(self.endpoint)] if self.endpoint else []
        parts += ["persistent-keepalive", str(self.keepalive)] if self.keepalive else []
        return " ".join([*parts, "allowed-ips", ",".join(sorted(map(str, self.allowed_ips)))])


def parse_secret(text: str) -> Secret | None:
    """A private or preshared key from base64; None where it is none. The text is told to nobody."""
    octets = _decode(text)
    return None if octets is None else Secret(octets)


def _decode(text: str) -> bytes | None:
    try:
        octets = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return octets if len(octets) == KEY_LENGTH else None
