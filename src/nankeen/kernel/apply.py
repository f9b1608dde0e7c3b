"""Making the kernel equal to a wish: the changes of a diff, sent in a few batches.

Links come first, because what hangs on them needs their interface index; TUN devices are made by an ioctl. A new link
is set up only when its sysctls and addresses stand: an interface that is up for a moment without `accept_ra=0` can
already be led astray. IPsec policies come before everything that they protect, and go after it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

from nankeen.kernel import sysctl, tun, wireguard, xfrm
from nankeen.kernel.namespace import Namespace, entered
from nankeen.kernel.netlink import address, link, neighbour, route
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.observe import indexes
from nankeen.kernel.steps import Indexes, Refusal, Step, send
from nankeen.model.diff import Change, Verb
from nankeen.model.errors import KernelError
from nankeen.model.state import Address, ForwardingEntry, Link, Neighbour, Object, Route, Sysctl, Tun, Vxlan
from nankeen.model.wireguard import WireguardDevice, WireguardPeer
from nankeen.model.xfrm import XfrmPolicy

__all__ = ["Refusal", "apply", "apply_or_raise"]

_WIREGUARD = (WireguardDevice, WireguardPeer)
_ROUTING = (Link, Address, Neighbour, ForwardingEntry, Route)
"""What goes by rtnetlink."""


def apply(socket: NetlinkSocket, changes: Sequence[Change], namespace: Namespace | None = None) -> list[Refusal]:
    """Makes the changes, in order, and returns those that the kernel refused; what depends on them is refused too.

    `namespace` is where sysctls are written, the caller's own by default. Raises `KernelError` where the kernel cannot
    be talked to at all.
    """
    if not changes:
        return []
    refused = xfrm.apply(socket, [change for change in changes if _builds(change, XfrmPolicy)])
    changes, withheld = _withhold(changes, refused)
    refused += withheld
    changes, unmade = _make_tuns(socket, changes, namespace)
    refused += unmade
    devices = _devices(changes)
    before = indexes(socket, devices)
    refused += send(socket, [step for change in changes for step in _link_steps(change)], before)
    now = indexes(socket, devices) if any(isinstance(change.object, Link) for change in changes) else before
    refused += wireguard.apply(socket, [change for change in changes if _builds(change, _WIREGUARD)])
    refused += _write_sysctls(changes, namespace)
    refused += _retry_by_host_route(socket, send(socket, _building(changes), now), now)
    removals = [change for change in changes if _removes(change, _ROUTING)]
    refused += send(socket, [Step(change, _encode_removal(change.object)) for change in removals], now)
    refused += wireguard.apply(socket, [change for change in changes if _removes(change, _WIREGUARD)])
    return refused + xfrm.apply(socket, [change for change in changes if _removes(change, XfrmPolicy)])


def apply_or_raise(socket: NetlinkSocket, changes: Sequence[Change], namespace: Namespace | None = None) -> None:
    """Makes all the changes; raises `KernelError` with the first that the kernel refused."""
    for refusal in apply(socket, changes, namespace):
        raise KernelError(refusal.reason, where=str(refusal.change.object), errno=refusal.errno)


def _withhold(changes: Sequence[Change], refused: Sequence[Refusal]) -> tuple[list[Change], list[Refusal]]:
    """Parts the changes from the routes whose packets a refused policy should have protected: they would leave in the
    clear.
    """
    unprotected = {item.destination for refusal in refused if isinstance(item := refusal.change.object, XfrmPolicy)}
    kept: list[Change] = []
    withheld: list[Refusal] = []
    for change in changes:
        wanted = change.object
        if isinstance(wanted, Route) and wanted.destination in unprotected and change.verb is not Verb.REMOVE:
            withheld.append(Refusal(change, errno.EPERM, "no policy of IPsec protects its packets"))
        else:
            kept.append(change)
    return kept, withheld


def _make_tuns(
    socket: NetlinkSocket, changes: Sequence[Change], namespace: Namespace | None
) -> tuple[list[Change], list[Refusal]]:
    """Makes the TUN devices, which are not made by a message, and parts the changes from those that failed."""
    kept: list[Change] = []
    refused: list[Refusal] = []
    for change in changes:
        try:
            if isinstance(change.object, Link) and isinstance(change.object.kind, Tun) and _is_new_link(change):
                tun.make(socket, change.object, namespace, replaces=change.recreates)
            kept.append(change)
        except KernelError as error:
            refused.append(Refusal(change, error.errno, str(error)))
    return kept, refused


def _devices(changes: Sequence[Change]) -> set[str]:
    """Every device that the changes are about, or refer to."""
    found: set[str] = set()
    for change in changes:
        match change.object:
            case Link(name=name, kind=kind, master=master):
                underlay = kind.underlay if isinstance(kind, Vxlan) else None
                found |= {device for device in (name, master, underlay) if device}
            case item if item.device:
                found.add(item.device)
    return found


def _is_new_link(change: Change) -> bool:
    return isinstance(change.object, Link) and (change.verb is Verb.ADD or change.recreates)


def _builds(change: Change, kinds: type | tuple[type, ...]) -> bool:
    return change.verb is not Verb.REMOVE and isinstance(change.object, kinds)


def _removes(change: Change, kinds: type | tuple[type, ...]) -> bool:
    return change.verb is Verb.REMOVE and isinstance(change.object, kinds)


def _link_steps(change: Change) -> list[Step]:
    """A link is made down; one that must be made anew is removed first."""
    wanted = change.object
    if not isinstance(wanted, Link) or change.verb is Verb.REMOVE:
        return []
    observed = change.observed
    if isinstance(observed, Link) and not change.recreates:
        return [Step(change, lambda indexes: link.change(wanted, observed, indexes))]
    if isinstance(wanted.kind, Tun):
        return [Step(change, lambda indexes: link.change(replace(wanted, up=False), wanted, indexes))]
    create = Step(change, lambda indexes: link.create(wanted, indexes))
    if change.recreates:
        return [Step(change, lambda indexes: link.remove(indexes[wanted.name])), create]
    return [create]


def _building(changes: Sequence[Change]) -> list[Step]:
    """What hangs on the links. New ones are set up in between: they have their addresses then, and can carry routes."""
    new = [(change, change.object) for change in changes if isinstance(change.object, Link) and _is_new_link(change)]
    return [
        *(Step(change, _encode_addition(change.object)) for change in changes if _builds(change, Address)),
        *(Step(change, _encode_up(wanted.name)) for change, wanted in new if wanted.up),
        *(
            Step(change, _encode_addition(change.object))
            for change in changes
            if _builds(change, (Neighbour, ForwardingEntry, Route))
        ),
    ]


def _encode_up(name: str) -> Callable[[Indexes], bytes]:
    return lambda indexes: link.set_up(indexes[name])


def _encode_addition(item: Object) -> Callable[[Indexes], bytes]:
    match item:
        case Address():
            return lambda indexes: address.add(item, indexes)
        case Neighbour() | ForwardingEntry():
            return lambda indexes: neighbour.add(item, indexes)
        case Route():
            return lambda indexes: route.add(item, indexes)
        case _:
            raise TypeError(f"{item} is not added by a message of its own")


def _encode_removal(item: Object) -> Callable[[Indexes], bytes]:
    match item:
        case Link():
            return lambda indexes: link.remove(indexes[item.name])
        case Address():
            return lambda indexes: address.remove(item, indexes)
        case Neighbour() | ForwardingEntry():
            return lambda indexes: neighbour.remove(item, indexes)
        case Route():
            return lambda indexes: route.remove(item, indexes)
        case _:
            raise TypeError(f"{item} cannot be removed")


def _retry_by_host_route(socket: NetlinkSocket, refused: Sequence[Refusal], indexes: Indexes) -> list[Refusal]:
    """Tries the on-link IPv6 routes among the refused again, and returns what is refused still.

    Linux takes no next hop that lies behind another device by a route that stands, `onlink` or not
    (ip6_route_check_nh_onlink in net/ipv6/route.c): pods that were reached plainly, and now by a tunnel. A host route
    to the next hop stands in until the old route is replaced, so that at no moment there is none.
    """
    left: list[Refusal] = []
    hosts: list[Route] = []
    again: list[Change] = []
    for refusal in refused:
        match refusal:
            case Refusal(
                change=Change(object=Route(onlink=True, gateway=IPv6Address() as hop) as wanted), errno=errno.EINVAL
            ):
                hosts.append(Route(IPv6Network(hop), wanted.device))
                again.append(refusal.change)
            case _:
                left.append(refusal)
    steps = [
        *(Step(Change(Verb.ADD, host), _encode_addition(host)) for host in hosts),
        *(Step(change, _encode_addition(change.object)) for change in again),
        *(Step(Change(Verb.REMOVE, host), _encode_removal(host)) for host in hosts),
    ]
    return left + send(socket, steps, indexes)


def _write_sysctls(changes: Sequence[Change], namespace: Namespace | None) -> list[Refusal]:
    wanted = [(change, change.object) for change in changes if isinstance(change.object, Sysctl)]
    if not wanted:
        return []
    refused: list[Refusal] = []
    with entered(namespace):
        for change, setting in wanted:
            try:
                sysctl.write(setting.path, setting.value)
            except KernelError as error:
                refused.append(Refusal(change, error.errno, error.problem))
    return refused
