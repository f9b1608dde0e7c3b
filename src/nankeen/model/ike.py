"""IKEv2 (RFC 7296) as strongSwan's charon is asked for it: a connection for each peer, and the secrets they share."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from nankeen.model.address import IPAddress, IPNetwork
from nankeen.model.secret import Secret


@dataclass(frozen=True, slots=True)
class IkeConnection:
    """A connection between two nodes, whose one child protects what goes between their subnets."""

    local: IPAddress
    remote: IPAddress
    local_subnet: IPNetwork
    remote_subnet: IPNetwork
    proposal: str
    """Algorithms of ESP, in strongSwan's words: `aes128gcm16-sha256-prfsha256-ecp256`."""
    encap: bool = False
    """Whether ESP is carried in UDP also where there is no NAT (RFC 3948)."""

    @property
    def name(self) -> str:
        """Flannel's name for the connection."""
        return f"{self.local}-{self.child}-{self.remote}"

    @property
    def child(self) -> str:
        """Flannel's name for the one child of the connection."""
        return f"{self.local_subnet}-{self.remote_subnet}"

    @property
    def identity(self) -> tuple[Hashable, ...]:
        return (IkeConnection, self.name)

    @property
    def device(self) -> str | None:
        return None

    def satisfied_by(self, observed: IkeConnection) -> bool:
        return self == observed

    def __str__(self) -> str:
        return f"ike {self.name} esp {self.proposal}{' encap' if self.encap else ''}"


@dataclass(frozen=True, slots=True)
class IkeSecret:
    """The pre-shared key that a node proves itself with."""

    owner: IPAddress
    secret: Secret

    @property
    def identity(self) -> tuple[Hashable, ...]:
        return (IkeSecret, self.owner)

    @property
    def device(self) -> str | None:
        return None

    def satisfied_by(self, observed: IkeSecret) -> bool:
        return self == observed

    def __str__(self) -> str:
        return f"ike secret of {self.owner} {self.secret}"
