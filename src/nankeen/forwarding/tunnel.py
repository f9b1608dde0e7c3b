"""Tunnels: what wraps a packet into another, and who unwraps it at the far end.

vxlan_xmit and vxlan_rcv of drivers/net/vxlan (RFC 7348), ipip_tunnel_xmit and ip_tunnel_lookup of net/ipv4 (RFC 2003),
wg_xmit and wg_packet_consume_data_done of drivers/net/wireguard, and the udp backend's data path.
"""

from __future__ import annotations

from dataclasses import replace

from nankeen.forwarding.hop import Answered, Cause, Consulted, Delivered, Direction, Dropped, End
from nankeen.forwarding.ip import SMALLEST_IPV6_MTU, answer
from nankeen.forwarding.job import Job, Outcome, Run, Stage
from nankeen.forwarding.packet import (
    Ethernet,
    Header,
    IcmpKind,
    Ip,
    Packet,
    Udp,
    VxlanHeader,
    WireguardHeader,
)
from nankeen.forwarding.prefixes import Prefixes
from nankeen.forwarding.route import Query, lookup, source_for
from nankeen.forwarding.tables import Unpredictable
from nankeen.model.address import HardwareAddress, IPAddress
from nankeen.model.observed import BridgeEntry, LinkFacts
from nankeen.model.state import ForwardingEntry, Ipip, Link, Tun, Vxlan
from nankeen.model.tunnel import TunnelPeer, TunnelSocket
from nankeen.model.wireguard import WireguardPeer

_ANYBODY = HardwareAddress(bytes(6))
"""Whose entry counts for addresses that have none (all_zeros_mac in drivers/net/vxlan)."""
_NESTED = 24
"""Headers of one packet: a tunnel that leads into itself has no end."""
_ANY_PORT = 0
"""The source port is drawn from the inner packet (RFC 7348 §5): which one it is changes nothing."""
_WIREGUARD_BLOCK = 16
LARGEST_PACKET = 65_535
_NO_FACTS = LinkFacts("")


def enter(job: Job, link: Link) -> Outcome:
    """An IP packet at a tunnel's device that has no hardware addresses."""
    match link.kind:
        case Ipip():
            return _enter_ipip(job, link, link.kind)
        case Tun():
            return _enter_datagrams(job, link)
    return _enter_wireguard(job, link)


def enter_vxlan(run: Run, job: Job, link: Link, vxlan: Vxlan) -> Outcome:
    """A frame at a VXLAN device: one packet for each destination that the forwarding table has for it."""
    facts = job.tables.facts.get(link.name, _NO_FACTS)
    if facts.other:
        raise Unpredictable(f"the device does what is not understood: {facts}")
    header = job.packet.headers[0]
    assert isinstance(header, Ethernet)  # noqa: S101  (only frames come here)
    entries = _destinations(run, job, link, header.destination)
    if not entries:
        detail = f"no forwarding entry of {link.name} for {header.destination}"
        return Dropped(job.host.name, link.name, Cause.NO_FORWARDING_ENTRY, detail)
    outcomes = [_encapsulate(job.copy(Stage.OUTPUT, job.host, link.name), link, vxlan, entry) for entry in entries]
    jobs = [found for found in outcomes if isinstance(found, Job)]
    for found in jobs:
        found.mark = job.mark
    return jobs or next(found for found in outcomes if not isinstance(found, Job))


def _destinations(run: Run, job: Job, link: Link, to: HardwareAddress) -> list[ForwardingEntry | BridgeEntry]:
    """What the table has for an address, then what this walk's frames taught, then what it has for anybody."""
    table, learned = job.tables.forwarding, run.vteps.get((job.host.name, link.name, to))
    if (link.name, to) not in table and learned is not None:
        return [BridgeEntry(link.name, to, destination=learned)]
    return table.get((link.name, to)) or table.get((link.name, _ANYBODY)) or []


def _encapsulate(job: Job, link: Link, vxlan: Vxlan, entry: ForwardingEntry | BridgeEntry) -> Job | End:
    peer = entry.destination
    if peer is None or peer.is_multicast:
        raise Unpredictable(f"the entry leads to a group: {entry}")
    job.note(Consulted.FDB, entry, device=link.name)
    further = entry if isinstance(entry, BridgeEntry) else None
    port = (further.port if further else 0) or vxlan.port
    vni = vxlan.vni if further is None or further.vni is None else further.vni
    via = further.via if further else ""
    return _wrap(job, link, vxlan.local, peer, (Udp(_ANY_PORT, port), VxlanHeader(vni)), via=via)


def _wrap(
    job: Job, link: Link, local: IPAddress | None, peer: IPAddress, headers: tuple[Header, ...], *, via: str = "",
    dont_fragment: bool = False,
) -> Job | End:  # fmt: skip
    """The packet inside of an outer one, routed: the second look at the routes."""
    host, tables = job.host.name, job.tables
    if len(job.packet.headers) > _NESTED:
        return Dropped(host, link.name, Cause.LOOP, f"{link.name} leads into itself")
    if local is not None and local.version == 4 and not tables.holds(local):  # IPv6 sends from what it once had
        return Dropped(host, link.name, Cause.NO_SOURCE, f"{host} does not have the tunnel's address {local}")
    decision = lookup(tables, peer, Query(local, "lo", via, job.mark))
    if decision is None or not decision.device:
        return Dropped(host, link.name, Cause.NO_ROUTE, f"no route to {peer}, the far end of {link.name}")
    if decision.device == link.name:
        return Dropped(host, link.name, Cause.LOOP, f"{peer}, the far end of {link.name}, is routed by {link.name}")
    source = local or source_for(tables, peer, decision)
    if source is None:
        return Dropped(host, link.name, Cause.NO_SOURCE, "the host has no address to send from")
    outer = Ip(source, peer, dont_fragment=dont_fragment)
    job.note(Consulted.LINK, link, job.packet.within(outer, *headers), link.name)
    device = "lo" if decision.is_local else decision.device
    job.note(Consulted.LOCAL if decision.is_local else Consulted.ROUTE, decision.shown, device=device)
    job.iif, job.track, job.nexthop = "", None, decision.gateway
    job.fragments = peer.version == 4
    return job.at(Stage.OUTPUT, device)


def _enter_ipip(job: Job, link: Link, ipip: Ipip) -> Outcome:
    """The outer packet may not be fragmented where the inner may not, which is what `pmtudisc` means."""
    header = job.packet.ip
    peer = ipip.remote or job.nexthop
    if header.version != 4 or peer is None:
        return Dropped(job.host.name, link.name, Cause.NO_TUNNEL, f"{link.name} does not know where to send it")
    return _wrap(job, link, ipip.local, peer, (), dont_fragment=header.dont_fragment)


def _enter_wireguard(job: Job, link: Link) -> Outcome:
    host, known = job.host.name, job.tables.wireguard.get(link.name)
    if known is None:
        raise Unpredictable(f"what {link.name} is set to was not read")
    device, peers = known
    to = job.packet.ip.destination
    peer = _allowed(peers, to)
    if peer is None:
        return Dropped(host, link.name, Cause.NO_PEER, f"no peer of {link.name} is allowed {to}")
    if peer.endpoint is None:
        return Dropped(host, link.name, Cause.NO_PEER, f"the peer's endpoint is not known: {peer}")
    if device.public_key is None:
        raise Unpredictable(f"the key of {link.name} is not known")
    job.note(Consulted.TUNNEL, peer, device=link.name)
    padding = -job.packet.size % _WIREGUARD_BLOCK
    room = (link.mtu or 0) - job.packet.size  # padded no further than the device's MTU
    header = WireguardHeader(str(device.public_key), max(0, min(padding, room)))
    ports = Udp(device.listen_port, peer.endpoint.port)
    return _wrap(job, link, None, peer.endpoint.address, (ports, header))


def _allowed(peers: tuple[WireguardPeer, ...], address: IPAddress) -> WireguardPeer | None:
    """Cryptokey routing: the peer with the longest network that has the address."""
    networks = ((network, peer) for peer in peers for network in peer.allowed_ips if network.version == address.version)
    return Prefixes(networks).longest(address)


def _enter_datagrams(job: Job, link: Link) -> Outcome:
    """The udp backend: the inner packet is the payload, and no header tells so. The process that carries it is a hop of
    its own (`nankeen.tunnel.outbound`).
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
    found = _wrap(job, link, socket.local, peer.endpoint, (ports,), dont_fragment=not in_pieces)
    job.fragments = in_pieces
    return found


def _room(job: Job, socket: TunnelSocket, peer: TunnelPeer) -> int:
    """Bytes of the largest packet that the underlay takes to the peer, as far as the node's own device tells."""
    decision = lookup(job.tables, peer.endpoint, Query(socket.local))
    device = job.tables.links.get(decision.device) if decision is not None else None
    if device is None or not device.mtu:
        return LARGEST_PACKET
    return device.mtu - (20 if peer.endpoint.version == 4 else 40) - Udp.size


def _told(job: Job, socket: TunnelSocket, error: IcmpKind, cause: Cause, detail: str, mtu: int = 0) -> End:
    """The process's own error, from the node's inner address."""
    found = answer(job, error, cause, detail, mtu)
    return replace(found, source=socket.address, by_process=True) if isinstance(found, Answered) else found


def deliver(run: Run, job: Job) -> Outcome:
    """A packet for the host itself: a tunnel's goes on, what it carries; any other has arrived."""
    headers = job.packet.headers
    if len(headers) > 2 and isinstance(headers[1], Udp):
        match headers[2]:
            case VxlanHeader():
                return _leave_vxlan(run, job)
            case WireguardHeader():
                return _seen(run, _leave_wireguard(job))
            case Ip():
                return _seen(run, _leave_datagrams(job))
    if len(headers) > 1 and isinstance(headers[1], Ip):
        return _seen(run, _leave_ipip(job))
    return Delivered(job.host.name, job.device, job.packet.ip.destination)


def _seen(run: Run, found: Outcome) -> Outcome:
    """What comes out of a tunnel as an IP packet, at its device."""
    if run.passages and isinstance(found, Job):
        found.passes(Direction.ENTERS)
    return found


def _no_tunnel(job: Job, why: str) -> End:
    return Dropped(job.host.name, job.device, Cause.NO_TUNNEL, why)


def _leave_vxlan(run: Run, job: Job) -> Outcome:
    ports, header, frame = job.packet.headers[1:4]
    assert isinstance(ports, Udp)  # noqa: S101  (the caller has looked)
    assert isinstance(header, VxlanHeader)  # noqa: S101
    assert isinstance(frame, Ethernet)  # noqa: S101
    link = job.tables.vxlans.get((job.packet.ip.version, ports.destination, header.vni))
    if link is None or not isinstance(link.kind, Vxlan):
        return _no_tunnel(job, f"no device is up for VNI {header.vni} on UDP port {ports.destination}")
    if frame.source == link.address:
        return Dropped(job.host.name, link.name, Cause.LOOP, f"{link.name} is sent a frame of its own")
    outer = job.packet.ip
    job.note(Consulted.LINK, link, job.packet.without(3), link.name)
    if link.kind.learning:
        run.vteps[job.host.name, link.name, frame.source] = outer.source
    job.track = None
    return job.at(Stage.ARRIVE, link.name)


def _leave_ipip(job: Job) -> Outcome:
    """ip_tunnel_lookup: the device for both ends, then for the far end, then for the near end, then for any."""
    header = job.packet.ip
    found = [link for link in job.tables.links.values() if isinstance(link.kind, Ipip) and link.up]
    fitting = [link for link in found if _fits(link.kind, header)]
    if not fitting or job.packet.headers[1].size != 20:
        return _no_tunnel(job, f"no device takes IP in IP from {header.source}")
    link = max(fitting, key=_precision)
    job.note(Consulted.LINK, link, job.packet.without(), link.name)
    job.track = None
    return job.at(Stage.RECEIVE, link.name)


def _fits(kind: object, header: Ip) -> bool:
    return isinstance(kind, Ipip) and kind.remote in (None, header.source) and kind.local in (None, header.destination)


def _precision(link: Link) -> tuple[bool, bool]:
    kind = link.kind
    return isinstance(kind, Ipip) and kind.remote is not None, isinstance(kind, Ipip) and kind.local is not None


def _leave_wireguard(job: Job) -> Outcome:
    ports, header = job.packet.headers[1:3]
    assert isinstance(ports, Udp)  # noqa: S101  (the caller has looked)
    assert isinstance(header, WireguardHeader)  # noqa: S101
    for name, (device, peers) in job.tables.wireguard.items():
        link = job.tables.links.get(name)
        if device.listen_port != ports.destination or link is None or not link.up:
            continue
        inner = Packet(job.packet.headers[3:], job.packet.payload)
        sender = next((peer for peer in peers if str(peer.public_key) == header.device_key), None)
        allowed = _allowed(peers, inner.ip.source)
        if sender is None or allowed is not sender:
            detail = f"{name} does not allow {inner.ip.source} to the peer {header.device_key}"
            return Dropped(job.host.name, name, Cause.NO_PEER, detail)
        job.note(Consulted.TUNNEL, sender, inner, name)
        job.track = None
        return job.at(Stage.RECEIVE, name)
    return _no_tunnel(job, f"no WireGuard device listens on port {ports.destination}")


def _leave_datagrams(job: Job) -> Outcome:
    header, ports = job.packet.headers[:2]
    assert isinstance(header, Ip)  # noqa: S101  (the caller has looked)
    assert isinstance(ports, Udp)  # noqa: S101
    for socket in job.tables.state.of(TunnelSocket):
        if socket.port == ports.destination and socket.local == header.destination:
            return _out_of(job, socket, header.source)
    return _no_tunnel(job, f"nothing listens on UDP port {ports.destination}")


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
