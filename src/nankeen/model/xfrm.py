"""IPsec policies (RFC 4301 §4.4.1, the SPD; linux/xfrm.h): which packets must travel inside ESP, and between whom."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum

from nankeen.model.address import IPAddress, IPNetwork

REQID = 11
"""Request ID of our policies and of the security associations that serve them: flannel's."""
PRIORITY_LOCAL = 28_266
"""Of our policies that let packets pass in the clear on the node itself. A lower number goes first."""
PRIORITY_BLOCK = 28_267
"""Of our policies that block what no other policy is about."""


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
    """A policy for packets between two networks. One without a tunnel lets them pass in the clear, or blocks them."""

    direction: Direction
    source: IPNetwork
    destination: IPNetwork
    tunnel: EspTunnel | None = None
    priority: int = 0
    block: bool = False

    @property
    def identity(self) -> tuple[Hashable, ...]:
        return (XfrmPolicy, self.direction, self.source, self.destination)

    @property
    def device(self) -> str | None:
        return None

    @property
    def is_ours(self) -> bool:
        """Whether it bears one of our marks: the request ID, or a priority that nobody else would choose."""
        if self.tunnel is not None:
            return self.tunnel.reqid == REQID
        return self.priority in (PRIORITY_LOCAL, PRIORITY_BLOCK)

    def satisfied_by(self, observed: XfrmPolicy) -> bool:
        return self == observed

    def __str__(self) -> str:
        parts = [f"src {self.source} dst {self.destination} dir {self.direction.name.lower()}"]
        parts += ["action block"] if self.block else []
        parts += [f"priority {self.priority}"]
        if self.tunnel is not None:
            tunnel = self.tunnel
            parts += [f"tmpl src {tunnel.source} dst {tunnel.destination} proto esp reqid {tunnel.reqid} mode tunnel"]
        return " ".join(parts)
