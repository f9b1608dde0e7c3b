"""A walk in words: for each hop who decided, the command that shows it, the line itself, and what became of the packet.

pod1   ip route     default via 10.244.1.1 dev eth0
node1  ip route     10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink
node1  bridge fdb   02:42:0a:00:00:02 dev flannel.1 dst 192.168.0.12 self permanent
node1  ip -d link   flannel.1: vxlan id 1 local 192.168.0.11 …
packet: IPv4 192.168.0.11 → 192.168.0.12 ttl 64 | UDP … | VXLAN 1 | Ethernet … | IPv4 …
"""

from __future__ import annotations

from collections.abc import Iterator

from nankeen.forwarding.hop import Consulted, Hop, Walk
from nankeen.forwarding.packet import Packet


def told(walked: Walk) -> tuple[str, ...]:
    """The lines of the walk, its end last. Columns are as wide as they must be."""
    hosts = max([len(hop.host) for hop in walked.hops], default=0)
    commands = max([len(_command(hop)) for hop in walked.hops], default=0)
    indent = " " * (hosts + commands + 4)
    lines: list[str] = []
    for hop in walked.hops:
        lines.append(f"{hop.host:{hosts}}  {_command(hop):{commands}}  {hop.line}")
        lines += [f"{indent}packet: {_shown(hop.after)}" for _ in _changes(hop)]
    return (*lines, str(walked.end))


def _command(hop: Hop) -> str:
    """The command, for the version of IP that the packet has at the hop."""
    command = hop.consulted.command
    routing = hop.consulted in (Consulted.ROUTE, Consulted.LOCAL, Consulted.RULE)
    return command.replace("ip ", "ip -6 ", 1) if routing and hop.after.ip.version == 6 else command


def _changes(hop: Hop) -> Iterator[None]:
    """Once where the packet that leaves the hop is another than came, besides its time to live."""
    if hop.consulted is not Consulted.ROUTE and hop.before != hop.after:
        yield None


def _shown(packet: Packet) -> str:
    return str(packet)
