"""Ethernet on a host: a packet gets the hardware address of its next hop, leaves as a frame, and is taken in as one.

neigh_resolve_output, dev_queue_xmit, veth_xmit, eth_type_trans and is_skb_forwardable of the kernel.
"""

from __future__ import annotations

from nankeen.forwarding import bridge, resolve, tunnel
from nankeen.forwarding.answer import answer
from nankeen.forwarding.hop import Cause, Consulted, Direction, Dropped, Unknown
from nankeen.forwarding.job import Job, Outcome, Run, Stage
from nankeen.forwarding.packet import BROADCAST, Ethernet, IcmpKind
from nankeen.forwarding.tables import Unpredictable
from nankeen.model.address import HardwareAddress, IPAddress
from nankeen.model.observed import DynamicNeighbour
from nankeen.model.state import Bridge, Device, Ipip, Link, Tun, Veth, Vxlan

_SPARE = 4
"""Bytes that a device takes in above its MTU: room for a VLAN tag (is_skb_forwardable in net/core/dev.c)."""
_NO_STATIONS = Ethernet(HardwareAddress(bytes(6)), HardwareAddress(bytes(6)))
"""What frames at the loopback device have."""
_FRAMELESS = (Ipip, Tun)
_WIREGUARD = Device("wireguard")
"""What has no hardware addresses."""
_MEASURED = (Veth, Device)
"""What refuses frames that are too large when they come in."""
_WIRED = frozenset({"", "dummy", "ifb"})
"""Kinds of devices of which nothing is to know but what they are wired to."""


def transmit(run: Run, job: Job) -> Outcome:
    """An IP packet at the device that it leaves by."""
    link = job.tables.links.get(job.device)
    if link is None or not link.up:
        return Dropped(job.host.name, job.device, Cause.NO_LINK if link is None else Cause.LINK_DOWN)
    if job.device == "lo":
        return _loop_back(run, job)
    if isinstance(link.kind, _FRAMELESS) or link.kind == _WIREGUARD:
        if run.passages:
            job.passes(Direction.LEAVES)
        return tunnel.enter(job, link)
    hop = job.nexthop or job.packet.ip.destination
    address = _address_of(run, job, link, hop)
    if address is None:
        detail = f"nobody at {job.device} answers for {hop}"
        return answer(job, IcmpKind.HOST_UNREACHABLE, Cause.NO_NEIGHBOUR, detail)
    if link.address is None:
        raise Unpredictable(f"the hardware address of {job.device} is not known")
    job.packet = job.packet.within(Ethernet(link.address, address))
    return job.at(Stage.FRAME)


def _loop_back(run: Run, job: Job) -> Outcome:
    job.iif = ""
    if run.passages:
        packet = job.packet
        job.packet = packet.within(_NO_STATIONS)
        job.passes(Direction.LEAVES)
        job.passes(Direction.ENTERS)
        job.packet = packet
    return job.at(Stage.RECEIVE)


def _address_of(run: Run, job: Job, link: Link, hop: IPAddress) -> HardwareAddress | None:
    """The hardware address of the next hop: the neighbour table's, or what it answers when asked."""
    if job.is_broadcast:
        return BROADCAST
    entry = job.tables.neighbours.get((job.device, hop))
    if entry is None and hop.is_multicast:
        return resolve.group_address(hop)
    if entry is None or (isinstance(entry, DynamicNeighbour) and not entry.is_valid):
        found = run.heard.get((job.host.name, job.device, hop)) or run.resolve(run, job, hop)
        if found is not None:
            job.note(Consulted.NEIGHBOUR, resolve.Answer(hop, link.name, found))
        return found
    job.note(Consulted.NEIGHBOUR, entry)
    return entry.address


def frame(run: Run, job: Job) -> Outcome:
    """A frame at the device that it leaves by."""
    link = job.tables.links.get(job.device)
    if link is None or not link.up:
        return Dropped(job.host.name, job.device, Cause.NO_LINK if link is None else Cause.LINK_DOWN)
    if run.passages and link.carrier is not False:
        job.passes(Direction.LEAVES)
    match link.kind:
        case Bridge():
            return bridge.forward(run, job, link, None)
        case Vxlan():
            return tunnel.enter_vxlan(run, job, link, link.kind)
        case Veth():
            return _cross(run, job, link)
        case Device(kind) if kind in _WIRED:
            return _cross(run, job, link)
    raise Unpredictable(f"{job.device} is of a kind that is not understood: {link}")


def _cross(run: Run, job: Job, link: Link) -> Outcome:
    """What leaves by one end of a wire comes in by all the others."""
    to = bridge.destination_of(job.packet)
    others = run.world.receivers(job.host.name, job.device, to)
    if others is None:
        return Unknown(job.host.name, job.device, f"nobody knows what {job.device} is wired to")
    if link.carrier is False:
        return Dropped(job.host.name, job.device, Cause.NO_CARRIER)
    if not others:
        return Dropped(job.host.name, job.device, Cause.OTHER_STATION, f"no station on the link has {to}")
    copies = [job.copy(Stage.ARRIVE, run.world.hosts[other.host], other.device) for other in others]
    return copies if len(copies) > 1 else copies[0]


def arrive(run: Run, job: Job) -> Outcome:
    """A frame that comes in by a device."""
    if not job.host.is_observed:
        return Unknown(job.host.name, job.device, f"nothing was observed of {job.host.name}")
    link = job.tables.links.get(job.device)
    if link is None or not link.up:
        return Dropped(job.host.name, job.device, Cause.NO_LINK if link is None else Cause.LINK_DOWN)
    is_wired = isinstance(link.kind, _MEASURED)  # what comes out of a tunnel, or by a bridge, is not measured
    if is_wired and link.mtu and job.packet.exceeds(link.mtu + _SPARE + Ethernet.size):
        detail = f"{job.packet.size - Ethernet.size} bytes, and {job.device} takes {link.mtu}"
        return Dropped(job.host.name, job.device, Cause.TOO_BIG, detail)
    if run.passages:
        job.passes(Direction.ENTERS)
    if not link.master:
        return station(run, job, link)
    if link.master not in job.tables.bridges:
        raise Unpredictable(f"{job.device} belongs to {link.master}, which is no bridge")
    return bridge.forward(run, job, job.tables.links[link.master], link)


def station(run: Run, job: Job, link: Link) -> Outcome:
    """A frame that a host takes in, if it is for it."""
    header = job.packet.headers[0]
    if not isinstance(header, Ethernet):
        raise TypeError(f"{job.packet} is no frame")
    if not header.destination.is_multicast and header.destination != link.address:
        detail = f"the frame is for {header.destination}, and {job.device} has {link.address}"
        return Dropped(job.host.name, job.device, Cause.OTHER_STATION, detail)
    job.packet = job.packet.without()
    return resolve.take_in(run, job.at(Stage.RECEIVE, link.name), header.source)
