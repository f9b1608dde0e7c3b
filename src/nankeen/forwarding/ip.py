"""IP on a host: sending, receiving, forwarding, for both versions.

ip_queue_xmit, ip_rcv, ip_forward, ip_output and ip_error of net/ipv4; ip6_rcv, ip6_forward and ip6_output of net/ipv6.
"""

from __future__ import annotations

from dataclasses import replace

from nankeen.forwarding import netfilter
from nankeen.forwarding.admission import admitted
from nankeen.forwarding.answer import answer
from nankeen.forwarding.hop import Cause, Consulted, Delivered, Dropped, End
from nankeen.forwarding.job import Job, Outcome, Run, Stage
from nankeen.forwarding.packet import Icmp, IcmpKind, Ip
from nankeen.forwarding.route import Decision, Query, is_broadcast, lookup, lookup_own, source_for
from nankeen.forwarding.ruleset import Hook
from nankeen.forwarding.tables import Unpredictable
from nankeen.model.observed import RouteType, RoutingRule

SMALLEST_IPV6_MTU = 1280
"""RFC 8200 §5."""

_ROUTE_ERRORS = {
    RouteType.UNREACHABLE: (IcmpKind.HOST_UNREACHABLE, IcmpKind.NO_ROUTE),
    RouteType.PROHIBIT: (IcmpKind.PROHIBITED, IcmpKind.PROHIBITED),
}
"""What a router answers for a route of that type, in IPv4 and in IPv6."""


def send(run: Run, job: Job) -> Outcome:
    """A process of the host sends the packet: it is routed, and gets a source address if it has none."""
    tables, header = job.tables, job.packet.ip
    given = None if header.source.is_unspecified else header.source
    if given is not None and not tables.holds(given):
        return Dropped(job.host.name, "", Cause.NO_SOURCE, f"{job.host.name} does not have the address {given}")
    if _is_rationed(job):
        sourceless = lookup(tables, header.destination, Query(None, "lo", job.device, job.mark))
        if sourceless is None or not sourceless.device:
            return _unroutable(job, sourceless)
    decision, given = lookup_own(tables, header.destination, given, job.device, job.mark)
    if decision is None or not decision.device:
        return _unroutable(job, decision)
    source = given or source_for(tables, header.destination, decision)
    if source is None:
        return Dropped(job.host.name, decision.device, Cause.NO_SOURCE, "the host has no address to send from")
    packet = job.packet if header.source == source else job.packet.with_ip(replace(header, source=source))
    job.note(Consulted.LOCAL if decision.is_local else Consulted.ROUTE, decision.shown, packet, decision.device)
    job.is_broadcast = is_broadcast(header.destination, decision)
    job.nexthop = None if job.is_broadcast else decision.gateway
    job.at(Stage.OUTPUT, "lo" if decision.is_local and not job.is_broadcast else decision.device)
    mtu = tables.links[job.device].mtu if job.device in tables.links else None
    if header.dont_fragment and mtu and job.packet.exceeds(mtu):
        return _too_big(job, mtu)  # the socket says so, before any filter is asked
    return output(run, job)


def _is_rationed(job: Job) -> bool:
    """Whether it is an error of ICMPv6 that a ration is kept of: who has no route without a source, has none of it
    (icmpv6_xrlim_allow).
    """
    inner = job.packet.headers[1] if len(job.packet.headers) > 1 else None
    is_error = isinstance(inner, Icmp) and inner.about is not None and inner.kind is not IcmpKind.TOO_BIG
    return is_error and job.packet.ip.version == 6


def output(run: Run, job: Job) -> Outcome:
    """The host's own packet passes the filter; one whose destination is translated there is routed anew."""
    before = job.packet.ip.destination
    ended = netfilter.passes(run, job, Hook.OUTPUT, oif=job.device)
    if ended is not None:
        return ended
    after = job.packet.ip.destination
    if after != before:
        decision = lookup(job.tables, after, Query(job.packet.ip.source, "lo", "", job.mark))
        if decision is None or not decision.device:
            return _unroutable(job, decision)
        job.note(Consulted.ROUTE, decision.shown, device=decision.device)
        source = job.packet.ip.source
        if source.version == 4 and source.is_loopback and not _lets_localhost_out(job, decision):
            told = f"{source} may not leave by it: net.ipv4.conf.{decision.device}.route_localnet = 0"
            return Dropped(job.host.name, decision.device, Cause.MARTIAN_SOURCE, told)
        job.nexthop, job.device = decision.gateway, "lo" if decision.is_local else decision.device
    return _leave(run, job)


def _lets_localhost_out(job: Job, decision: Decision) -> bool:
    """Whether a packet of 127.0.0.0/8 may leave by the device (__mkroute_output)."""
    return decision.is_local or bool(job.tables.either(4, decision.device, "route_localnet"))


def _leave(run: Run, job: Job) -> Outcome:
    """The packet goes out by its device, in fragments if it must and may."""
    if job.tables.policies:
        _protected(job)
    ended = netfilter.passes(run, job, Hook.POSTROUTING, iif=job.iif, oif=job.device)
    if ended is not None:
        return ended
    link = job.tables.links.get(job.device)
    if link is None:
        return Dropped(job.host.name, job.device, Cause.NO_LINK)
    mtu = link.mtu or 0
    if mtu and job.packet.exceeds(mtu):
        header = job.packet.ip
        if header.dont_fragment or not job.fragments:
            return _too_big(job, mtu)
        room = (mtu - header.size - (0 if header.version == 4 else 8)) // 8 * 8
        fragment = header.size + (0 if header.version == 4 else 8) + room
        job.note(Consulted.LINK, link, job.packet.with_ip(replace(header, fragment=fragment)))
    if job.is_broadcast:
        return [job.copy(Stage.LOOP_BACK, job.host, job.device), job.at(Stage.TRANSMIT)]
    return job.at(Stage.TRANSMIT)


def loop_back(run: Run, job: Job) -> Outcome:
    """The host hears what it says to all (ip_mc_output, dev_loopback_xmit)."""
    for hook in (Hook.PREROUTING, Hook.INPUT):
        ended = netfilter.passes(run, job, hook, iif=job.device)
        if ended is not None:
            return ended
    return Delivered(job.host.name, job.device, job.packet.ip.destination)


def receive(run: Run, job: Job) -> Outcome:
    """A packet that came in by the job's device."""
    if job.host.ruleset.unread:
        raise Unpredictable(f"rules that are not understood: {', '.join(job.host.ruleset.unread)}")
    device = job.device
    ended = netfilter.passes(run, job, Hook.PREROUTING, iif=device)
    if ended is not None:
        return ended
    tables, header = job.tables, job.packet.ip
    decision, refusal = admitted(tables, header, device, job.mark)
    if decision is None:
        return _no_route(job)
    if refusal is not None:
        return Dropped(job.host.name, device, refusal.cause, f"{refusal.cause.value}: {refusal.entry}")
    if decision.is_local:
        job.note(Consulted.LOCAL, decision.shown)
        if tables.policies:
            _protected(job)
        ended = netfilter.passes(run, job, Hook.INPUT, iif=device)
        return ended if ended is not None else job.at(Stage.DELIVER)
    return _forward(run, job, decision)


def _forward(run: Run, job: Job, decision: Decision) -> Outcome:
    host, device, header = job.host.name, job.device, job.packet.ip
    version = header.version
    if not job.tables.is_forwarding(version, device):
        name = f"net.ipv{version}.conf.{device if version == 4 else 'all'}.forwarding = 0"
        return Dropped(host, device, Cause.NOT_FORWARDING, name)
    if not decision.device:
        return _unroutable(job, decision)
    if decision.type is not RouteType.UNICAST:
        return Dropped(host, device, Cause.MARTIAN_DESTINATION, str(decision.shown))
    ended = _unfit(job, header, decision)
    if ended is not None:
        return ended
    job.note(Consulted.ROUTE, decision.shown, job.packet.routed(), decision.device)
    job.iif, job.nexthop = device, decision.gateway
    ended = netfilter.passes(run, job, Hook.FORWARD, iif=device, oif=decision.device)
    if ended is not None:
        return ended
    job.fragments = version == 4
    return _leave(run, job.at(Stage.TRANSMIT, decision.device))


def _unfit(job: Job, header: Ip, decision: Decision) -> End | None:
    """Why a router does not send the packet on, in the order in which it looks: too old, or too big."""
    link = job.tables.links[decision.device]
    if header.ttl <= 1:
        return answer(job, IcmpKind.TIME_EXCEEDED, Cause.LOOP, f"its time to live ends on {job.host.name}")
    if header.version == 6 and header.source.is_link_local and decision.device != job.device:
        return answer(job, IcmpKind.BEYOND_SCOPE, Cause.MARTIAN_SOURCE)
    mtu = link.mtu or 0
    if header.version == 6:
        mtu = max(mtu, SMALLEST_IPV6_MTU)
    if mtu and (header.version == 6 or header.dont_fragment) and job.packet.exceeds(mtu):
        return _too_big(job, mtu, decision.device)
    return None


def _too_big(job: Job, mtu: int, device: str | None = None) -> End:
    name = device or job.device
    return answer(job, IcmpKind.TOO_BIG, Cause.TOO_BIG, f"{job.packet.size} bytes, and {name} takes {mtu}", mtu)


def _no_route(job: Job) -> End:
    """Of IPv4, a host that does not forward packets says nothing (ip_error)."""
    host, device, header = job.host.name, job.device, job.packet.ip
    if header.version == 4 and not job.tables.is_forwarding(4, device):
        return Dropped(host, device, Cause.NOT_FORWARDING, f"net.ipv4.conf.{device}.forwarding = 0")
    return answer(job, IcmpKind.NO_ROUTE, Cause.NO_ROUTE, f"no route to {header.destination}")


def _unroutable(job: Job, decision: Decision | None) -> End:
    """The end of a packet that no route leads anywhere."""
    header = job.packet.ip
    if decision is None:
        return answer(job, IcmpKind.NO_ROUTE, Cause.NO_ROUTE, f"no route to {header.destination}")
    errors = _ROUTE_ERRORS.get(decision.type)
    if errors is not None and decision.type is RouteType.UNREACHABLE and isinstance(decision.shown, RoutingRule):
        return answer(job, IcmpKind.NO_ROUTE, Cause.NO_ROUTE, str(decision.shown))
    if errors is None:
        return Dropped(job.host.name, job.device, Cause.BLACKHOLE, str(decision.shown))
    return answer(job, errors[header.version == 6], Cause.NO_ROUTE, str(decision.shown))


def _protected(job: Job) -> None:
    """Raises `Unpredictable` where IPsec has to do with the packet: whether its security associations stand is not
    read.
    """
    header = job.packet.ip
    for policy in job.tables.policies:
        if (
            policy.source.version == header.version
            and header.source in policy.source
            and header.destination in policy.destination
        ):
            raise Unpredictable(f"IPsec protects the packet: {policy}")
