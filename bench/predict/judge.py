"""What was predicted of a packet, held against what became of it."""

from __future__ import annotations

import errno

from bench.predict.packets import Case
from bench.predict.wire import Complaint, Fate
from nankeen.forwarding import Answered, Delivered, Dropped, Unknown, Walk, World, walk_back
from nankeen.forwarding.packet import IcmpKind

_WITHIN = {
    errno.ENETUNREACH: {IcmpKind.NO_ROUTE},
    errno.EHOSTUNREACH: {IcmpKind.HOST_UNREACHABLE, IcmpKind.NO_ROUTE, IcmpKind.PORT_UNREACHABLE},
    errno.EACCES: {IcmpKind.PROHIBITED},
    errno.EMSGSIZE: {IcmpKind.TOO_BIG},
}
"""What a host tells its own sender, without a packet."""


def mismatch(world: World, case: Case, walked: Walk, fate: Fate) -> str | None:
    """In words; None where all is as predicted, or nothing was."""
    end = walked.end
    if isinstance(end, Unknown):
        return None
    wrong = _arrival(walked, fate) or _told(world, case, walked, fate)
    return f"predicted {end}; {wrong}" if wrong else None


def _arrival(walked: Walk, fate: Fate) -> str | None:
    end, hosts = walked.end, [arrival.host for arrival in fate.arrivals]
    if not isinstance(end, Delivered):
        return f"in truth delivered to {', '.join(map(str, fate.arrivals))}" if hosts else None
    found = [arrival for arrival in fate.arrivals if arrival.host == end.host]
    if not found:
        return f"in truth {fate}"
    if len(found) != 1 or (len(hosts) != 1 and not _is_for_many(walked)):
        return f"in truth delivered {len(hosts)} times, to {', '.join(hosts)}"
    header, arrived = walked.last.ip, found[0]
    told = (header.source, header.destination, header.ttl, walked.last.payload)
    seen = (arrived.source, arrived.destination, arrived.ttl, arrived.payload)
    if told != seen:
        return f"in truth it came as {arrived}, not as {walked.last}"
    return None


def _is_for_many(walked: Walk) -> bool:
    to = walked.packet.ip.destination
    return to.is_multicast or str(to).endswith(".255")


def _told(world: World, case: Case, walked: Walk, fate: Fate) -> str | None:
    end = walked.end
    if isinstance(end, Answered):
        return _answer(world, case, walked, end, fate)
    heard = [each for each in fate.complaints if not _says_nobody_listens(each, case)]
    if heard:
        return f"in truth its sender was told {heard}"
    if fate.errno and not isinstance(end, Dropped):
        return f"in truth it was not sent: {errno.errorcode.get(fate.errno, fate.errno)}"
    return None


def _says_nobody_listens(complaint: Complaint, case: Case) -> bool:
    """What a host answers to a packet that has arrived: nobody has opened the port."""
    ports = IcmpKind.PORT_UNREACHABLE.number(case.to.version)
    return complaint.number == ports or (case.protocol == "tcp" and complaint.number == (0, 0))


def _answer(world: World, case: Case, walked: Walk, end: Answered, fate: Fate) -> str | None:
    if fate.errno:
        kinds = _WITHIN.get(fate.errno, set())
        if end.host == case.host and (end.error in kinds or fate.errno == errno.EPERM):
            return None
        return f"in truth it was not sent: {errno.errorcode.get(fate.errno, fate.errno)}"
    back = walk_back(world, walked)
    expected = isinstance(back.end, Delivered) and back.end.host == case.host
    if not fate.complaints:
        return f"in truth silence; of its answer was predicted: {back.end}" if expected else None
    if isinstance(back.end, Unknown):
        return None
    if not expected:
        return f"in truth {fate.complaints}; of the answer was predicted: {back.end}"
    wanted = (0, 0) if end.reset else end.error.number(case.to.version)
    heard = fate.complaints[0]
    if heard.number != wanted or (not end.reset and heard.mtu != end.mtu):
        return f"in truth {heard}, not {wanted} mtu {end.mtu}"
    if heard.source != back.last.ip.source:
        return f"in truth {heard}, not from {back.last.ip.source}"
    return None
