"""Who has an address: ARP (RFC 826) and neighbour discovery (RFC 4861), asked and answered.

arp_solicit and arp_process of net/ipv4/arp.c; ndisc_solicit and ndisc_recv_ns of net/ipv6/ndisc.c. A question travels
as any frame does: over bridges, wires and tunnels, and through packet filters.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from nankeen.forwarding import netfilter
from nankeen.forwarding.admission import refused
from nankeen.forwarding.hop import Cause, Delivered, Dropped
from nankeen.forwarding.job import Job, Outcome, Run, Stage
from nankeen.forwarding.packet import ABOUT_NEIGHBOURS, BROADCAST, Arp, Ethernet, Icmp, IcmpKind, Ip, Packet
from nankeen.forwarding.route import Query, lookup, select_source
from nankeen.forwarding.ruleset import Hook
from nankeen.forwarding.tables import Tables, Unpredictable
from nankeen.model.address import HardwareAddress, IPAddress
from nankeen.model.observed import RouteType
from nankeen.model.state import AddressFlag, Neighbour

_SOLICITED_NODE = int(IPv6Address("ff02::1:ff00:0"))
_NEVER_FORWARDED = 255
"""Hop limit of neighbour discovery: no router has touched the packet (RFC 4861 §7.1.1)."""
_IGNORE_ON_OTHERS = (1, 2)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the neighbour table holds once somebody has answered."""

    destination: IPAddress
    device: str
    address: HardwareAddress

    def __str__(self) -> str:
        return f"{self.destination} dev {self.device} lladdr {self.address} REACHABLE"


def group_address(group: IPAddress) -> HardwareAddress:
    """What frames to a multicast address are sent to (RFC 1112 §6.4, RFC 2464 §7)."""
    if group.version == 4:
        return HardwareAddress(b"\x01\x00\x5e" + (int(group) & 0x7F_FFFF).to_bytes(3, "big"))
    return HardwareAddress(b"\x33\x33" + group.packed[-4:])


def asker(job: Job, hop: IPAddress) -> IPAddress | None:
    """The address that the job's host asks with; None where it has none to ask with, and does not."""
    source = job.packet.ip.source
    if hop.version == 4:
        own = source.version == 4 and job.tables.holds(source)
        return source if own else select_source(job.tables, job.device, hop) or IPv4Address(0)
    return source if job.tables.holds_on(source, job.device) else select_source(job.tables, job.device, hop)


def question(job: Job, asking: IPAddress, hop: IPAddress) -> Job:
    """The frame that asks who has the address. Raises `Unpredictable`."""
    link = job.tables.links[job.device]
    if link.address is None:
        raise Unpredictable(f"the hardware address of {job.device} is not known")
    if hop.version == 4:
        packet = Packet((Ethernet(link.address, BROADCAST), Arp(asking, link.address, hop)))
    else:
        group = IPv6Address(_SOLICITED_NODE | int(hop) & 0xFF_FFFF)
        header = Ip(asking, group, _NEVER_FORWARDED)
        frame = Ethernet(link.address, group_address(group))
        packet = Packet((frame, header, Icmp(IcmpKind.NEIGHBOUR_SOLICITATION, target=hop)))
    return Job(Stage.FRAME, job.host, job.device, packet)


def take_in(run: Run, job: Job, sender: HardwareAddress) -> Outcome:
    """What a host does with a packet that came to it in a frame of that sender: questions of neighbours and their
    answers end here.
    """
    header = job.packet.headers[0]
    if isinstance(header, Arp):
        return _heard(run, job, header.sender, header.sender_address) if header.reply else _arp(run, job, header)
    inner = job.packet.headers[1] if len(job.packet.headers) > 1 else None
    if isinstance(inner, Icmp) and inner.kind in ABOUT_NEIGHBOURS:
        return _neighbour_discovery(run, job, sender)
    return job.at(Stage.RECEIVE)


def _heard(run: Run, job: Job, who: IPAddress, where: HardwareAddress) -> Outcome:
    """An answer has come back."""
    if who == run.question:
        run.answers.add(where)
    return Delivered(job.host.name, job.device, who)


def _silent(job: Job, why: str) -> Outcome:
    return Dropped(job.host.name, job.device, Cause.NO_NEIGHBOUR, why)


def _arp(run: Run, job: Job, request: Arp) -> Outcome:
    tables, device = job.tables, job.device
    link = tables.links[device]
    if not _answers(tables, device, request) or link.address is None:
        return _silent(job, f"{job.host.name} does not answer for {request.target} at {device}")
    run.heard[job.host.name, device, request.sender] = request.sender_address
    said = Arp(request.target, link.address, request.sender, reply=True)
    job.packet = Packet((Ethernet(link.address, request.sender_address), said))
    return job.at(Stage.FRAME)


def _answers(tables: Tables, device: str, request: Arp) -> bool:
    """arp_process: the target must be the host's, and the sender one that may be heard by the device."""
    decision = lookup(tables, request.target, Query(request.sender, device))
    probing = request.sender.is_unspecified
    if decision is None or (not probing and refused(tables, Ip(request.sender, request.target), device) is not None):
        return False
    if decision.type is not RouteType.LOCAL:
        proxies = any(tables.settings.get(f"net/ipv4/conf/{name}/proxy_arp", "0") != "0" for name in ("all", device))
        return proxies and decision.type is RouteType.UNICAST and decision.device not in ("", device)
    if any(tables.settings.get(f"net/ipv4/conf/{name}/arp_filter", "0") != "0" for name in ("all", device)):
        back = lookup(tables, request.sender, Query(request.target))
        if back is None or back.device != device:
            return False
    ignore = tables.either(4, device, "arp_ignore")
    if ignore not in (0, *_IGNORE_ON_OTHERS):
        raise Unpredictable(f"net.ipv4.conf.{device}.arp_ignore is {ignore}")
    return ignore == 0 or tables.holds_on(request.target, device)


def _neighbour_discovery(run: Run, job: Job, sender: HardwareAddress) -> Outcome:
    tables, device, header = job.tables, job.device, job.packet.ip
    said = job.packet.headers[1]
    assert isinstance(said, Icmp)  # noqa: S101  (the caller has looked)
    assert said.target is not None  # noqa: S101  (every message of the two has one)
    for hook in (Hook.PREROUTING, Hook.INPUT):
        ended = netfilter.passes(run, job, hook, iif=device)
        if ended is not None:
            return ended
    if said.kind is IcmpKind.NEIGHBOUR_ADVERTISEMENT:
        return _heard(run, job, said.target, sender)
    link = tables.links[device]
    if not _has(tables, device, said.target) or link.address is None:
        if any(tables.settings.get(f"net/ipv6/conf/{name}/proxy_ndp", "0") != "0" for name in ("all", device)):
            raise Unpredictable(f"{job.host.name} may answer in another's place: proxy_ndp is set for {device}")
        return _silent(job, f"{job.host.name} does not have {said.target} at {device}")
    run.heard[job.host.name, device, header.source] = sender
    job.packet = Packet((
        Ip(said.target, header.source, _NEVER_FORWARDED),
        Icmp(IcmpKind.NEIGHBOUR_ADVERTISEMENT, target=said.target),
    ))  # fmt: skip
    for hook in (Hook.OUTPUT, Hook.POSTROUTING):
        ended = netfilter.passes(run, job, hook, oif=device)
        if ended is not None:
            return ended
    job.packet = job.packet.within(Ethernet(link.address, _back(tables, device, header.source, sender)))
    return job.at(Stage.FRAME)


def _back(tables: Tables, device: str, asking: IPAddress, sender: HardwareAddress) -> HardwareAddress:
    """Where an advertisement goes: to whom asked, unless an administrator has said who that is."""
    entry = tables.neighbours.get((device, asking))
    return entry.address if isinstance(entry, Neighbour) else sender


def _has(tables: Tables, device: str, address: IPAddress) -> bool:
    """IPv6 answers only for what is on the device itself, a router for its networks' anycast address, too (RFC 4291
    §2.6.1).
    """
    if tables.settings.get(f"net/ipv6/conf/{device}/disable_ipv6", "0") != "0":
        return False
    for held in tables.addresses.get(device, ()):
        if held.interface.ip == address:
            return not (held.flags or AddressFlag(0)) & AddressFlag.DADFAILED
    decision = lookup(tables, address, Query(oif=device))
    return decision is not None and decision.type is RouteType.ANYCAST
