"""Packets made up by Hypothesis: whole stacks of headers, in tunnels and without."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from hypothesis import strategies as st

from nankeen.model.address import Family, HardwareAddress
from nankeen.model.packet import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    Arp,
    Ethernet,
    Extension,
    Fragment,
    Header,
    Icmp,
    IPv4,
    IPv6,
    Protocol,
    Tcp,
    Udp,
    Vlan,
    Vxlan,
)

PORTS = (20, 21, 53, 80, 443, 1000, 8080, 40000)
TUNNEL_PORT, UDP_PORT = 8472, 8285

u8, u16 = st.integers(0, 0xFF), st.integers(0, 0xFFFF)
ports = st.sampled_from(PORTS)
ipv4_addresses = st.sampled_from(
    [IPv4Address(text) for text in ("192.168.0.11", "192.168.0.12", "10.244.1.2", "10.244.2.2", "10.244.2.3")]
)
ipv6_addresses = st.sampled_from(
    [IPv6Address(text) for text in ("fd00:192:168::11", "fd00:10:244:1::2", "fd00:10:244:2::2", "fe80::1", "::1")]
)
hardware_addresses = st.builds(lambda last: HardwareAddress(bytes([2, 0, 0, 0, 0, last])), st.integers(1, 4))
payloads = st.binary(max_size=40)
Stack = tuple[Header, ...]


@st.composite
def transports(draw: st.DrawFn, family: Family, *, tunnels: bool) -> tuple[int, Stack]:
    """A protocol's number, and its headers."""
    kinds = ["tcp", "udp", "icmp", "other"] + (["vxlan", "udp tunnel", "ip in ip"] if tunnels else [])
    match draw(st.sampled_from(kinds)):
        case "tcp":
            options = draw(st.sampled_from([b"", b"\1\1\1\1"]))
            return Protocol.TCP, (Tcp(draw(ports), draw(ports), flags=draw(u8), options=options),)
        case "udp":
            length = draw(st.sampled_from([None, None, 0, 7, 8, 9]))
            return Protocol.UDP, (Udp(draw(ports), draw(ports), length),)
        case "icmp":
            number = Protocol.ICMP if family is Family.IPV4 else Protocol.ICMPV6
            return number, (Icmp.echo(family, draw(u16), draw(u16), reply=draw(st.booleans())),)
        case "vxlan":
            return Protocol.UDP, (Udp(draw(ports), TUNNEL_PORT), Vxlan(draw(u16)), *draw(frames(tunnels=False)))
        case "udp tunnel":
            return Protocol.UDP, (Udp(draw(ports), UDP_PORT), *draw(networks(tunnels=False))[1])
        case "ip in ip":
            ethertype, stack = draw(networks(tunnels=False))
            return (Protocol.IPV4 if ethertype == ETHERTYPE_IPV4 else Protocol.IPV6), stack
        case _:
            return 89, ()


@st.composite
def networks(draw: st.DrawFn, *, tunnels: bool = True) -> tuple[int, Stack]:
    """An EtherType, and an IP packet."""
    if draw(st.booleans()):
        number, inner = draw(transports(Family.IPV4, tunnels=tunnels))
        offset = draw(st.sampled_from([0, 0, 0, 0, 185]))
        options = draw(st.sampled_from([b"", b"", bytes(8)]))
        source, destination = draw(ipv4_addresses), draw(ipv4_addresses)
        more = offset == 0 and draw(st.integers(0, 7)) == 0
        header = IPv4(source, destination, number, draw(u8), fragment_offset=offset, more_fragments=more)
        return ETHERTYPE_IPV4, (replace(header, options=options), *(() if offset else inner))
    number, inner = draw(transports(Family.IPV6, tunnels=tunnels))
    chain: Stack = ()
    for _ in range(draw(st.sampled_from([0, 0, 1, 2, 3, 4, 5]))):
        kind = draw(st.sampled_from(["options", "options", "fragment", "later"]))
        if kind == "options":
            chain = (Extension(Protocol.DESTINATION_OPTIONS, number, bytes(6)), *chain)
            number = Protocol.DESTINATION_OPTIONS
        else:
            later = kind == "later"
            chain = (Fragment(number, 185 if later else 0, more_fragments=True, identification=7), *chain)
            number = Protocol.FRAGMENT
    source6, destination6 = draw(ipv6_addresses), draw(ipv6_addresses)
    return ETHERTYPE_IPV6, (IPv6(source6, destination6, number, draw(u8)), *chain, *inner)


@st.composite
def frames(draw: st.DrawFn, *, tunnels: bool = True) -> Stack:
    """An Ethernet frame, with up to two VLAN tags."""
    if draw(st.integers(0, 5)) == 0:
        hardware, addresses = draw(hardware_addresses), draw(ipv4_addresses)
        ethertype: int = ETHERTYPE_ARP
        stack: Stack = (Arp(draw(st.integers(1, 2)), hardware, addresses, hardware, draw(ipv4_addresses)),)
    else:
        ethertype, stack = draw(networks(tunnels=tunnels))
    for tag in draw(st.lists(st.integers(1, 4094), max_size=2)):
        stack, ethertype = (Vlan(tag, ethertype), *stack), 0x8100
    return (Ethernet(draw(hardware_addresses), draw(hardware_addresses), ethertype), *stack)
