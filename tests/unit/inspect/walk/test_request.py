"""From the words of a request to the packet that is asked about."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from nankeen.forwarding.packet import Icmp, IcmpKind, Ip, Sctp, Tcp, Udp
from nankeen.inspect.walk.journey import Question
from nankeen.inspect.walk.request import Protocol, Request, question
from nankeen.model.address import Family
from nankeen.model.errors import InputError
from tests.unit.inspect.walk.paper import surroundings


def asked(source: str = "pod1", destination: str = "pod2", **more: object) -> Question:
    return question(Request(source, destination, **more), surroundings())  # type: ignore[arg-type]


def test_names_stand_for_their_addresses() -> None:
    found = asked()
    assert (found.source, found.destination) == ("pod1", "pod2")
    assert found.packet.headers == (
        Ip(ip_address("10.244.1.5"), ip_address("10.244.2.5"), 64, dont_fragment=True),
        Icmp(IcmpKind.ECHO_REQUEST, 1),
    )
    assert found.packet.size == 84


def test_an_address_is_sent_from_by_the_host_that_has_it() -> None:
    assert asked("10.244.1.5", "192.168.0.12").source == "pod1"
    assert asked("192.168.0.11", "10.244.2.5").source == "node1"


def test_the_family_is_that_of_an_address_or_the_one_that_is_asked_for() -> None:
    found = question(Request("pod1", "fd44:0:0:2::5"), surroundings(6))
    assert found.packet.ip.version == 6
    with pytest.raises(InputError, match="no addresses of one family"):
        asked("pod1", "fd44:0:0:2::5")
    with pytest.raises(InputError, match="no addresses of one family"):
        asked(family=Family.IPV6)


@pytest.mark.parametrize("word, more, carried", [
    ("pod2", {"protocol": Protocol.TCP}, Tcp(40000, 80)),
    ("pod2", {"protocol": Protocol.UDP, "port": 53, "source_port": 1000}, Udp(1000, 53)),
    ("pod2", {"protocol": Protocol.SCTP}, Sctp(40000, 80)),
    ("pod2", {"port": 8080}, Tcp(40000, 8080)),
    ("192.168.0.12:8080", {}, Tcp(40000, 8080)),
    ("192.168.0.12:8080", {"protocol": Protocol.UDP}, Udp(40000, 8080)),
    ("pod2:8080", {}, Tcp(40000, 8080)),
])  # fmt: skip
def test_a_port_asks_for_a_protocol_that_has_ports(word: str, more: dict[str, object], carried: object) -> None:
    assert asked("pod1", word, **more).packet.headers[1] == carried


def test_an_ipv6_address_with_a_port_stands_in_brackets() -> None:
    found = question(Request("pod1", "[fd44:0:0:2::5]:8080"), surroundings(6))
    assert (str(found.packet.ip.destination), found.packet.headers[1]) == ("fd44:0:0:2::5", Tcp(40000, 8080))
    assert question(Request("pod1", "[fd44:0:0:2::5]"), surroundings(6)).packet.headers[1:] == (
        Icmp(IcmpKind.ECHO_REQUEST, 1),
    )


@pytest.mark.parametrize("protocol", list(Protocol))
def test_the_size_is_that_of_the_whole_packet(protocol: Protocol) -> None:
    assert asked(protocol=protocol, size=1450).packet.size == 1450


@pytest.mark.parametrize("more, problem", [
    ({"source": "pod9"}, "there is no such node, pod or address"),
    ({"destination": "nod2"}, "did you mean node2"),
    ({"destination": "10.244.2.5:0"}, "is no port"),
    ({"destination": "10.244.2.5:http"}, "is no port"),
    ({"destination": "10.244.2.5:65536"}, "is no port"),
    ({"destination": "10.244.2.5:0000065536"}, "is no port"),
    ({"destination": "10.244.2.5:" + "0" * 5000 + "1"}, "is no port"),
    ({"destination": "[fd00::1"}, "is no address with a port"),
    ({"destination": "[fd00::1]8080"}, "is no address with a port"),
    ({"destination": "10.244.2.5:\x1b"}, "10.244.2.5:\\x1b"),
    ({"destination": ""}, "there is no such"),
    ({"destination": "pod\x1b[2J"}, "pod\\x1b"),
    ({"source": "10.244.1.99"}, "not one host has this address"),
    ({"destination": "10.244.2.5:80", "port": 81}, "two ports are asked for"),
    ({"protocol": Protocol.ICMP, "port": 80}, "ICMP has no ports"),
    ({"size": 27}, "its headers alone have 28"),
    ({"size": 65536}, "ask for 28 to 65535"),
])  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_words(more: dict[str, object], problem: str) -> None:
    with pytest.raises(InputError) as found:
        asked(**more)  # type: ignore[arg-type]
    assert problem in str(found.value)


def test_a_node_sends_from_the_address_that_its_kernel_chooses() -> None:
    assert asked("node1", "pod2").packet.ip.source == ip_address("10.244.1.0")
    assert asked("node1", "node2").packet.ip.source == ip_address("192.168.0.11")
    assert asked("192.168.0.11", "pod2").packet.ip.source == ip_address("192.168.0.11")
    assert asked("node1", "198.51.100.7").packet.ip.source == ip_address("192.168.0.11")


@pytest.mark.parametrize("protocol", list(Protocol))
def test_what_was_left_open_is_drawn_and_what_was_asked_for_stays(protocol: Protocol) -> None:
    def source(header: object) -> object:
        return header.identifier if isinstance(header, Icmp) else getattr(header, "source", None)

    assert Request("pod1", "pod2").with_drawn().drawn in range(61000, 65536)
    assert source(asked(protocol=protocol, drawn=61234).packet.headers[1]) == 61234
    if protocol is not Protocol.ICMP:
        assert source(asked(protocol=protocol, drawn=61234, source_port=5).packet.headers[1]) == 5
