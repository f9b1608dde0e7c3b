"""The law of host ports: whatever was asked, and done by others, each packet has the one way that was promised."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface, ip_address
from itertools import product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nankeen.cni.error import CniError, Code
from nankeen.cni.request import Attachment
from nankeen.kernel.hostports import _standing
from nankeen.kernel.netlink.netfilter import NetfilterSocket
from nankeen.kernel.program import find
from nankeen.model.address import IPAddress
from nankeen.model.hostport import HostPort, PortMapping, Transport
from nankeen.pods.hostports import HostPorts
from nankeen.pods.portstore import PodPorts
from tests.kernel.conftest import Net

pytestmark = pytest.mark.skipif(find("nft") is None, reason="the program nft is not installed")

NODE = [ip_address(text) for text in ("127.0.0.1", "192.0.2.1", "192.0.2.2", "fd50::1", "fd50::2")]
ANYWHERE = [None, ip_address("0.0.0.0"), ip_address("::")]  # noqa: S104
Packet = tuple[Transport, int, IPAddress]
PACKETS = list(product((Transport.TCP, Transport.UDP), (80, 81), NODE))

mappings = st.builds(
    PortMapping, st.sampled_from([Transport.TCP, Transport.UDP]), st.integers(80, 81), st.integers(1, 9),
    st.sampled_from([*ANYWHERE, *NODE]),
)  # fmt: skip
steps: st.SearchStrategy[tuple[str, int, list[PortMapping]]] = st.one_of(
    st.tuples(st.just("map"), st.integers(2, 5), st.lists(mappings, max_size=3)),
    st.tuples(st.just("unmap"), st.integers(2, 5), st.just([])),
    st.tuples(st.sampled_from(["restart", "damage", "flush", "collect"]), st.just(0), st.just([])),
)


def is_meant(mapping: PortMapping, packet: Packet) -> bool:
    protocol, port, to = packet
    place = mapping.host_address
    anywhere = place is None or (place.is_unspecified and place.version == to.version)
    return (mapping.protocol, mapping.host_port) == (protocol, port) and (anywhere or place == to)


def pod(number: int, asked: list[PortMapping]) -> PodPorts:
    addresses = IPv4Interface(f"10.5.34.{number}/24"), IPv6Interface(f"fc00::{number}/64")
    return PodPorts("cbr0", Attachment(f"c{number}", "eth0"), addresses, tuple(asked))


def ways(pods: dict[int, list[PortMapping]], packet: Packet) -> set[tuple[IPAddress, int]]:
    """Where a packet may go, by what was promised."""
    return {
        (ip_address(f"10.5.34.{number}" if packet[2].version == 4 else f"fc00::{number}"), mapping.container_port)
        for number, asked in pods.items()
        for mapping in asked
        if is_meant(mapping, packet)
    }


def way(socket: NetfilterSocket, packet: Packet) -> set[bytes]:
    """Where the kernel sends it, as it stands in the map: by address and port first."""
    protocol, port, to = packet
    standing = _standing(socket)
    for address in (to, None):
        wanted = HostPort(protocol, port, to, 0, address)  # of the packet's family
        if wanted.key in standing[wanted.map]:
            return {standing[wanted.map][wanted.key]}
    return set()


@dataclass
class Scene:
    """The host ports of a node, and what was promised."""

    net: Net
    directory: Path
    ports: HostPorts = field(init=False)
    pods: dict[int, list[PortMapping]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ports = HostPorts(self.directory)

    def restart(self) -> None:
        self.ports.close()
        self.ports = HostPorts(self.directory)
        self.ports.converge()

    def ask(self, number: int, asked: list[PortMapping]) -> None:
        """A pod asks for ports: they are its own from now on, or another's, and then all stays as it was."""
        others = {other: standing for other, standing in self.pods.items() if other != number}
        taken = any(ways(others, packet) and is_meant(mapping, packet) for packet in PACKETS for mapping in asked)
        try:
            self.ports.map(pod(number, asked))
        except CniError as error:
            assert (error.code, taken) == (Code.PORT_TAKEN, True)  # noqa: PT017  (it need not be raised)
        else:
            assert not taken
            self.pods[number] = asked

    def take(self, step: str, number: int, asked: list[PortMapping]) -> None:
        match step:
            case "map":
                self.ask(number, asked)
            case "unmap":
                self.ports.unmap("cbr0", Attachment(f"c{number}", "eth0"))
                self.pods.pop(number, None)
            case "collect":
                self.ports.collect("cbr0", frozenset({Attachment("c2", "eth0"), Attachment("c3", "eth0")}))
                self.pods = {each: standing for each, standing in self.pods.items() if each < 4}
            case "flush":
                self.net.run("nft flush ruleset")
                self.ports.converge()
            case "damage" if self.ports._table.is_there():
                self.net.run("nft flush map inet nankeen-ports any4")
                self.net.run("nft flush map inet nankeen-ports any6")
                self.net.run("nft add element inet nankeen-ports any6 { tcp . 80 : fc00::9 . 9 }")
                self.ports.converge()
            case _:
                self.restart()


@contextmanager
def scene(net: Net) -> Iterator[Scene]:
    with tempfile.TemporaryDirectory() as directory:
        found = Scene(net, Path(directory))
        yield found
        found.ports.close()
    net.run("nft flush ruleset")


def consistent(asked: list[PortMapping]) -> list[PortMapping]:
    """Without those that exclude each other within one request, which are refused at the door."""
    found: list[PortMapping] = []
    for mapping in asked:
        if not any(map(mapping.collides, found)):
            found.append(mapping)
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, min_size=1, max_size=8))
def test_each_packet_goes_where_it_was_promised(node: Net, taken: list[tuple[str, int, list[PortMapping]]]) -> None:
    with scene(node) as found, closing(NetfilterSocket()) as socket:
        for step, number, asked in taken:
            found.take(step, number, consistent(asked))
            for packet in PACKETS:
                promised = ways(found.pods, packet)
                assert len(promised) <= 1
                data = {HostPort(packet[0], 1, target, port).data for target, port in promised}
                assert way(socket, packet) == data, (step, packet)
