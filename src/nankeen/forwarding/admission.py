"""Whether a host takes a packet in from a device, by its addresses: martians and reverse path filtering.

IPv4 only: ip_route_input_slow and fib_validate_source of net/ipv4; RFC 3704 for strict and loose. IPv6 has but the few
words of ip6_rcv_core.
"""

from __future__ import annotations

from dataclasses import dataclass

from nankeen.forwarding.hop import Cause
from nankeen.forwarding.packet import Ip
from nankeen.forwarding.route import EVERYBODY, Decision, Query, lookup
from nankeen.forwarding.tables import Tables
from nankeen.model.observed import RouteType

_STRICT = 1
_EVERYBODY = Decision(RouteType.BROADCAST, "", None, None, "broadcast 255.255.255.255", is_local=True)
"""No table has it: a packet to all on the link is always for the host, too."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a packet is not taken in; `entry` is the line that says so."""

    cause: Cause
    entry: object


@dataclass(frozen=True, slots=True)
class _Admission:
    """What the tables say of a packet that comes in: they say it of every one with the same addresses."""

    decision: Decision | None
    refusal: Refusal | None


def admitted(tables: Tables, header: Ip, device: str, mark: int) -> tuple[Decision | None, Refusal | None]:
    """Where a packet with that header, come in by the device, is to go, and why it is not taken in at all if it is not.
    Raises `Unpredictable`.
    """
    key = (header.source, header.destination, device, mark)
    found = tables.remembered.get(key)
    if not isinstance(found, _Admission):
        decision = _decision(tables, header, device, mark)
        found = _Admission(decision, refused(tables, header, device, mark) if decision is not None else None)
        tables.remember(key, found)
    return found.decision, found.refusal


def _decision(tables: Tables, header: Ip, device: str, mark: int) -> Decision | None:
    if header.destination == EVERYBODY:
        return _EVERYBODY
    strict = device if header.version == 6 and header.destination.is_link_local else ""
    return lookup(tables, header.destination, Query(header.source, device, strict, mark))


def refused(tables: Tables, header: Ip, device: str, mark: int = 0) -> Refusal | None:
    """Why a packet with that header is not taken in from the device; None where it is. Raises `Unpredictable`."""
    if header.version == 6:
        return _refused6(tables, header, device)
    source, destination = header.source, header.destination
    if source.is_multicast or int(source) == 0xFFFF_FFFF or int(source) >> 24 == 0:
        return Refusal(Cause.MARTIAN_SOURCE, source)
    if int(destination) >> 24 == 0:
        return Refusal(Cause.MARTIAN_DESTINATION, destination)
    if source.is_loopback or destination.is_loopback:
        return _loopback(tables, header, device)
    return _validated(tables, header, device, mark)


def _refused6(tables: Tables, header: Ip, device: str) -> Refusal | None:
    if tables.settings.get(f"net/ipv6/conf/{device}/disable_ipv6", "0") != "0":
        return Refusal(Cause.NOT_FOR_IP, f"net.ipv6.conf.{device}.disable_ipv6 = 1")
    if header.source.is_multicast or (header.source.is_loopback and device != "lo"):
        return Refusal(Cause.MARTIAN_SOURCE, header.source)
    if header.destination.is_loopback and device != "lo":
        return Refusal(Cause.MARTIAN_DESTINATION, header.destination)
    return None


def _loopback(tables: Tables, header: Ip, device: str) -> Refusal | None:
    if device == "lo" or tables.either(4, device, "route_localnet"):
        return None
    if header.destination.is_loopback:
        return Refusal(Cause.MARTIAN_DESTINATION, header.destination)
    return Refusal(Cause.MARTIAN_SOURCE, header.source)


def _validated(tables: Tables, header: Ip, device: str, mark: int) -> Refusal | None:
    """fib_validate_source."""
    if device == "lo":
        return None
    mode, accept_local = tables.either(4, device, "rp_filter"), tables.either(4, device, "accept_local")
    if mode == 0 and (accept_local or not tables.has_own_rules[4]):
        if not accept_local and tables.holds(header.source):
            return Refusal(Cause.MARTIAN_SOURCE, f"{header.source} is an address of the host itself")
        return None
    back = lookup(tables, header.source, Query(header.destination, device, "", mark))
    if back is None or not back.device:
        return Refusal(Cause.REVERSE_PATH, f"no route to {header.source}") if mode else None
    if back.type is not RouteType.UNICAST and not (back.type is RouteType.LOCAL and accept_local):
        return Refusal(Cause.MARTIAN_SOURCE, back.shown)
    if back.device == device:
        return None
    has_address = any(address.interface.version == 4 for address in tables.addresses.get(device, ()))
    if mode and (mode == _STRICT or not has_address):
        return Refusal(Cause.REVERSE_PATH, back.shown)
    return None
