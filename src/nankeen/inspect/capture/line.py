"""One packet in one line, for people: when, where, which way, and what; tunnels from the outside in."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache

from nankeen.inspect.capture import words
from nankeen.inspect.capture.sight import Sight
from nankeen.kernel.ring import Direction
from nankeen.model.packet import (
    Arp,
    Ethernet,
    Fragment,
    Header,
    Icmp,
    IPv4,
    IPv6,
    NeighbourMessage,
    Packet,
    Sctp,
    Tcp,
    Udp,
    Vlan,
    Vxlan,
)

INTO = " ▸ "
"""Between a packet and the one in its tunnel."""
_DIGITS = [f"{number:03}" for number in range(1000)]


def line(sight: Sight, width: int) -> str:
    """The packet in one line; the point's name takes `width` columns."""
    frame = sight.frame
    text = f"{clock(frame.time)}{place(sight.point, frame.direction, width)}{told(sight.packet)}"
    if sight.application is not None:
        text += f" {sight.application.protocol} {sight.application.text}"
    if sight.quoted is not None:
        text += f" about {told(sight.quoted, complete=False)}"
    return f"{text} ({frame.length} bytes)"


def place(point: str, direction: Direction, width: int) -> str:
    """Where and which way, with the room around it."""
    return f"  {point:<{width}}  {direction.value:<3}  "


def clock(nanoseconds: int) -> str:
    """The time of day here, to the microsecond."""
    microseconds = nanoseconds // 1000
    return f"{_millisecond(microseconds // 1000)}{_DIGITS[microseconds % 1000]}"


@lru_cache(1024)
def _millisecond(milliseconds: int) -> str:
    """The time of day; many packets have the same."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{_DIGITS[rest]}"


def told(packet: Packet, *, complete: bool = True) -> str:
    """What a packet is. One that is not `complete` by its nature may be cut short without fault."""
    text = INTO.join(_level(level) for level in packet.levels if level)
    if packet.fault is None or not complete:
        return text
    layer, name = words.fault_name(packet.fault.layer)
    return f"{text} [malformed {f'{layer} {name}'.strip()}: {packet.fault.problem}]".lstrip()


def _level(headers: Sequence[Header]) -> str:
    """Addresses with ports, then what is between them."""
    source = destination = ""
    parts: list[str] = []
    for header in headers:
        match header:
            case IPv4() | IPv6():
                source, destination = str(header.source), str(header.destination)
                parts += [words.fragment(header)] if isinstance(header, IPv4) and _in_parts(header) else []
            case Udp() | Tcp() | Sctp():
                parts.append(words.name_of(header))
                parts += [f"[{words.flags(header.flags)}]"] if isinstance(header, Tcp) else []
                source, destination = f"{_host(source)}:{header.source}", f"{_host(destination)}:{header.destination}"
            case Arp():
                parts.append(f"ARP {words.arp(header)}")
            case Icmp():
                parts.append(f"{words.name_of(header)} {words.icmp(header)}")
            case Vlan() | Vxlan():
                parts.append(f"{words.name_of(header)} {words.in_full(header).partition(',')[0]}")
            case Fragment():
                parts.append(words.fragment(header))
            case NeighbourMessage():
                parts.append(words.in_full(header))
    if source:
        return " ".join([f"{source} → {destination}", *(parts or [_carried(headers)])])
    return " ".join(parts if any(isinstance(header, Arp) for header in headers) else [*_link(headers), *parts])


def _in_parts(header: IPv4) -> bool:
    return header.more_fragments or header.fragment_offset != 0


def _carried(headers: Sequence[Header]) -> str:
    """What an IP packet carries that has no header of ours."""
    found = [words.protocol(header.protocol) for header in headers if isinstance(header, IPv4 | IPv6)]
    return found[-1] if found else ""


def _link(headers: Sequence[Header]) -> list[str]:
    return [f"Ethernet {words.in_full(header)}" for header in headers if isinstance(header, Ethernet)]


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
