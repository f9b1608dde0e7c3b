"""A damage done to a ring, and made good again: undone, and what went with it brought back."""

from __future__ import annotations

from contextlib import suppress

from bench.predict.arena import Ring
from bench.predict.damage import Damage
from nankeen.forwarding import World
from nankeen.kernel.world import survey
from nankeen.model.errors import NankeenError
from nankeen.model.state import Address, ForwardingEntry, Link, Neighbour, Object, Route, State

_REAL = (Link, Address, Neighbour, ForwardingEntry, Route)
"""Kinds of which nothing comes and goes by itself, in the order in which they are brought back."""


def done(ring: Ring, damage: Damage) -> None:
    """Raises `NankeenError` where it cannot be done."""
    if damage.host:
        ring.run(damage.host, damage.do)


def made_good(ring: Ring, damage: Damage, sound: World) -> list[str]:
    """Undone, and what went with it brought back. What is still otherwise then, in words."""
    if not damage.host:
        return []
    if damage.undo:
        with suppress(NankeenError):  # what is there to undo may have gone with a device; what counts is looked at
            ring.run(damage.host, damage.undo)
    for _ in range(3):  # a device that comes up brings routes, and takes none of ours
        missing, _ = _differences(ring, damage.host, sound)
        if not missing:
            break
        for item in missing:
            with suppress(NankeenError):  # one may need another; each is looked for again
                ring.run(damage.host, _again(item))
    ring.hurry(damage.host)
    missing, extra = _differences(ring, damage.host, sound)
    return [*(f"missing: {item}" for item in missing), *(f"left over: {item}" for item in extra)]


def _differences(ring: Ring, host: str, sound: World) -> tuple[list[Object], list[Object]]:
    """What is missing of the sound host, in the order in which it is to be brought back; and what is too much.
    Link-local addresses come by themselves.
    """
    now, then = (
        {item for item in world.hosts[host].state or State() if isinstance(item, _REAL) and "fe80::" not in str(item)}
        for world in (survey({host: ring.namespaces[host]}), sound)
    )
    return sorted(then - now, key=lambda item: (_REAL.index(type(item)), str(item))), sorted(now - then, key=str)


def _again(item: Object) -> str:
    match item:
        case Link():
            return f"ip link set {item.name} {'up' if item.up else 'down'} mtu {item.mtu}"
        case Address():
            return f"ip address replace {item.interface} dev {item.device}{' nodad' * (item.interface.version == 6)}"
        case Neighbour():
            return f"ip neigh replace {item.destination} lladdr {item.address} dev {item.device} nud permanent"
        case ForwardingEntry():
            return f"bridge fdb replace {item.address} dev {item.device} dst {item.destination} self permanent"
    return f"ip -{item.destination.version if isinstance(item, Route) else 4} route replace {item}"
