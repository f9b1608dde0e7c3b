"""IPsec policies (RFC 4301 §4.4.1, the SPD; linux/xfrm.h): which packets must travel inside ESP, and between whom."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum

from nankeen.model.address import IPAddress, IPNetwork

REQID = 11
"""Request ID of our policies and of the security associations that serve them: flannel's."""


class Direction(Enum):
    """Which packets a policy is about: those that come in for the node, leave it, or are forwarded (XFRM_POLICY_*)."""

    IN = 0
    OUT = 1
    FWD = 2


@dataclass(frozen=True, slots=True)
class EspTunnel:
    """The tunnel that packets must be in: ESP (RFC 4303), from node to node."""

    source: IPAddress
    destination: IPAddress
    reqid: int = REQID


@dataclass(frozen=True, slots=True)
class XfrmPolicy:
    """Packets between two networks must be in the tunnel: there is no other way for them."""

    direction: Direction
    source: IPNetwork
    destination: IPNetwork
    tunnel: EspTunnel
    priority: int = 0
    """Of two policies for a packet, the one with the lower number counts."""

    @property
    def identity(self) -> tuple[Hashable, ...]:
        return (XfrmPolicy, self.direction, self.source, self.destination)

    @property
    def device(self) -> str | None:
        return None

    def satisfied_by(self, observed: XfrmPolicy) -> bool:
        return self == observed

    def __str__(self) -> str:
        tunnel = self.tunnel
        return (
            f"src {self.source} dst {self.destination} dir {self.direction.name.lower()} priority {self.priority} "
            f"tmpl src {tunnel.source} dst {tunnel.destination} proto esp reqid {tunnel.reqid} mode tunnel"
        )
