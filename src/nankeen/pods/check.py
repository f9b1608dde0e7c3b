"""CHECK: whether an attachment still is what its ADD answered, and if not, all that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nankeen.cni.config import PluginConfig
from nankeen.cni.error import CniError, Code
from nankeen.cni.request import Attachment, Request
from nankeen.cni.result import Result, ResultRoute
from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink import link
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.observe import observe
from nankeen.model.address import HardwareAddress, IPAddress
from nankeen.model.state import Address, Bridge, Link, Route, State, Veth
from nankeen.pods.attach import find
from nankeen.pods.holders import Holder
from nankeen.pods.interface import host_name

_SHOWN = 10
"""Faults that are told at most."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What has to stand."""

    interface: str
    host_name: str
    bridge: str
    mtus: frozenset[int]
    """Of the pod's end. Any of these will do: what ADD answered, and what the agent has given since to pods that run.
    None where the result, of a version before 1.1.0, tells of none: a chained plugin may have set another.
    """
    host_mtus: frozenset[int]
    """The same of the node's end, which no chained plugin sets."""
    addresses: frozenset[str]
    routes: tuple[ResultRoute, ...]
    hardware_address: HardwareAddress | None
    host_hardware_address: HardwareAddress | None


@dataclass(frozen=True, slots=True)
class Found:
    """What stands."""

    inside: State
    """In the pod's namespace."""
    port: Link | None
    """The node's end."""
    bridge: Link | None
    are_a_pair: bool
    """Whether the node's end is that of the pod's interface."""


def expect(request: Request, config: PluginConfig, previous: Result, mtu: int | None) -> Expected:
    """What has to stand for a request with its previous result; `mtu` is that of the node's pods now, if known."""
    name = host_name(config.name, request.attachment, config.bridge)
    inside = next((item for item in previous.interfaces if item.sandbox and item.name == request.interface), None)
    ports = {item.name: item for item in previous.interfaces if not item.sandbox}
    # A pod that flannel's plugins attached: their name of the node's end is in their result alone.
    ends = [name] if name in ports or not ports else [item for item in ports if item != config.bridge]
    port = ports.get(ends[0]) if ends else None
    index = previous.interfaces.index(inside) if inside else None
    return Expected(
        interface=request.interface,
        host_name=ends[0] if ends else name,
        bridge=config.bridge,
        mtus=_mtus(inside.mtu, mtu) if inside and inside.mtu else frozenset(),
        host_mtus=_mtus(port.mtu if port and port.mtu else config.mtu, mtu),
        addresses=frozenset(str(item.address) for item in previous.addresses if item.interface in (None, index)),
        routes=previous.routes,
        hardware_address=inside.address if inside else None,
        host_hardware_address=port.address if port else None,
    )


def _mtus(*known: int | None) -> frozenset[int]:
    return frozenset(mtu for mtu in known if mtu)


def look(expected: Expected, pod: Namespace) -> Found:
    """Reads what stands. Raises `KernelError`."""
    with NetlinkSocket() as node, NetlinkSocket(pod) as there:
        bodies = {name: find(node, name) for name in (expected.host_name, expected.bridge)}
        names = {link.index_and_name(body)[0]: name for name, body in bodies.items() if body}
        own, inner = bodies[expected.host_name], find(there, expected.interface)
        return Found(
            inside=observe(there),
            port=link.parse(own, names) if own else None,
            bridge=link.parse(body, names) if (body := bodies[expected.bridge]) else None,
            are_a_pair=own is not None
            and inner is not None
            and link.peer_index(inner) == link.index_and_name(own)[0]
            and link.peer_index(own) == link.index_and_name(inner)[0],
        )


def refuse(faults: Iterable[str]) -> None:
    """Raises `CniError` that tells the faults, where there are any."""
    found = list(faults)
    if found:
        told = "; ".join(found[:_SHOWN]) + (f"; and {len(found) - _SHOWN} more" if found[_SHOWN:] else "")
        raise CniError(Code.NOT_AS_ADDED, told, where="CHECK", remedy="DEL and ADD make it anew")


def faults(expected: Expected, found: Found) -> Iterator[str]:
    """All that is wrong, in words."""
    name = expected.interface
    standing = found.inside.get((Link, name))
    if not isinstance(standing, Link):
        yield f"the pod has no interface {name}"
    else:
        yield from _link_faults(f"the pod's {name}", standing, expected.mtus, expected.hardware_address)
        yield from _inner_faults(expected, found.inside)
    yield from _node_faults(expected, found)


def reservation_faults(expected: Expected, request: Request, holders: Iterable[Holder]) -> Iterator[str]:
    """Addresses that the pod has and does not hold in the store."""
    own = request.attachment, Attachment(request.container, "")
    held = {str(item.address) for item in holders if item.attachment in own}
    for text in sorted(expected.addresses):
        address = text.partition("/")[0]
        if address not in held:
            yield f"{address} is not reserved for the pod"


def _link_faults(what: str, found: Link, mtus: frozenset[int], address: HardwareAddress | None) -> Iterator[str]:
    if found.kind != Veth():
        yield f"{what} is no veth"
    if not found.up:
        yield f"{what} is down"
    if mtus and found.mtu not in mtus:
        yield f"{what} has MTU {found.mtu}, not {' or '.join(map(str, sorted(mtus)))}"
    if address is not None and found.address != address:
        yield f"{what} has hardware address {found.address}, not {address}"


def _inner_faults(expected: Expected, inside: State) -> Iterator[str]:
    addresses = {str(item.interface) for item in inside.of(Address) if item.device == expected.interface}
    for address in sorted(expected.addresses - addresses):
        yield f"the pod's {expected.interface} has no address {address}"
    routes = [item for item in inside.of(Route) if item.device == expected.interface]
    for wanted in expected.routes:
        if not any(_is_route(item, wanted) for item in routes):
            yield f"the pod has no route to {wanted.destination}{_by(wanted.gateway)}"


def _node_faults(expected: Expected, found: Found) -> Iterator[str]:
    name, port = expected.host_name, found.port
    if found.bridge is None or found.bridge.kind != Bridge():
        yield f"the node has no bridge {expected.bridge}"
    elif not found.bridge.up:
        yield f"the bridge {expected.bridge} is down"
    if port is None:
        yield f"the node has no {name}"
        return
    yield from _link_faults(f"the node's {name}", port, expected.host_mtus, expected.host_hardware_address)
    if port.master != expected.bridge:
        yield f"the node's {name} is no port of {expected.bridge}"
    if not found.are_a_pair:
        yield f"the node's {name} is not the other end of the pod's {expected.interface}"


def _is_route(found: Route, wanted: ResultRoute) -> bool:
    return (
        found.destination == wanted.destination
        and wanted.gateway in (None, found.gateway)
        and wanted.table in (None, found.table)
        and wanted.priority in (None, found.metric)
    )


def _by(gateway: IPAddress | None) -> str:
    return f" by {gateway}" if gateway else ""
