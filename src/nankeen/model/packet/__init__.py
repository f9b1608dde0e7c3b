"""Packets as values: a stack of headers, as on the wire from the outermost on, and the payload.

    Packet((Ethernet(…), IPv4(…), Udp(…), Vxlan(…), Ethernet(…), IPv4(…), Icmp(…)), b"…")

Each header has the names of its specification, `decode` reads it and `encode` writes it. What a header says of others
(lengths, checksums) may be None: it is then put right by `encode`. `dissect` reads a whole frame.
"""

from nankeen.model.packet.dissect import LinkType, TunnelPorts, dissect
from nankeen.model.packet.ethernet import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    Arp,
    ArpOperation,
    Ethernet,
    Vlan,
)
from nankeen.model.packet.icmp import Icmp, NeighbourMessage
from nankeen.model.packet.ip import Extension, Fragment, IPv4, IPv6, Protocol
from nankeen.model.packet.sctp import Sctp
from nankeen.model.packet.stack import Fault, Header, IPHeader, Packet, encode
from nankeen.model.packet.transport import Tcp, TcpFlag, Udp
from nankeen.model.packet.vxlan import Vxlan

__all__ = [
    "ETHERTYPE_ARP",
    "ETHERTYPE_IPV4",
    "ETHERTYPE_IPV6",
    "Arp",
    "ArpOperation",
    "Ethernet",
    "Extension",
    "Fault",
    "Fragment",
    "Header",
    "IPHeader",
    "IPv4",
    "IPv6",
    "Icmp",
    "LinkType",
    "NeighbourMessage",
    "Packet",
    "Protocol",
    "Sctp",
    "Tcp",
    "TcpFlag",
    "TunnelPorts",
    "Udp",
    "Vlan",
    "Vxlan",
    "dissect",
    "encode",
]
