"""The udp backend's data path (`nankeen.tunnel`): a process that reads packets from a TUN device and sends them as the
payload of datagrams, which no header tells apart from others. It is a hop of its own.
"""

from __future__ import annotations

from dataclasses import replace

from nankeen.forwarding.answer import answer
from nankeen.forwarding.hop import Answered, Cause, Consulted, Dropped, End
from nankeen.forwarding.ip import SMALLEST_IPV6_MTU
from nankeen.forwarding.job import Job, Outcome, Stage
from nankeen.forwarding.packet import IcmpKind, Ip, Udp
from nankeen.forwarding.route import Query, lookup
from nankeen.forwarding.tables import Unpredictable
from nankeen.forwarding.wrap import no_tunnel, wrap
from nankeen.model.address import IPAddress
from nankeen.model.state import Link
from nankeen.model.tunnel import TunnelPeer, TunnelSocket

_LARGEST_PACKET = 65_535


def enter(job: Job, link: Link) -> Outcome:
    """A packet at the TUN device: sent, cut where it may be, or answered (`nankeen.tunnel.outbound`). Raises
    `Unpredictable`.
    """
    header = job.packet.ip
    socket = job.tables.datagram_socket(link.name, header.version)
    peers = job.tables.datagram_peers.get((link.name, header.version))
    if socket is None:
        raise Unpredictable(f"what reads from {link.name} is not known")
    peer = peers.longest(header.destination) if peers else None
    if peer is None:
        detail = f"no peer of {link.name} has {header.destination}"
        return _told(job, socket, IcmpKind.NO_ROUTE, Cause.NO_PEER, detail)
    if header.ttl <= 1:
        return _told(job, socket, IcmpKind.TIME_EXCEEDED, Cause.LOOP, f"its time to live ends at {link.name}")
    room = _room(job, socket, peer)
    in_pieces = job.packet.exceeds(room)
    if in_pieces and (header.dont_fragment if header.version == 4 else job.packet.size > SMALLEST_IPV6_MTU):
        mtu = room if header.version == 4 else max(room, SMALLEST_IPV6_MTU)
        detail = f"{job.packet.size} bytes, and the way to {peer.node} takes {room}"
        return _told(job, socket, IcmpKind.TOO_BIG, Cause.TOO_BIG, detail, mtu)
    job.note(Consulted.TUNNEL, peer, job.packet.routed(), link.name)
    ports = Udp(socket.port, peer.port)
    found = wrap(job, link, socket.local, peer.endpoint, (ports,), dont_fragment=not in_pieces)
    job.fragments = in_pieces
    return found


def _room(job: Job, socket: TunnelSocket, peer: TunnelPeer) -> int:
    """Bytes of the largest packet that the underlay takes to the peer, as far as the node's own device tells."""
    decision = lookup(job.tables, peer.endpoint, Query(socket.local))
    device = job.tables.links.get(decision.device) if decision is not None else None
    if device is None or not device.mtu:
        return _LARGEST_PACKET
    return device.mtu - (20 if peer.endpoint.version == 4 else 40) - Udp.size


def _told(job: Job, socket: TunnelSocket, error: IcmpKind, cause: Cause, detail: str, mtu: int = 0) -> End:
    """The process's own error, from the node's inner address."""
    found = answer(job, error, cause, detail, mtu)
    return replace(found, source=socket.address, by_process=True) if isinstance(found, Answered) else found


def leave(job: Job) -> Outcome:
    """A datagram that came to the host: what it carries is written to the device (`nankeen.tunnel.inbound`)."""
    header, ports = job.packet.headers[:2]
    assert isinstance(header, Ip)  # noqa: S101  (the caller has looked)
    assert isinstance(ports, Udp)  # noqa: S101
    for socket in job.tables.state.of(TunnelSocket):
        if socket.port == ports.destination and socket.local == header.destination:
            return _out_of(job, socket, header.source)
    return no_tunnel(job, f"nothing listens on UDP port {ports.destination}")


def _out_of(job: Job, socket: TunnelSocket, sender: IPAddress) -> Outcome:
    inner = job.packet.without(2)
    why = _not_admitted(job, socket, sender, inner.ip)
    if why:
        return Dropped(job.host.name, socket.device, Cause.NO_PEER, f"{socket.device} does not let it in: {why}")
    link = job.tables.links.get(socket.device)
    if link is None or not link.up:
        return Dropped(job.host.name, socket.device, Cause.NO_LINK if link is None else Cause.LINK_DOWN)
    job.note(Consulted.TUNNEL, socket, inner, socket.device)
    job.track = None
    return job.at(Stage.RECEIVE, socket.device)


def _not_admitted(job: Job, socket: TunnelSocket, sender: IPAddress, header: Ip) -> str:
    """Why a packet of that sender is not let in; "" where it is (`nankeen.tunnel.table`)."""
    peers = job.tables.datagram_peers.get((socket.device, sender.version))
    known = [peer for peer in job.tables.state.of(TunnelPeer) if peer.endpoint == sender]
    if peers is None or not known:
        return f"{sender} is no peer"
    if peers.longest(header.destination) is not None:
        return "it is for another node"
    if header.source in socket.subnet or header.source == socket.local:
        return f"its source {header.source} is of this node"
    owner = peers.longest(header.source)
    return "" if owner is None or owner.endpoint == sender else f"its source {header.source} is of another node"
