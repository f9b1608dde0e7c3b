"""Packets as forwarding sees them, put on the wire in whatever tunnel they are: what a faultless network would show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nankeen.forwarding import Packet, Passage, codec
from nankeen.forwarding.packet import Ethernet, Header, Ip, Udp, VxlanHeader
from nankeen.inspect.walk.journey import Journey
from nankeen.inspect.walk.probe import content, marked
from nankeen.inspect.walk.sighting import Role, Sighting
from nankeen.inspect.walk.tag import Tag
from nankeen.model import packet as wire
from nankeen.model.packet import LinkType, dissect, encode

DRAWN = 50000
"""The source port of every tunnel."""


def octets(packet: Packet, tag: Tag) -> bytes:
    """The packet with its tag."""
    headers = _headers(packet.headers, tag)
    return encode(headers, content(headers[-1], tag))


def seen(point: Passage, tag: Tag, time: int = 0, packet: Packet | None = None) -> Sighting:
    """The probe at a predicted point, or another packet there, so many microseconds after it was sent."""
    shown = point.packet if packet is None else packet
    link = LinkType.ETHERNET if isinstance(shown.headers[0], Ethernet) else LinkType.IP
    captured = dissect(octets(shown, tag), link)
    return Sighting(Role.PROBE, point.host, point.device, point.direction, time * 1000, captured)


def faultless(journey: Journey, tag: Tag) -> list[Sighting]:
    """The probe at each point, 10 µs after the one before."""
    return [seen(point, tag, 10 * number) for number, point in enumerate(journey.points)]


def _headers(headers: Sequence[Header], tag: Tag) -> list[wire.Header]:
    if not headers:
        return []
    first, *rest = headers
    version = next((header.version for header in rest if isinstance(header, Ip)), 4)
    match first:
        case Ethernet(source, destination):
            kind = wire.ETHERTYPE_IPV4 if version == 4 else wire.ETHERTYPE_IPV6
            return [wire.Ethernet(destination, source, kind), *_headers(rest, tag)]
        case VxlanHeader(vni):
            return [wire.Vxlan(vni), *_headers(rest, tag)]
        case Ip() if len(rest) > 1:
            outer = codec.sent(Packet((first, replace(_udp(rest[0]), source=DRAWN))))
            return [*outer, *_headers(rest[1:], tag)]
        case Ip():
            return [marked(header, tag) for header in codec.sent(Packet(tuple(headers)))]
    raise AssertionError(first)


def _udp(header: Header) -> Udp:
    assert isinstance(header, Udp)
    return header
