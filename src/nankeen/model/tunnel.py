"""The udp backend's tunnel as its data path process is told of it: pod packets in UDP, without a header of their own.

The device itself is the kernel's (`nankeen.model.state.Tun`); what goes where is kept by the process.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from nankeen.model.address import IPAddress, IPNetwork, family_of


@dataclass(frozen=True, slots=True)
class TunnelSocket:
    """What a node sends and receives the pod packets of one family by."""

    device: str
    local: IPAddress
    """The underlay's own address: it is bound to."""
    port: int
    """UDP port that it is bound to."""
    subnet: IPNetwork
    """The node's own: no peer sends from there."""

    @property
    def address(self) -> IPAddress:
        """The device's own address: what errors about pods' packets come from (RFC 792, RFC 4443)."""
        return self.subnet.network_address

    @property
    def identity(self) -> tuple[Hashable, ...]:
        return (TunnelSocket, self.device, family_of(self.local))

    def satisfied_by(self, observed: TunnelSocket) -> bool:
        return self == observed

    def __str__(self) -> str:
        return f"udp {self.device} local {_endpoint(self.local, self.port)} subnet {self.subnet}"


@dataclass(frozen=True, slots=True)
class TunnelPeer:
    """Where the packets to one subnet go to, as the payload of UDP datagrams."""

    device: str
    subnet: IPNetwork
    endpoint: IPAddress
    """The peer's underlay address, of the subnet's family."""
    port: int
    node: str
    """The peer's name, by which its packets are counted."""

    @property
    def identity(self) -> tuple[Hashable, ...]:
        return (TunnelPeer, self.device, self.subnet)

    def satisfied_by(self, observed: TunnelPeer) -> bool:
        return self == observed

    def __str__(self) -> str:
        return f"udp {self.device} {self.subnet} to {_endpoint(self.endpoint, self.port)} node {self.node}"


def _endpoint(address: IPAddress, port: int) -> str:
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"
