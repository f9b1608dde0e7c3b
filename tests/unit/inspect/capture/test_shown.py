"""How a packet is shown: in a line, as a tree, and for programs."""

from __future__ import annotations

import json
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.inspect.capture.document import document
from nankeen.inspect.capture.line import line, told
from nankeen.inspect.capture.tree import tree
from nankeen.model.address import Family
from nankeen.model.packet import (
    Arp,
    Ethernet,
    Extension,
    Fragment,
    Header,
    Icmp,
    IPv4,
    IPv6,
    LinkType,
    NeighbourMessage,
    Protocol,
    Udp,
    Vlan,
    encode,
)
from tests.unit.inspect.capture.sights import ETHERNET, NODE1, PING, POD1, POD2, VXLAN, A, B, seen, seen_of, tcp, udp
from tests.unit.model.packet.strategies import frames, payloads

PING_LINE = "10.244.1.2 → 10.244.2.2 ICMP echo request, id 7, seq 1"
ONE, TWO = IPv6Address("fd00::1"), IPv6Address("fd00::2")


def ipv6(*inner: Header, protocol: int) -> tuple[Header, ...]:
    return (Ethernet(B, A, 0x86DD), IPv6(ONE, TWO, protocol), *inner)


@pytest.mark.parametrize(
    "headers, payload, text",
    [
        (PING, b"", PING_LINE),
        (
            (*VXLAN, *PING),
            b"",
            f"192.168.0.11:40000 → 192.168.0.12:8472 UDP VXLAN VNI 1 ▸ {PING_LINE}",
        ),
        (tcp(40000, 80), b"", "10.244.1.2:40000 → 10.244.2.2:80 TCP [SYN]"),
        (udp(40000, 9), b"x", "10.244.1.2:40000 → 10.244.2.2:9 UDP"),
        ((ETHERNET, IPv4(POD1, POD2, 89)), b"x", "10.244.1.2 → 10.244.2.2 OSPF"),
        (
            (ETHERNET, IPv4(POD1, POD2, 17, fragment_offset=185)),
            b"x",
            "10.244.1.2 → 10.244.2.2 fragment from byte 1480 on, the last",
        ),
        ((Ethernet(B, A, 0x0806), Arp(1, A, POD1, B, POD2)), b"", "ARP who has 10.244.2.2? tell 10.244.1.2"),
        ((Ethernet(B, A, 0x0806), Arp(2, A, POD1, B, POD2)), b"", "ARP 10.244.1.2 is at 02:00:00:00:00:01"),
        ((Ethernet(B, A, 0x88CC),), b"x", "Ethernet 02:00:00:00:00:01 → 02:00:00:00:00:02, LLDP"),
        (
            (Ethernet(B, A, 0x8100), Vlan(7, 0x0800), *PING[1:]),
            b"",
            "10.244.1.2 → 10.244.2.2 802.1Q VLAN 7 ICMP echo request, id 7, seq 1",
        ),
        (ipv6(Udp(1, 9), protocol=17), b"x", "[fd00::1]:1 → [fd00::2]:9 UDP"),
        (
            ipv6(Icmp(Family.IPV6, 135), NeighbourMessage(TWO, A), protocol=58),
            b"",
            "fd00::1 → fd00::2 ICMPv6 neighbour solicitation about fd00::2, link-layer address 02:00:00:00:00:01",
        ),
        (
            ipv6(Fragment(17, 185, more_fragments=True, identification=1), protocol=44),
            b"x",
            "fd00::1 → fd00::2 fragment from byte 1480 on, and more follow",
        ),
    ],
)
def test_a_packet_is_told_in_a_line(headers: tuple[Header, ...], payload: bytes, text: str) -> None:
    found = line(seen_of(headers, payload), 12)
    clock, point, direction, rest = found.split("  ", 3)[0], *found[17:].split(None, 2)
    assert (len(clock), point, direction) == (len("09:26:40.123456"), "node1:eth0", "out")
    assert rest == f"{text} ({len(encode(headers, payload))} bytes)"


def test_an_error_tells_what_it_is_about() -> None:
    quoted = encode((IPv4(POD1, POD2, Protocol.UDP, dont_fragment=True, total_length=1500), Udp(40000, 9, length=1480)))
    sight = seen_of((ETHERNET, IPv4(NODE1, POD1, Protocol.ICMP), Icmp(Family.IPV4, 3, 4, 1450)), quoted)
    text = "192.168.0.11 → 10.244.1.2 ICMP unreachable (fragmentation needed), MTU 1450"
    assert f"{text} about 10.244.1.2:40000 → 10.244.2.2:9 UDP (" in line(sight, 0)
    assert "    about this packet:" in list(tree(sight))
    assert document(sight)["about"]


def test_what_is_broken_is_shown_with_its_layer() -> None:
    data = encode(PING)
    assert told(seen(data[:30]).packet).endswith("[malformed L3 IPv4: cut short: 16 of at least 20 bytes]")
    assert list(tree(seen(data[:30])))[2] == "    L3  IPv4      malformed: cut short: 16 of at least 20 bytes"
    assert document(seen(data[:30]))["malformed"] == {
        "layer": "L3",
        "name": "IPv4",
        "problem": "cut short: 16 of at least 20 bytes",
    }


def test_the_tree_names_layers_and_steps_into_tunnels() -> None:
    assert list(tree(seen_of((*VXLAN, *tcp(40000, 80)), b"GET / HTTP/1.1\r\n")))[1:] == [
        "    L2  Ethernet  02:00:00:00:00:01 → 02:00:00:00:00:02, IPv4",
        "    L3  IPv4      192.168.0.11 → 192.168.0.12, UDP, TTL 64, 106 bytes",
        "    L4  UDP       40000 → 8472, 86 bytes",
        "        VXLAN     VNI 1",
        "        L2  Ethernet  02:00:00:00:00:01 → 02:00:00:00:00:02, IPv4",
        "        L3  IPv4      10.244.1.2 → 10.244.2.2, TCP, TTL 64, 56 bytes",
        "        L4  TCP       40000 → 80, [SYN], seq 0, window 65535",
        "        L7  HTTP      GET / HTTP/1.1",
        "            16 bytes of payload",
    ]


def test_a_document_has_every_field() -> None:
    found = json.loads(json.dumps(document(seen_of((*VXLAN, *PING), b"data"))))
    assert found["time"] == "1763890000.123456789"
    assert (found["point"], found["direction"], found["payload"]) == ("node1:eth0", "out", 4)
    vxlan, icmp = found["headers"][3], found["headers"][6]
    assert vxlan == {"layer": None, "name": "VXLAN", "level": 0, "vni": 1, "flags": 8, "group": 0}
    assert (icmp["layer"], icmp["name"], icmp["level"], icmp["type"]) == ("L3", "ICMP", 1, 8)


@given(st.one_of(st.binary(max_size=200), st.builds(encode, frames(), payloads)), st.sampled_from(LinkType))
def test_anything_can_be_shown(data: bytes, link: LinkType) -> None:
    sight = seen(data, link)
    assert line(sight, 10).isprintable()
    assert all(each.isprintable() for each in tree(sight))
    assert json.dumps(document(sight))


def test_extension_headers_are_told_in_the_tree() -> None:
    extension = Extension(Protocol.DESTINATION_OPTIONS, Protocol.UDP, bytes(6))
    lines = list(tree(seen_of(ipv6(extension, Udp(1, 9), protocol=60))))
    assert lines[3] == "    L3  IPv6 option destination options, 8 bytes, then UDP"


def test_a_frame_that_was_not_kept_whole_says_so() -> None:
    sight = seen(encode(PING))
    cut = sight.frame._replace(length=1500)
    shown = list(tree(type(sight)(sight.point, cut, sight.packet)))
    assert shown[0].endswith("1500 bytes, of which 42 are here")
