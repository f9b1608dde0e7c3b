"""A packet inside of another, on its way from a tunnel's device: the second look at the routes."""

from __future__ import annotations

from nankeen.forwarding.hop import Cause, Consulted, Dropped, End
from nankeen.forwarding.job import Job, Stage
from nankeen.forwarding.packet import Header, Ip
from nankeen.forwarding.route import Query, lookup, source_for
from nankeen.model.address import IPAddress
from nankeen.model.state import Link

_NESTED = 24
"""Headers of one packet: a tunnel that leads into itself has no end."""


def wrap(
    job: Job, link: Link, local: IPAddress | None, peer: IPAddress, headers: tuple[Header, ...], *, via: str = "",
    dont_fragment: bool = False,
) -> Job | End:  # fmt: skip
    """The packet inside of an outer one and the other headers, routed. Raises `Unpredictable`."""
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


def no_tunnel(job: Job, why: str) -> End:
    """The end of a tunnel's packet that no device takes."""
    return Dropped(job.host.name, job.device, Cause.NO_TUNNEL, why)
