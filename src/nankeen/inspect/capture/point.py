"""Points of a capture: a device of a node, pod or other member of a lab, or of this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nankeen.inspect.filter import KEYWORDS
from nankeen.inspect.nearest import unknown
from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink import link
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.lab import Lab, LabNode, LabPod
from nankeen.lab.lab import Member
from nankeen.model.address import IPAddress
from nankeen.model.errors import InputError
from nankeen.model.netconf import BackendConfig, NetworkConfig
from nankeen.model.packet import TunnelPorts
from nankeen.model.printable import printable
from nankeen.model.state import Bridge, Link, Vxlan

LOOPBACK = "lo"


@dataclass(frozen=True, slots=True)
class Point:
    """Where packets are captured."""

    name: str
    """As it is shown: node1:eth0, or eth0 for a device of this machine."""
    namespace: Path | None
    """The network namespace; None for the one that this process is in."""
    device: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person named: a member of a lab, a device, or both."""

    word: str
    member: str | None
    """None where the word may be either; "" for this machine."""
    device: str | None

    @classmethod
    def parse(cls, word: str) -> Wish:
        """From `node1`, `node1:eth0`, `eth0` or `:eth0`, which is this machine's."""
        member, colon, device = word.partition(":")
        return cls(word, member, device) if colon else cls(word, None, None)


def split(words: Sequence[str]) -> tuple[list[Wish], str]:
    """The points that are named first, and the filter, which begins with the first word that can begin one."""
    for number, word in enumerate(words):
        if _begins_filter(word):
            return [Wish.parse(each) for each in words[:number]], " ".join(words[number:])
    return [Wish.parse(word) for word in words], ""


def _begins_filter(word: str) -> bool:
    return word.startswith(("(", "!")) or " " in word.strip() or word.strip() in KEYWORDS


def hosts(lab: Lab | None) -> dict[str, tuple[IPAddress, ...]]:
    """The addresses that names stand for in a filter."""
    members: Sequence[Member] = lab.members if lab else ()
    known = {member.name: getattr(member, "addresses", ()) for member in members}
    return {name: tuple(interface.ip for interface in held) for name, held in known.items() if held}


def find(wishes: Sequence[Wish], lab: Lab | None) -> tuple[list[Point], TunnelPorts]:
    """The points that are wished for, each once, and the ports of the tunnels that run there.

    Without wishes, every device of every node and pod, or of this machine. This process must be in the lab (`inside`).
    Raises `InputError` for what is not there.
    """
    places = {member.name: member.namespaces.network for member in lab.members} if lab else {}
    if not wishes:
        everyone: list[LabNode | LabPod] = [*lab.nodes, *lab.pods] if lab else []
        wishes = [Wish.parse(f"{member.name}:") for member in everyone] or [Wish.parse(":")]
    surroundings = _Surroundings(places)
    points = [point for wish in wishes for point in surroundings.points(wish)]
    nodes = [node.name for node in lab.nodes] if lab else [""]
    ports = _tunnel_ports(surroundings.links(node) for node in nodes)
    return list(dict.fromkeys(points)), _with_configured(lab.network, ports) if lab else ports


class _Surroundings:
    """The devices of members and of this machine, each read when it is first asked for."""

    def __init__(self, places: Mapping[str, Path]) -> None:
        self._places = places
        self._links: dict[str, list[Link]] = {}

    def links(self, member: str) -> list[Link]:
        """Of a member, or of this machine where that is ""."""
        if member not in self._links:
            self._links[member] = read_links(self._places.get(member))
        return self._links[member]

    def points(self, wish: Wish) -> list[Point]:
        member, device = wish.member, wish.device
        if member is None:
            member, device = (wish.word, None) if wish.word in self._places else ("", wish.word)
        if member and member not in self._places:
            raise self._unknown(wish, member)
        found = [each for each in self.links(member) if each.name == device or (not device and _is_of_use(each))]
        found.sort(key=_is_bridge)
        if not found:
            raise self._unknown(wish, member)
        place = self._places.get(member)
        return [Point(printable(f"{member}:{each.name}" if member else each.name), place, each.name) for each in found]

    def _unknown(self, wish: Wish, member: str) -> InputError:
        inside = member if member in self._places else ""
        devices = [f"{member}:{each.name}" if wish.member else each.name for each in self.links(inside)]
        return unknown(wish.word, [*self._places, *devices], "node, pod or device", KEYWORDS)


def read_links(namespace: Path | None) -> list[Link]:
    """The devices of a network namespace, this process' own by default. Raises `KernelError`."""
    if namespace is None:
        with NetlinkSocket() as socket:
            return _parsed(socket)
    with Namespace.open(namespace) as opened, NetlinkSocket(opened) as socket:
        return _parsed(socket)


def _parsed(socket: NetlinkSocket) -> list[Link]:
    bodies = [body for kind, body in socket.dump(link.dump()) if kind == link.RTM_NEWLINK]
    names = dict(link.index_and_name(body) for body in bodies)
    return [link.parse(body, names) for body in bodies]


def _is_of_use(found: Link) -> bool:
    """Whether a device is meant where none is named: one that can carry anything to somebody else."""
    return found.up is True and found.name != LOOPBACK


def _is_bridge(found: Link) -> bool:
    """A frame has one time where it comes in by a port and where it comes in by its bridge: the port goes first."""
    return isinstance(found.kind, Bridge)


def _tunnel_ports(links: Iterable[Sequence[Link]]) -> TunnelPorts:
    """What runs on nodes; flannel's own ports where nothing runs."""
    found = frozenset(each.kind.port for held in links for each in held if isinstance(each.kind, Vxlan))
    return TunnelPorts(vxlan=found) if found else TunnelPorts()


def _with_configured(network: str, running: TunnelPorts) -> TunnelPorts:
    """With the UDP ports that a network configuration gives to the udp backend: no device of the kernel's has them."""
    config = NetworkConfig.parse(network)
    found = frozenset(port for each in (config.backend, *config.fallbacks) if (port := _udp_port(each)))
    return TunnelPorts(running.vxlan, found | running.udp)


def _udp_port(config: BackendConfig) -> int:
    return config.fields().integer("Port", 0, 0, 65_535) if config.type == "udp" else 0
