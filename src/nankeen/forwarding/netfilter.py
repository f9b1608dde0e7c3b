"""What the packet filter says to a packet at a hook, and connection tracking as far as it translates addresses."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address, IPv6Address

from nankeen.forwarding.answer import answer
from nankeen.forwarding.hop import Cause, Connection, Consulted, Dropped, End, Flow
from nankeen.forwarding.job import Job, Run, Track, Tracked
from nankeen.forwarding.packet import (
    ABOUT_NEIGHBOURS,
    Icmp,
    IcmpKind,
    Ip,
    Packet,
    Protocol,
    Sctp,
    Tcp,
    Udp,
    WireguardHeader,
)
from nankeen.forwarding.route import ANY, _select4, _select6, is_local, lookup, scope
from nankeen.forwarding.ruleset import Act, Action, Hook, Look, Rule
from nankeen.model.address import IPAddress

_ICMP_NAMES = {
    IcmpKind.ECHO_REQUEST: "echo-request",
    IcmpKind.ECHO_REPLY: "echo-reply",
    IcmpKind.TIME_EXCEEDED: "time-exceeded",
    IcmpKind.NEIGHBOUR_SOLICITATION: "nd-neighbor-solicit",
    IcmpKind.NEIGHBOUR_ADVERTISEMENT: "nd-neighbor-advert",
}
_FRAGMENT = 44
"""What an IPv6 header says is next in a fragment (RFC 8200 §4.5)."""
_LOOPBACK: dict[int, IPAddress] = {4: IPv4Address("127.0.0.1"), 6: IPv6Address("::1")}
_DESTINATION_HOOKS = (Hook.PREROUTING, Hook.OUTPUT)


def passes(run: Run, job: Job, hook: Hook, *, iif: str = "", oif: str = "") -> End | None:
    """Lets the packet pass a hook, translated where rules say so; None where it goes on, else how it ends.

    Raises `Unpredictable`.
    """
    ruleset = job.host.ruleset
    if not ruleset.bases and not run.known:
        return None
    if hook is Hook.OUTPUT or (hook is Hook.PREROUTING and job.track is None):
        job.track = _track(run, job, is_own=hook is Hook.OUTPUT)
    version = job.packet.ip.version
    if ruleset.has(hook, version, nat=False):
        pieces = _in_fragments(job, hook)
        found = ruleset.verdict(hook, _look(job, iif, oif, pieces=pieces), version, nat=False, mark=job.mark)
        job.mark = found.mark
        if found.by is not None and (found.action.act is not Act.ACCEPT or isinstance(found.by, Rule)):
            job.note(Consulted.FILTER, found.by)
        if found.action.act is not Act.ACCEPT:
            return _refusal(job, found.action, found.by, in_fragments=pieces)
        if pieces:
            look = _look(job, iif, oif, pieces=True, later=True)
            later = ruleset.verdict(hook, look, version, nat=False, mark=job.mark)
            if later.action.act is not Act.ACCEPT:
                return _refusal(job, later.action, later.by, in_fragments=True)
    if job.track is not None and not (job.track.is_own and hook in (Hook.PREROUTING, Hook.INPUT)):
        _translate(run, job, job.track, hook, iif, oif)
    return None


def _track(run: Run, job: Job, *, is_own: bool) -> Track:
    flow = flow_of(job.packet)
    inner = job.packet.headers[1] if len(job.packet.headers) > 1 else None
    if isinstance(inner, Icmp) and inner.kind in ABOUT_NEIGHBOURS:
        return Track(flow, flow, Tracked.UNTRACKED, is_own)
    if isinstance(inner, Icmp) and inner.about is not None:
        return _related(run, job, flow, inner, is_own=is_own)
    known = run.known.get((job.host.name, flow))
    if known is None:
        return Track(flow, flow, Tracked.NEW, is_own)
    other = known.reply if flow == known.original else known.original
    return Track(flow, other.reversed(), Tracked.ESTABLISHED, is_own)


def _related(run: Run, job: Job, flow: Flow, error: Icmp, *, is_own: bool) -> Track:
    """An error belongs to the connection that it is about: it is translated as that connection's answers are, and what
    it quotes with it (nf_nat_icmp_reply_translation).
    """
    assert error.about is not None  # noqa: S101  (the caller has looked)
    this = flow_of(error.about).reversed()
    known = run.known.get((job.host.name, this))
    if known is None:
        return Track(flow, flow, Tracked.INVALID, is_own)
    other = known.original if this == known.reply else known.reply
    wanted = replace(
        flow,
        source=flow.source if other.destination == this.source else other.destination,
        destination=flow.destination if other.source == this.destination else other.source,
    )
    job.packet = Packet(
        (job.packet.headers[0], replace(error, about=_carrying(error.about, other)), *job.packet.headers[2:]),
        job.packet.payload,
    )
    return Track(flow, wanted, Tracked.RELATED, is_own)


def interrupted(job: Job) -> Connection | None:
    """The connection that the packet's host was about to make when it answered it with an error: that knows it."""
    if job.track is None or not job.track.is_new:
        return None
    return Connection(job.host.name, job.track.original, flow_of(job.packet).reversed())


def _translate(run: Run, job: Job, track: Track, hook: Hook, iif: str, oif: str) -> None:
    version = job.packet.ip.version
    if track.is_new and job.host.ruleset.has(hook, version, nat=True):
        found = job.host.ruleset.verdict(hook, _look(job, iif, oif), version, nat=True, mark=job.mark)
        job.mark = found.mark
        wanted = _wanted(job, found.action, iif, oif)
        if wanted is not None:
            track.wanted = wanted
            job.note(Consulted.NAT, found.by, _carrying(job.packet, wanted))
    elif not track.is_new:
        flow, wanted = flow_of(job.packet), track.wanted
        if hook in _DESTINATION_HOOKS:
            wanted = replace(flow, destination=wanted.destination, port=wanted.port)
        if wanted != flow and hook is not Hook.FORWARD:
            job.note(
                Consulted.NAT,
                f"conntrack {track.original.source} → {track.original.destination}",
                _carrying(job.packet, wanted),
            )
    if track.is_new and hook in (Hook.POSTROUTING, Hook.INPUT):
        run.made.append(Connection(job.host.name, track.original, flow_of(job.packet).reversed()))


def _wanted(job: Job, action: Action, iif: str, oif: str) -> Flow | None:
    """The packet's flow as a rule translates it; None where it stays."""
    flow = flow_of(job.packet)
    match action.act:
        case Act.MASQUERADE:
            address = _masquerade(job, oif)
            return replace(flow, source=address) if address is not None else None
        case Act.SNAT:
            return replace(flow, source=action.address or flow.source, source_port=action.port or flow.source_port)
        case Act.DNAT:
            return replace(flow, destination=action.address or flow.destination, port=action.port or flow.port)
        case Act.REDIRECT:
            address = _redirected(job, iif)
            return replace(flow, destination=address or flow.destination, port=action.port or flow.port)
    return None


def _masquerade(job: Job, oif: str) -> IPAddress | None:
    """nf_nat_masquerade_ipv4 and _ipv6: an address of the device that the packet leaves by, near its next hop."""
    near = job.nexthop or job.packet.ip.destination
    return (
        _select4(job.tables, oif, near)
        if job.packet.ip.version == 4
        else _select6(job.tables, oif, job.packet.ip.destination)
    )


def _redirected(job: Job, iif: str) -> IPAddress | None:
    """nf_nat_redirect_ipv4 and _ipv6: the first address of the device that the packet came in by, in IPv6 of the same
    scope; of the host's own packets, the loopback device's.
    """
    to = job.packet.ip.destination
    if not iif:
        return _LOOPBACK[to.version]
    own = [address.interface.ip for address in job.tables.addresses.get(iif, ())]
    return next((ip for ip in own if ip.version == to.version and (to.version == 4 or scope(ip) == scope(to))), None)


def _in_fragments(job: Job, hook: Hook) -> bool:
    """Whether rules see the packet in pieces: without connection tracking nobody has put them together, but for the
    host itself in IPv4.
    """
    header = job.packet.ip
    if not header.fragment or job.host.ruleset.tracks:
        return False
    return hook is not Hook.INPUT or header.version == 6


def _refusal(job: Job, action: Action, by: object, *, in_fragments: bool) -> End:
    """Nobody is told of pieces: their checksum cannot be verified (nf_send_unreach, nf_send_unreach6)."""
    if action.act is Act.REJECT and not in_fragments:
        return answer(job, action.error, Cause.FILTERED, str(by), reset=action.reset)
    return Dropped(job.host.name, job.device, Cause.FILTERED, str(by))


def flow_of(packet: Packet) -> Flow:
    """The flow that an IP packet belongs to."""
    header = packet.ip
    inner = packet.headers[1] if len(packet.headers) > 1 else None
    match inner:
        case Udp(source, destination) | Tcp(source, destination) | Sctp(source, destination):
            return Flow(header.source, header.destination, inner.protocol, source, destination)
        case Icmp(_, identifier):
            return Flow(header.source, header.destination, protocol_of(packet), identifier, identifier)
    return Flow(header.source, header.destination, protocol_of(packet), 0, 0)


def protocol_of(packet: Packet) -> int:
    """What the outermost IP header says it carries; 0 where the packet ends there."""
    inner = packet.headers[1] if len(packet.headers) > 1 else None
    match inner:
        case Udp() | Tcp() | Sctp():
            return inner.protocol
        case Icmp():
            return Protocol.ICMP if packet.ip.version == 4 else Protocol.ICMPV6
        case Ip():
            return Protocol.IPIP if inner.version == 4 else Protocol.IPV6
        case WireguardHeader():
            return Protocol.UDP
    return 0


def _carrying(packet: Packet, flow: Flow) -> Packet:
    header, *rest = packet.headers
    if not isinstance(header, Ip):
        return packet
    if rest and isinstance(rest[0], Udp | Tcp | Sctp):
        rest[0] = replace(rest[0], source=flow.source_port, destination=flow.port)
    return Packet((replace(header, source=flow.source, destination=flow.destination), *rest), packet.payload)


def _look(job: Job, iif: str, oif: str, *, pieces: bool = False, later: bool = False) -> Look:
    """What rules see of the packet, or of its fragments: the later ones have no transport header."""
    packet, header = job.packet, job.packet.ip
    name = "ip" if header.version == 4 else "ip6"
    protocol = protocol_of(packet)
    facts: dict[str, object] = {
        "meta nfproto": "ipv4" if header.version == 4 else "ipv6",
        "meta l4proto": protocol,
        f"{name} saddr": header.source,
        f"{name} daddr": header.destination,
        f"{name} {'protocol' if header.version == 4 else 'nexthdr'}": _FRAGMENT
        if pieces and header.version == 6
        else protocol,
        f"{name} {'ttl' if header.version == 4 else 'hoplimit'}": header.ttl,
        "ct state": job.track.state.value if job.track is not None else "new",
        "fib daddr type": partial(_type, job),
    }
    facts.update({f"meta {key}": device for key, device in (("iifname", iif), ("oifname", oif)) if device})
    facts.update({f"meta {key}": device for key, device in (("iif", iif), ("oif", oif)) if device})
    inner = packet.headers[1] if len(packet.headers) > 1 and not later else None
    match inner:
        case Udp(source, destination) | Tcp(source, destination) | Sctp(source, destination):
            kinds = (inner.protocol.name.lower(), "th")
            facts.update({f"{kind} sport": source for kind in kinds})
            facts.update({f"{kind} dport": destination for kind in kinds})
        case Icmp(kind):
            said = _ICMP_NAMES.get(kind, "destination-unreachable")
            facts["icmp type" if header.version == 4 else "icmpv6 type"] = said
    return Look(facts)


def _type(job: Job) -> str:
    destination = job.packet.ip.destination
    if is_local(job.tables, destination):
        return "local"
    found = lookup(job.tables, destination, ANY)
    return found.type.name.lower() if found is not None else "unreachable"
