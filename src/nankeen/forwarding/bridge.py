"""A bridge: it learns where stations are, sends a frame to the port of its station, or floods it.

br_handle_frame, br_handle_frame_finish, br_dev_xmit and should_deliver of net/bridge (IEEE 802.1D).
"""

from __future__ import annotations

from nankeen.forwarding import netfilter, resolve
from nankeen.forwarding.hop import Cause, Consulted, Direction, Dropped, End
from nankeen.forwarding.job import Job, Outcome, Run, Stage
from nankeen.forwarding.packet import BROADCAST, Arp, Ethernet, Packet
from nankeen.forwarding.ruleset import Hook
from nankeen.forwarding.tables import Tables, Unpredictable
from nankeen.model.address import HardwareAddress
from nankeen.model.observed import BridgeEntry, BridgePort, LinkFacts
from nankeen.model.state import ForwardingEntry, Link

_SPARE = 4
_NO_FACTS = LinkFacts("")


def forward(run: Run, job: Job, bridge: Link, ingress: Link | None) -> Outcome:
    """A frame that came in by a port, or (None) that the host itself sends by the bridge."""
    header = job.packet.headers[0]
    if not isinstance(header, Ethernet):
        raise TypeError(f"{job.packet} is no frame")
    ended = _enters(job, bridge, ingress)
    if ended is not None:
        return ended
    if ingress is not None and _port(job.tables, ingress).learning:
        run.learned[job.host.name, bridge.name, header.source] = ingress.name
    to = header.destination
    if to.is_multicast:
        return _flood(run, job, bridge, ingress)
    entry = _entry(run, job, bridge, to)
    if isinstance(entry, BridgeEntry) and not entry.local:
        egress = job.tables.links.get(entry.device)
        job.note(Consulted.FDB, entry, device=bridge.name)
        blocked = _blocked(job, bridge, ingress, egress)
        if blocked is not None or egress is None:
            return Dropped(job.host.name, entry.device, Cause.BLOCKED_PORT, blocked or "")
        return _out(run, job, bridge, ingress, egress)
    if entry is not None or to == bridge.address:
        return _up(run, job, bridge, ingress, entry)
    return _flood(run, job, bridge, ingress)


def _enters(job: Job, bridge: Link, ingress: Link | None) -> End | None:
    """Why the bridge does not take the frame; None where it does. Raises `Unpredictable`."""
    if not bridge.up:
        return Dropped(job.host.name, bridge.name, Cause.LINK_DOWN)
    facts = job.tables.facts.get(bridge.name, _NO_FACTS)
    if facts.vlan_filtering or facts.other:
        raise Unpredictable(f"the bridge does what is not understood: {facts}")
    port = _port(job.tables, ingress) if ingress is not None else None
    if port is not None and not port.forwarding:
        return Dropped(job.host.name, port.device, Cause.BLOCKED_PORT, str(port))
    if port is not None and port.locked:
        raise Unpredictable(f"the port is locked: {port}")
    return None


def _port(tables: Tables, link: Link) -> BridgePort:
    return tables.ports.get(link.name) or BridgePort(link.name)


def _entry(run: Run, job: Job, bridge: Link, to: HardwareAddress) -> BridgeEntry | ForwardingEntry | None:
    """What the bridge knows of the address: what an administrator says, then what this walk's frames taught it."""
    found = next(iter(job.tables.forwarding.get((bridge.name, to), ())), None)
    if isinstance(found, BridgeEntry) and (found.local or found.static):
        return found
    learned = run.learned.get((job.host.name, bridge.name, to))
    if learned is not None and not (isinstance(found, BridgeEntry) and found.device == learned):
        return BridgeEntry(learned, to, bridge.name)
    own = next((link for link in job.tables.members.get(bridge.name, ()) if link.address == to), None)
    return found if found is not None or own is None else BridgeEntry(own.name, to, bridge.name, local=True)


def _up(run: Run, job: Job, bridge: Link, ingress: Link | None, entry: object) -> Outcome:
    """To the bridge's own host."""
    if ingress is None:
        return Dropped(job.host.name, bridge.name, Cause.OTHER_STATION, "a host sends nothing to itself by its bridge")
    header = job.packet.headers[0]
    assert isinstance(header, Ethernet)  # noqa: S101  (the caller has looked)
    job.note(
        Consulted.FDB,
        entry or BridgeEntry(bridge.name, header.destination, bridge.name, local=True),
        device=bridge.name,
    )
    job.at(Stage.RECEIVE, bridge.name)
    if run.passages:
        job.passes(Direction.ENTERS)
    job.packet = job.packet.without()
    return resolve.take_in(run, job, header.source)


def _flood(run: Run, job: Job, bridge: Link, ingress: Link | None) -> Outcome:
    """To all ports that take it; a frame for many also to the host."""
    to = destination_of(job.packet)
    jobs: list[Job] = []
    ends: list[End] = []
    for egress in job.tables.members.get(bridge.name, ()):
        port = _port(job.tables, egress)
        if not _floods(port, to, own=ingress is None) or _blocked(job, bridge, ingress, egress) is not None:
            continue
        if port.suppress and isinstance(job.packet.headers[1], Arp):
            raise Unpredictable(f"the bridge may answer in place of who is behind {port}")
        copy = job.copy(Stage.FRAME, job.host, egress.name)
        copy.note(Consulted.BRIDGE, port, device=bridge.name)
        found = _out(run, copy, bridge, ingress, egress)
        if isinstance(found, Job):
            jobs.append(found)
        else:
            ends.append(found)
    if to.is_multicast and ingress is not None:
        jobs.append(job.copy(Stage.ARRIVE, job.host, bridge.name))
    nowhere = Dropped(job.host.name, bridge.name, Cause.NO_FORWARDING_ENTRY, f"{bridge.name} has no port for {to}")
    return jobs or (ends[0] if ends else nowhere)


def _floods(port: BridgePort, to: HardwareAddress, *, own: bool) -> bool:
    """Whether a frame leaves by a port only because it is for many, or for nobody knows whom (br_flood). What the host
    itself sends to many leaves by every port.
    """
    if not to.is_multicast:
        return port.flood
    return own or (port.broadcast_flood if to == BROADCAST else port.multicast_flood)


def destination_of(packet: Packet) -> HardwareAddress:
    header = packet.headers[0]
    assert isinstance(header, Ethernet)  # noqa: S101  (the caller has looked)
    return header.destination


def _blocked(job: Job, bridge: Link, ingress: Link | None, egress: Link | None) -> str | None:
    """Why a port does not let the frame out; None where it does (should_deliver)."""
    if egress is None or egress.master != bridge.name:
        return f"no such port of {bridge.name}"
    port = _port(job.tables, egress)
    if ingress is not None and ingress.name == egress.name and not port.hairpin:
        return f"it came in by {egress.name}: hairpin off"
    if not port.forwarding:
        return str(port)
    if ingress is not None and port.isolated and _port(job.tables, ingress).isolated:
        return f"{ingress.name} and {egress.name} are isolated"
    if not egress.up:
        return f"{egress.name} is down"
    return None


def _out(run: Run, job: Job, bridge: Link, ingress: Link | None, egress: Link) -> Job | End:
    """By a port."""
    if egress.mtu and job.packet.exceeds(egress.mtu + _SPARE + Ethernet.size):
        size = job.packet.size - Ethernet.size
        return Dropped(job.host.name, egress.name, Cause.TOO_BIG, f"{size} bytes, and {egress.name} takes {egress.mtu}")
    if ingress is not None:
        ended = _filtered(run, job, bridge)
        if ended is not None:
            return ended
    return job.at(Stage.FRAME, egress.name)


def _filtered(run: Run, job: Job, bridge: Link) -> End | None:
    """What the filter for IP says to a frame that only crosses the bridge: it is asked where br_netfilter is on."""
    if isinstance(job.packet.headers[1], Arp) or not job.host.ruleset.bases:
        return None
    inner = job.copy(Stage.FRAME, job.host, bridge.name)
    inner.packet = job.packet.without()
    version = inner.packet.ip.version
    name = f"net/bridge/bridge-nf-call-{'iptables' if version == 4 else 'ip6tables'}"
    if job.tables.settings.get(name, "0") == "0":
        return None
    run.is_filtered = True
    device, before = bridge.name, inner.packet
    for hook, iif, oif in (
        (Hook.PREROUTING, device, ""), (Hook.FORWARD, device, device), (Hook.POSTROUTING, device, device),
    ):  # fmt: skip
        ended = netfilter.passes(run, inner, hook, iif=iif, oif=oif)
        if ended is not None:
            return ended
    if inner.packet != before:
        raise Unpredictable("a frame that crosses the bridge is translated")
    job.trail = inner.trail
    return None
