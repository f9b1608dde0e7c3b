"""The udp backend's tunnel as its data path process is told of it: pod packets in UDP, without a header of their own.

The device itself is the kernel's (`nankeen.model.state.Tun`); what goes where is kept by the process.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from nankeen.model.address import IPAddress, IPNetwork, family_of

GSO_MAX_SIZE = 65_536
"""Octets of the largest packet that a device is given unsegmented if nobody says otherwise: GSO_LEGACY_MAX_SIZE
(linux/netdevice.h).
"""
_LARGEST_DATAGRAM, _MOST_SEGMENTS = 65_507, 64
"""Octets, and datagrams, that one call with UDP_SEGMENT sends at most (udp(7))."""
_TCP_HEADERS = 320
"""Octets that TCP leaves of IFLA_GSO_MAX_SIZE for all headers: MAX_TCP_HEADER (net/tcp.h)."""
_USUAL_HEADERS = 50
"""Octets of IP and TCP headers that each segment has: a little less than IPv4 with timestamps."""


def gso_max_size(mtu: int) -> int:
    """The largest packet, in octets, that pods' interfaces of this MTU are to leave unsegmented: its segments, each a
    datagram then, go by one call, where those of the kernel's own limit would need a second for the last two.
    """
    segments = min(_LARGEST_DATAGRAM // mtu, _MOST_SEGMENTS)
    return min(segments * (mtu - _USUAL_HEADERS) + _TCP_HEADERS, GSO_MAX_SIZE)


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
