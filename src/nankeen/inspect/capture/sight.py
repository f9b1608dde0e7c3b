"""What was seen: a frame at a point, and what is in it."""

from __future__ import annotations

from dataclasses import dataclass

from nankeen.inspect.capture.application import Application, application
from nankeen.kernel.ring import Frame
from nankeen.model.packet import Icmp, LinkType, Packet, Tcp, TunnelPorts, Udp, dissect


@dataclass(frozen=True, slots=True)
class Sight:
    """A frame that passed a point, read."""

    point: str
    """As a person names it: node1:eth0."""
    frame: Frame
    packet: Packet
    application: Application | None = None
    """What the innermost payload is."""
    quoted: Packet | None = None
    """What an ICMP error is about."""


@dataclass(frozen=True, slots=True)
class View:
    """A point, and what it takes to read frames there."""

    point: str
    """As a person names it: node1:eth0."""
    link: LinkType
    ports: TunnelPorts

    def see(self, frame: Frame) -> Sight:
        """The frame read to its end."""
        packet = dissect(frame.data, self.link, self.ports)
        last = packet.headers[-1] if packet.headers else None
        if packet.payload and isinstance(last, Tcp | Udp):
            return Sight(self.point, frame, packet, application(last, packet.payload))
        if packet.payload and isinstance(last, Icmp) and last.is_error:
            quoted = dissect(packet.payload, LinkType.IP, self.ports)
            return Sight(self.point, frame, packet, quoted=quoted)
        return Sight(self.point, frame, packet)
