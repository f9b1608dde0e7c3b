"""Headers in words, by the layers of the OSI model: for a line, for a tree, and for programs."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from nankeen.model.address import Family
from nankeen.model.packet import (
    Arp,
    ArpOperation,
    Ethernet,
    Extension,
    Fragment,
    Header,
    Icmp,
    IPv4,
    IPv6,
    NeighbourMessage,
    Sctp,
    Tcp,
    TcpFlag,
    Udp,
    Vlan,
    Vxlan,
)

TUNNEL = "  "
"""The place of a layer's name where a header belongs to none: OSI knows no tunnels."""

_NAMES: dict[type[Header], tuple[str, str]] = {
    Ethernet: ("L2", "Ethernet"),
    Vlan: ("L2", "802.1Q"),
    Arp: ("L2", "ARP"),
    IPv4: ("L3", "IPv4"),
    IPv6: ("L3", "IPv6"),
    Extension: ("L3", "IPv6 option"),
    Fragment: ("L3", "fragment"),
    Icmp: ("L3", "ICMP"),
    NeighbourMessage: ("L3", "ND"),
    Udp: ("L4", "UDP"),
    Tcp: ("L4", "TCP"),
    Sctp: ("L4", "SCTP"),
    Vxlan: (TUNNEL, "VXLAN"),
}
_ETHERTYPES = {0x0800: "IPv4", 0x0806: "ARP", 0x8100: "802.1Q", 0x86DD: "IPv6", 0x88A8: "802.1ad", 0x88CC: "LLDP"}
_PROTOCOLS = {
    0: "hop-by-hop options",
    1: "ICMP",
    2: "IGMP",
    4: "IPv4",
    6: "TCP",
    17: "UDP",
    41: "IPv6",
    43: "routing",
    44: "fragment",
    47: "GRE",
    50: "ESP",
    51: "AH",
    58: "ICMPv6",
    59: "nothing",
    60: "destination options",
    89: "OSPF",
    112: "VRRP",
    132: "SCTP",
}
_UNREACHABLE = {
    0: "network",
    1: "host",
    2: "protocol",
    3: "port",
    4: "fragmentation needed",
    5: "source route failed",
    9: "network prohibited",
    10: "host prohibited",
    13: "communication prohibited",
}
_UNREACHABLE_V6 = {
    0: "no route",
    1: "prohibited",
    2: "beyond the source's scope",
    3: "address",
    4: "port",
    5: "source address refused",
    6: "route rejected",
}
_ICMP = {
    0: "echo reply",
    3: "unreachable",
    4: "source quench",
    5: "redirect",
    8: "echo request",
    9: "router advertisement",
    10: "router solicitation",
    11: "time exceeded",
    12: "parameter problem",
}
_ICMPV6 = {
    1: "unreachable",
    2: "packet too big",
    3: "time exceeded",
    4: "parameter problem",
    128: "echo request",
    129: "echo reply",
    130: "multicast listener query",
    131: "multicast listener report",
    132: "multicast listener done",
    133: "router solicitation",
    134: "router advertisement",
    135: "neighbour solicitation",
    136: "neighbour advertisement",
    137: "redirect",
    143: "multicast listener report",
}


def layer_of(header: Header) -> str:
    """L2, L3, L4, or `TUNNEL`."""
    return _NAMES[type(header)][0]


def name_of(header: Header) -> str:
    """The protocol's name."""
    if isinstance(header, Icmp) and header.family is Family.IPV6:
        return "ICMPv6"
    return _NAMES[type(header)][1]


def fault_name(layer: str) -> tuple[str, str]:
    """The layer and protocol of a `Fault`'s header."""
    for kind, names in _NAMES.items():
        if kind.__name__ == layer:
            return names
    return TUNNEL, layer


def in_full(header: Header) -> str:
    """All that a header says, without its protocol's name."""
    return _IN_FULL[type(header)](header)


def _ethernet(header: Ethernet) -> str:
    return f"{header.source} → {header.destination}, {ethertype(header.protocol)}"


def _vlan(header: Vlan) -> str:
    priority = f", priority {header.priority}" if header.priority else ""
    return f"VLAN {header.identifier}{priority}, {ethertype(header.protocol)}"


def arp(header: Arp) -> str:
    """A question, or its answer."""
    if header.operation == ArpOperation.REQUEST:
        return f"who has {header.target}? tell {header.sender}"
    if header.operation == ArpOperation.REPLY:
        return f"{header.sender} is at {header.sender_hardware}"
    return f"operation {header.operation}, {header.sender} to {header.target}"


def _ipv4(header: IPv4) -> str:
    parts = [f"{header.source} → {header.destination}", protocol(header.protocol), f"TTL {header.ttl}"]
    parts += [f"{header.total_length} bytes"] if header.total_length else []
    parts += ["DF"] if header.dont_fragment else []
    parts += [fragment(header)] if header.more_fragments or header.fragment_offset else []
    parts += [f"identification {header.identification}"] if header.identification else []
    parts += [f"traffic class {header.traffic_class:#04x}"] if header.traffic_class else []
    parts += [f"{len(header.options)} bytes of options"] if header.options else []
    return ", ".join(parts)


def _ipv6(header: IPv6) -> str:
    parts = [f"{header.source} → {header.destination}", protocol(header.protocol), f"hop limit {header.ttl}"]
    parts += [f"{header.payload_length} bytes follow"] if header.payload_length else []
    parts += [f"traffic class {header.traffic_class:#04x}"] if header.traffic_class else []
    parts += [f"flow {header.flow_label:#07x}"] if header.flow_label else []
    return ", ".join(parts)


def _extension(header: Extension) -> str:
    return f"{protocol(header.kind)}, {len(header.data) + 2} bytes, then {protocol(header.protocol)}"


def _fragment(header: Fragment) -> str:
    return f"{fragment(header)}, identification {header.identification}, then {protocol(header.protocol)}"


def fragment(header: IPv4 | Fragment) -> str:
    """Which part of a packet it is."""
    more = "and more follow" if header.more_fragments else "the last"
    return f"fragment from byte {header.fragment_offset * 8} on, {more}"


def icmp(header: Icmp) -> str:
    """Its type and code, and what the type makes of the rest."""
    known, reasons = (_ICMP, _UNREACHABLE) if header.family is Family.IPV4 else (_ICMPV6, _UNREACHABLE_V6)
    text = known.get(header.type, f"type {header.type} code {header.code}")
    if text == "unreachable":
        text += f" ({reasons.get(header.code, f'code {header.code}')})"
    if header.is_echo:
        text += f", id {header.identifier}, seq {header.sequence}"
    return f"{text}, MTU {header.mtu}" if header.mtu is not None else text


def _neighbour(header: NeighbourMessage) -> str:
    link_layer = f", link-layer address {header.link_layer}" if header.link_layer else ""
    return f"about {header.target}{link_layer}"


def _udp(header: Udp) -> str:
    return f"{header.source} → {header.destination}" + (f", {header.length} bytes" if header.length else "")


def _sctp(header: Sctp) -> str:
    return f"{header.source} → {header.destination}, verification tag {header.verification:#x}"


def _tcp(header: Tcp) -> str:
    parts = [f"{header.source} → {header.destination}", f"[{flags(header.flags)}]", f"seq {header.sequence}"]
    parts += [f"ack {header.acknowledgement}"] if header.flags & TcpFlag.ACK else []
    parts += [f"window {header.window}"]
    parts += [f"{len(header.options)} bytes of options"] if header.options else []
    return ", ".join(parts)


def _vxlan(header: Vxlan) -> str:
    return f"VNI {header.vni}" + (f", group {header.group}" if header.group else "")


@lru_cache(256)
def flags(bits: int) -> str:
    """The control bits of TCP, in the order in which a connection has them."""
    order = ("SYN", "FIN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
    return " ".join(name for name in order if bits & TcpFlag[name]) or "no flags"


def ethertype(number: int) -> str:
    """What an Ethernet frame carries."""
    if number < 0x600:
        return f"{number} bytes of IEEE 802.3"
    return _ETHERTYPES.get(number, f"EtherType {number:#06x}")


def protocol(number: int) -> str:
    """What an IP packet carries."""
    return _PROTOCOLS.get(number, f"protocol {number}")


_IN_FULL: dict[type[Header], Callable[..., str]] = {
    Ethernet: _ethernet,
    Vlan: _vlan,
    Arp: arp,
    IPv4: _ipv4,
    IPv6: _ipv6,
    Extension: _extension,
    Fragment: _fragment,
    Icmp: icmp,
    NeighbourMessage: _neighbour,
    Udp: _udp,
    Tcp: _tcp,
    Sctp: _sctp,
    Vxlan: _vxlan,
}
