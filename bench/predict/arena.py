"""The labs that packets are sent in: topologies, backends and families, with their agents stopped once they stand."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from bench.cluster import need_root
from bench.predict.packets import PORT
from bench.process import NK, run
from nankeen.forwarding import Host, World
from nankeen.kernel import sysctl
from nankeen.kernel.namespace import Namespace, entered
from nankeen.kernel.world import survey
from nankeen.lab import Lab, find_lab
from nankeen.lab.lab import Member
from nankeen.model.state import State
from nankeen.tunnel.client import told_now

_number = count(1)
_VXLAN, _DIRECT = {"Type": "vxlan"}, {"Type": "vxlan", "DirectRouting": True}
_RETRANSMIT_MS = "60"
"""Between questions of neighbours: nobody waits a second for each of three that nobody answers."""
_QUIET = {
    "net/ipv4/icmp_ratemask": "0", "net/ipv6/icmp/ratelimit": "0", "net/ipv4/icmp_echo_ignore_broadcasts": "1",
}  # fmt: skip
"""Errors are not rationed: every one is looked for."""
_PUBLISHED = (f"--publish={PORT}:{PORT}/udp", f"--publish={PORT}:{PORT + 1}")
"""All datagrams and segments that are sent to the node, for its pod."""
_TUNNEL = "run/nankeen/tunnel.sock"
"""Where a node's data path is asked."""
_PATIENCE = 2.0
"""Seconds for its answer."""
_NEIGHBOURS = {
    "net/ipv4/neigh/{}/retrans_time_ms": _RETRANSMIT_MS,
    "net/ipv6/neigh/{}/retrans_time_ms": _RETRANSMIT_MS,
    "net/ipv6/neigh/{}/proxy_delay": "0",
}
"""By device. Who answers for an anycast address waits a random time otherwise (RFC 4861 §7.2.7)."""


@dataclass(frozen=True, slots=True)
class Arena:
    """What to build."""

    topology: str
    backend: Mapping[str, Any]
    families: tuple[int, ...] = (4, 6)
    nodes: int = 3
    mtu: int | None = None
    """Of the cable between the last switch and the router, in bytes."""
    publishes: bool = False
    """Whether a pod on node1 is reached by ports of that node."""

    @property
    def name(self) -> str:
        backend = self.backend["Type"] + ("+DirectRouting" if self.backend.get("DirectRouting") else "")
        families = "+".join(f"IPv{version}" for version in self.families)
        return f"{self.topology}/{backend}/{families}{'/host-ports' if self.publishes else ''}"

    def document(self) -> dict[str, Any]:
        """The lab's file."""
        switches = ("sw1",) if self.topology == "one-switch" else ("sw1", "sw2")
        nodes = [f"node{number}" for number in range(1, self.nodes + 1)]
        members: dict[str, Any] = {name: {"kind": "switch"} for name in switches}
        members |= {"r1": {"kind": "router"}} | {name: {"kind": "node"} for name in nodes}
        members |= {f"pod{number}": {"kind": "pod", "node": name} for number, name in enumerate([*nodes, nodes[0]], 1)}
        cables = [(name, switches[place % len(switches)], f"port{place + 1}") for place, name in enumerate(nodes)]
        links: list[dict[str, Any]] = [{"endpoints": [f"{node}:eth0", f"{on}:{port}"]} for node, on, port in cables]
        links += [{"endpoints": [f"r1:eth{at}", f"{on}:up{at}"]} for at, on in enumerate(switches)]
        links[-1] |= {"mtu": self.mtu} if self.mtu else {}
        network: dict[str, Any] = {"EnableIPv4": 4 in self.families, "EnableIPv6": 6 in self.families}
        network |= {"Network": "10.244.0.0/16"} if 4 in self.families else {}
        network |= {"IPv6Network": "fd00:10:244::/48"} if 6 in self.families else {}
        return {"topology": {"nodes": members, "links": links}, "network": {**network, "Backend": dict(self.backend)}}


ARENAS = (
    Arena("one-switch", _VXLAN),
    Arena("one-switch", {"Type": "host-gw"}),
    Arena("one-switch", {"Type": "udp"}),
    Arena("two-switches", _VXLAN),
    Arena("two-switches", _DIRECT),
    Arena("two-switches", {"Type": "udp"}, mtu=1400),
    Arena("one-switch", _VXLAN, (4,), nodes=5),
    Arena("two-switches", _DIRECT, (6,), mtu=1400),
    Arena("one-switch", _VXLAN, publishes=True),
    Arena("two-switches", {"Type": "udp"}, publishes=True),
)


class Ring:
    """A lab that stands, and its namespaces held open."""

    def __init__(self, arena: Arena, lab: Lab, namespaces: Mapping[str, Namespace]) -> None:
        self.arena = arena
        self.lab = lab
        self.namespaces = namespaces

    def world(self) -> World:
        """As it is now, the tables of data paths included, which no kernel has. Raises `KernelError`."""
        world = survey(self.namespaces)
        for node in self.lab.nodes if self.arena.backend["Type"] == "udp" else ():
            told = told_now(node.directory / _TUNNEL, _PATIENCE)
            host = world.hosts[node.name]
            if told is not None and host.state is not None:
                state = host.state | State([*told.sockets, *told.peers])
                world = world.with_host(Host(host.name, state, host.ruleset))
        return world

    def run(self, host: str, command: str) -> None:
        """A command on a host; `nft` takes its text after ` <<< `. Raises `NankeenError` where it fails."""
        words, _, text = command.partition(" <<< ")
        run(("ip", "netns", "exec", self._member(host).namespaces.network.name, *words.split()), given=text)

    def forget(self) -> None:
        """Lets all hosts forget what they learned of neighbours and paths."""
        for host in self.namespaces:
            for words in ("neigh flush all", "-4 route flush cache", "-6 route flush cache"):
                self.run(host, f"ip {words}")

    def hurry(self, host: str) -> None:
        """Devices of a host that were made since ask their neighbours in quick succession, too."""
        with entered(self.namespaces[host]):
            for pattern, value in _NEIGHBOURS.items():
                for device in Path("/proc/sys/", pattern.partition("{}")[0]).iterdir():
                    sysctl.write(pattern.format(device.name), value)
            for path, value in _QUIET.items():
                if sysctl.read(path) is not None:
                    sysctl.write(path, value)

    def _member(self, host: str) -> Member:
        return self.lab.member(host)


@contextmanager
def ring(arena: Arena) -> Iterator[Ring]:
    """The arena, built. Raises `NankeenError`."""
    need_root()
    name = f"g{os.getpid()}-{next(_number)}"
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        file = Path(directory) / "lab.yaml"
        file.write_text(yaml.safe_dump(arena.document()))
        run((NK, "lab", "up", str(file), "--name", name))
        stack.callback(run, (NK, "lab", "down", "--name", name))
        if arena.publishes:
            run((NK, "lab", "pod", "add", "--name", name, "--node", "node1", *_PUBLISHED))
        lab = find_lab(name)
        opened = {member.name: stack.enter_context(Namespace.open(member.namespaces.network)) for member in lab.members}
        _stop_agents(lab)
        made = Ring(arena, lab, opened)
        for host in opened:
            made.hurry(host)
        yield made


def _stop_agents(lab: Lab) -> None:
    """They would repair what is damaged. Who carries packets goes on."""
    homes = {node.namespaces.network.stat().st_ino for node in lab.nodes}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _is_agent(entry, homes):
            os.kill(int(entry.name), signal.SIGSTOP)


def _is_agent(process: Path, homes: set[int]) -> bool:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
        return b"agent" in words and (process / "ns/net").stat().st_ino in homes
    except OSError:
        return False  # it has ended since
