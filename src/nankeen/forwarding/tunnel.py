"""Tunnels: what wraps a packet into another, and who unwraps it at the far end.

vxlan_xmit and vxlan_rcv of drivers/net/vxlan (RFC 7348), ipip_tunnel_xmit and ip_tunnel_lookup of net/ipv4 (RFC 2003),
wg_xmit and wg_packet_consume_data_done of drivers/net/wireguard.
"""

from __future__ import annotations

from nankeen.forwarding import datagrams
from nankeen.forwarding.hop import Cause, Consulted, Delivered, Direction, Dropped, End
from nankeen.forwarding.job import Job, Outcome, Run, Stage
from nankeen.forwarding.packet import (
    Ethernet,
    Ip,
    Packet,
    Udp,
    VxlanHeader,
    WireguardHeader,
)
from nankeen.forwarding.prefixes import Prefixes
from nankeen.forwarding.tables import Unpredictable
from nankeen.forwarding.wrap import no_tunnel, wrap
from nankeen.model.address import HardwareAddress, IPAddress
from nankeen.model.observed import BridgeEntry, LinkFacts
from nankeen.model.state import ForwardingEntry, Ipip, Link, Tun, Vxlan
from nankeen.model.wireguard import WireguardPeer

_ANYBODY = HardwareAddress(bytes(6))
"""Whose entry counts for addresses that have none (all_zeros_mac in drivers/net/vxlan)."""
_ANY_PORT = 0
"""The source port is drawn from the inner packet (RFC 7348 §5): which one it is changes nothing."""
_WIREGUARD_BLOCK = 16
_NO_FACTS = LinkFacts("")


def enter(job: Job, link: Link) -> Outcome:
    """An IP packet at a tunnel's device that has no hardware addresses."""
    match link.kind:
        case Ipip():
            return _enter_ipip(job, link, link.kind)
        case Tun():
            return datagrams.enter(job, link)
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
    table = job.tables.forwarding
    found = table.get((link.name, to))
    if found:
        return found
    learned = run.vteps.get((job.host.name, link.name, to))
    if learned is not None:
        return [BridgeEntry(link.name, to, destination=learned)]
    return table.get((link.name, _ANYBODY)) or []


def _encapsulate(job: Job, link: Link, vxlan: Vxlan, entry: ForwardingEntry | BridgeEntry) -> Job | End:
    peer = entry.destination
    if peer is None or peer.is_multicast:
        raise Unpredictable(f"the entry leads to a group: {entry}")
    job.note(Consulted.FDB, entry, device=link.name)
    further = entry if isinstance(entry, BridgeEntry) else None
    port = (further.port if further else 0) or vxlan.port
    vni = vxlan.vni if further is None or further.vni is None else further.vni
    via = further.via if further else ""
    return wrap(job, link, vxlan.local, peer, (Udp(_ANY_PORT, port), VxlanHeader(vni)), via=via)


def _enter_ipip(job: Job, link: Link, ipip: Ipip) -> Outcome:
    """The outer packet may not be fragmented where the inner may not, which is what `pmtudisc` means."""
    header = job.packet.ip
    peer = ipip.remote or job.nexthop
    if header.version != 4 or peer is None:
        return Dropped(job.host.name, link.name, Cause.NO_TUNNEL, f"{link.name} does not know where to send it")
    return wrap(job, link, ipip.local, peer, (), dont_fragment=header.dont_fragment)


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
    return wrap(job, link, None, peer.endpoint.address, (ports, header))


def _allowed(peers: tuple[WireguardPeer, ...], address: IPAddress) -> WireguardPeer | None:
    """Cryptokey routing: the peer with the longest network that has the address."""
    networks = ((network, peer) for peer in peers for network in peer.allowed_ips if network.version == address.version)
    return Prefixes(networks).longest(address)


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
                return _seen(run, datagrams.leave(job))
    if len(headers) > 1 and isinstance(headers[1], Ip):
        return _seen(run, _leave_ipip(job))
    return Delivered(job.host.name, job.device, job.packet.ip.destination)


def _seen(run: Run, found: Outcome) -> Outcome:
    """What comes out of a tunnel as an IP packet, at its device."""
    if run.passages and isinstance(found, Job):
        found.passes(Direction.ENTERS)
    return found


def _leave_vxlan(run: Run, job: Job) -> Outcome:
    ports, header, frame = job.packet.headers[1:4]
    assert isinstance(ports, Udp)  # noqa: S101  (the caller has looked)
    assert isinstance(header, VxlanHeader)  # noqa: S101
    assert isinstance(frame, Ethernet)  # noqa: S101
    link = job.tables.vxlans.get((job.packet.ip.version, ports.destination, header.vni))
    if link is None or not isinstance(link.kind, Vxlan):
        return no_tunnel(job, f"no device is up for VNI {header.vni} on UDP port {ports.destination}")
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
        return no_tunnel(job, f"no device takes IP in IP from {header.source}")
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
    return no_tunnel(job, f"no WireGuard device listens on port {ports.destination}")
