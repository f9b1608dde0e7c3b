"""Two nodes on a LAN that is also a host, three pods, both families; a packet is predicted, sent, and looked for.

pod1 ─┐                                            ┌─ pod2
      cni0 node1 eth0 ── br0 lan ── eth0 node2 cni0
pod3 ─┘
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address

import pytest

from nankeen.forwarding import Delivered, Packet, Unknown, Walk, World, walk
from nankeen.forwarding.packet import Ip, Udp
from nankeen.kernel import namespace as namespaces
from nankeen.kernel.namespace import Namespace, entered
from nankeen.kernel.syscalls import CAP_NET_ADMIN, CAP_SYS_ADMIN, has_capability
from nankeen.kernel.world import survey
from nankeen.model.address import Family, IPAddress

HOSTS = ("node1", "node2", "pod1", "pod2", "pod3", "lan")
PORT = 5555
_QUIET = 0.03
"""Seconds without a packet after which those that are lost are taken for lost."""
_PATIENCE = 5.0
_PROBE, _DONT = 3, 0
_MTU_DISCOVER = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}
_REFUSED = {
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.EPERM,
    errno.EACCES,
    errno.EMSGSIZE,
    errno.EINVAL,
    errno.ENONET,
}


def underlay(number: int, family: Family) -> str:
    return f"192.168.50.{number}" if family is Family.IPV4 else f"fd50::{number}"


def inside(node: int, host: int, family: Family) -> str:
    """An address of a node's pod subnet: 0 is the VTEP's, 1 the gateway's."""
    return f"10.244.{node}.{host}" if family is Family.IPV4 else f"fd44:0:0:{node}::{host or ''}"


def subnet(node: int, family: Family) -> str:
    return f"10.244.{node}.0/24" if family is Family.IPV4 else f"fd44:0:0:{node}::/64"


PODS = {"pod1": (1, 5), "pod2": (2, 5), "pod3": (1, 7)}


@dataclass(frozen=True)
class Sent:
    """A datagram: who sends it, where to, and how long its payload is."""

    host: str
    to: str
    payload: int = 100
    dont_fragment: bool = False
    ttl: int = 64

    def packet(self) -> Packet:
        to = ip_address(self.to)
        nobody: IPAddress = ip_address("0.0.0.0" if to.version == 4 else "::")  # noqa: S104  (the host chooses)
        header = Ip(nobody, to, self.ttl, dont_fragment=self.dont_fragment)
        return Packet((header, Udp(40000, PORT)), self.payload)

    def __str__(self) -> str:
        return f"{self.host} → {self.to} {self.payload} bytes{' DF' if self.dont_fragment else ''} ttl {self.ttl}"


@dataclass
class Scene:
    """The namespaces, and a socket in each that hears what comes to it."""

    prefix: str
    nets: dict[str, Namespace] = field(default_factory=dict)
    ears: dict[str, list[socket.socket]] = field(default_factory=dict)
    mouths: dict[tuple[str, int, bool], socket.socket] = field(default_factory=dict)
    number: int = 0

    def run(self, host: str, *commands: str) -> None:
        """Commands of ip, and of whatever else begins otherwise than with its objects; each must succeed."""
        batch = [command for command in commands if command.split()[0] in _IP_OBJECTS]
        commands = tuple(f"ip {command}" if command.startswith("-6") else command for command in commands)
        if batch:
            self._execute(host, ["ip", "-batch", "-"], "\n".join(batch))
        for command in commands:
            if command not in batch:
                words = command.split()
                text = command.partition(" <<< ")[2]
                self._execute(host, words[: words.index("<<<")] if text else words, text)

    def _execute(self, host: str, words: Sequence[str], text: str = "") -> None:
        done = subprocess.run(
            ["ip", "netns", "exec", self.prefix + host, *words], input=text, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{host}: {words} {text}: {done.stderr}"

    def forget(self) -> None:
        """Lets all hosts forget what they learned of neighbours and paths."""
        for host in self.nets:
            self._execute(host, ["sh", "-c", "ip neigh flush all; ip -4 route flush cache; ip -6 route flush cache"])

    def survey(self) -> World:
        return survey(self.nets)

    def send(self, packets: Sequence[Sent], awaited: Iterable[int]) -> dict[int, str]:
        """Sends all, and says which arrived where: by the place in the list. Waits for those that are awaited.

        Each time from other ports: connection tracking knows none of the flows.
        """
        self.number += 1
        while self.mouths:
            self.mouths.popitem()[1].close()
        for place, packet in enumerate(packets):
            self._send(packet, struct.pack("!II", self.number, place))
        missing, arrived = set(awaited), {}
        ears = {ear: host for host, found in self.ears.items() for ear in found}
        while ready := select.select(list(ears), [], [], _PATIENCE if missing else _QUIET)[0]:
            for ear in ready:
                number, place = struct.unpack_from("!II", ear.recv(65536))
                if number == self.number:
                    arrived[place] = ears[ear]
                    missing.discard(place)
        return arrived

    def _send(self, packet: Sent, mark: bytes) -> None:
        version = ip_address(packet.to).version
        made = self._mouth(packet.host, version, dont_fragment=packet.dont_fragment)
        option = (socket.IPPROTO_IP, socket.IP_TTL) if version == 4 else (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)
        made.setsockopt(*option, packet.ttl)
        try:
            made.sendto(mark.ljust(packet.payload, b"."), (packet.to, PORT))
        except OSError as error:
            if error.errno not in _REFUSED:
                raise

    def _mouth(self, host: str, version: int, *, dont_fragment: bool) -> socket.socket:
        key = (host, version, dont_fragment)
        if key not in self.mouths:
            made = self._socket(host, version)
            made.setsockopt(*_MTU_DISCOVER[version], _PROBE if dont_fragment else _DONT)
            self.mouths[key] = made
        return self.mouths[key]

    def listen(self) -> None:
        for host in self.nets:
            for version in (4, 6):
                made = self._socket(host, version)
                made.bind(("", PORT))
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
                self.ears.setdefault(host, []).append(made)

    def _socket(self, host: str, version: int) -> socket.socket:
        with entered(self.nets[host]):
            made = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        if version == 6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return made

    def close(self) -> None:
        for made in [*self.mouths.values(), *(ear for found in self.ears.values() for ear in found)]:
            made.close()
        for host, namespace in self.nets.items():
            namespace.close()
            namespaces.remove(self.prefix + host)


_IP_OBJECTS = {"link", "address", "route", "rule", "neigh"}


@contextmanager
def scene(backend: str) -> Iterator[Scene]:
    """Of nodes whose pods reach each other by `vxlan` or `host-gw`."""
    if not (has_capability(CAP_SYS_ADMIN) and has_capability(CAP_NET_ADMIN)):
        pytest.skip("needs root: network namespaces are made")
    made = Scene(f"nk-fw-{os.getpid()}-{backend}-")
    try:
        for host in HOSTS:
            made.nets[host] = Namespace.open(namespaces.create(made.prefix + host))
        _build(made, backend)
        made.listen()
        yield made
    finally:
        made.close()


def _build(made: Scene, backend: str) -> None:
    made.run(
        "lan",
        *("link set lo up", "link add br0 type bridge", "link set br0 up"),
        *_addresses("br0", partial(underlay, 9)),
    )
    for number in (1, 2):
        _build_node(made, number)
    for pod, (number, host) in PODS.items():
        _build_pod(made, pod, number, host)
    for number in (1, 2):
        made.run(f"node{number}", *(command for family in Family for command in peer(backend, number, family)))


def _build_node(made: Scene, number: int) -> None:
    node = f"node{number}"
    made.run(
        "lan",
        f"link add to{number} type veth peer name eth0 netns {made.prefix}{node}",
        f"link set to{number} master br0 up",
    )
    made.run(
        node,
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
        *("link set lo up", "link set eth0 up", "link add cni0 type bridge", "link set cni0 up"),
        *_addresses("eth0", partial(underlay, number)),
        *_addresses("cni0", partial(inside, number, 1)),
    )


def _build_pod(made: Scene, pod: str, number: int, host: int) -> None:
    made.run(
        f"node{number}",
        f"link add {pod} type veth peer name eth0 netns {made.prefix}{pod}",
        f"link set {pod} master cni0 up",
    )
    made.run(
        pod,
        *("link set lo up", "link set eth0 up"),
        *_addresses("eth0", partial(inside, number, host)),
        *(f"route add default via {inside(number, 1, family)}" for family in Family),
    )


def peer(backend: str, number: int, family: Family) -> list[str]:
    """What makes the other node's pods reachable from this node."""
    other = 3 - number
    if backend == "host-gw":
        return [f"route add {subnet(other, family)} via {underlay(other, family)} dev eth0"]
    device = device_of(family)
    return [
        f"link add {device} type vxlan id 1 dev eth0 local {underlay(number, family)} dstport 8472 nolearning",
        f"link set {device} address {vtep(number, family)}",
        f"address add {inside(number, 0, family)} dev {device} {at_once(family)}",
        f"link set {device} up",
        f"route add {subnet(other, family)} via {inside(other, 0, family)} dev {device} onlink",
        f"neigh add {inside(other, 0, family)} lladdr {vtep(other, family)} dev {device} nud permanent",
        f"bridge fdb append {vtep(other, family)} dev {device} dst {underlay(other, family)} self permanent",
    ]


def device_of(family: Family) -> str:
    return "flannel.1" if family is Family.IPV4 else "flannel-v6.1"


def vtep(number: int, family: Family) -> str:
    return f"02:00:00:00:{family.value:02x}:{number:02x}"


def length_of(family: Family) -> int:
    return 24 if family is Family.IPV4 else 64


def _addresses(device: str, of: Callable[[Family], str]) -> list[str]:
    """Commands that give a device an address of each family."""
    return [f"address add {of(family)}/{length_of(family)} dev {device} {at_once(family)}" for family in Family]


def at_once(family: Family) -> str:
    """No time to look whether others have the address: the host would change by itself when it has looked."""
    return "nodad" if family is Family.IPV6 else ""


def mismatches(made: Scene, packets: Sequence[Sent]) -> tuple[list[str], Mapping[int, Walk]]:
    """Where reality is not as it was predicted, in words; and the predictions, by place.

    A packet teaches hosts who their neighbours are, and with that changes what becomes of the next: one that was not
    predicted well is sent again, alone.
    """
    world = made.survey()
    walks = {place: walk(world, packet.packet(), packet.host) for place, packet in enumerate(packets)}
    expected = {place: found.end.host for place, found in walks.items() if isinstance(found.end, Delivered)}
    arrived = made.send(packets, expected)
    wrong = []
    for place, found in walks.items():
        if isinstance(found.end, Unknown) or arrived.get(place) == expected.get(place):
            continue
        told = f"{packets[place]}: predicted {found.end}; in truth {arrived.get(place, 'lost')}"
        wrong += [told] if len(packets) == 1 else alone(made, packets[place])
    return wrong, walks


def alone(made: Scene, packet: Sent) -> list[str]:
    """What is wrong with the prediction of one packet, when no other has changed what hosts know of each other."""
    made.forget()
    wrong, _ = mismatches(made, [packet])
    return wrong
