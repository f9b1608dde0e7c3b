"""What the kernel holds now, as a `State`: everything of a network namespace that nankeen knows the kind of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from nankeen.kernel import sysctl, wireguard, xfrm
from nankeen.kernel.namespace import Namespace, entered
from nankeen.kernel.netlink import address, everyentry, everyroute, link, linkfacts, neighbour, route, rule
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.observed import BridgeEntry, OtherRoute
from nankeen.model.state import Address, Device, ForwardingEntry, Neighbour, Object, Route, State, Sysctl


def observe(
    socket: NetlinkSocket,
    sysctls: Iterable[str] = (),
    namespace: Namespace | None = None,
    *,
    policies: bool = False,
) -> State:
    """Links, addresses, permanent neighbours and forwarding entries, routes, WireGuard's devices and peers, and what is
    asked for: those sysctls, and IPsec's policies, for which the kernel may load a module (see `Claim.policies`).

    `namespace` is where the sysctls are read, the caller's own by default. Raises `KernelError`.
    """
    links = [body for kind, body in socket.dump(link.dump()) if kind == link.RTM_NEWLINK]
    names = dict(link.index_and_name(body) for body in links)
    devices = [link.parse(body, names) for body in links]
    objects: list[Object] = [*devices]
    objects += _addresses(socket, names)
    objects += _neighbours(socket, names)
    objects += _routes(socket, names)
    objects += wireguard.observe(socket, [device.name for device in devices if device.kind == Device("wireguard")])
    objects += xfrm.observe(socket) if policies else []
    objects += _sysctls(sysctls, namespace)
    return State(objects)


def observe_all(socket: NetlinkSocket, namespace: Namespace | None = None, *, settings: bool = True) -> State:
    """Everything that decides what becomes of a packet, kinds that nobody desires included: what changes by itself, all
    types of routes, rules, and the settings of every device. It costs several times what `observe` does.

    `namespace` is that of the socket, the caller's own by default; `settings` may be left out. Raises `KernelError`.
    """
    links = [body for kind, body in socket.dump(link.dump()) if kind == link.RTM_NEWLINK]
    names = dict(link.index_and_name(body) for body in links)
    devices = [link.parse(body, names) for body in links]
    objects: list[Object] = [*devices, *(facts for body in links for facts in linkfacts.parse(body))]
    objects += _addresses(socket, names)
    objects += _every_entry(socket, names)
    objects += _every_route(socket, names)
    objects += filter(None, (rule.parse(body) for _, body in socket.dump(rule.dump())))
    objects += wireguard.observe(socket, [device.name for device in devices if device.kind == Device("wireguard")])
    objects += xfrm.observe(socket)
    objects += _sysctls(_settings(names.values()), namespace) if settings else []
    return State(objects)


def observe_addresses(socket: NetlinkSocket) -> State:
    """Links and addresses alone, which costs a fraction of what `observe` does. Raises `KernelError`."""
    links = [body for kind, body in socket.dump(link.dump()) if kind == link.RTM_NEWLINK]
    names = dict(link.index_and_name(body) for body in links)
    return State([*(link.parse(body, names) for body in links), *_addresses(socket, names)])


def unannounced(socket: NetlinkSocket, namespace: Namespace | None = None) -> State:
    """Of what `observe_all` reads, that of whose changes the kernel gives no news: IPsec's policies and some settings.
    Raises `KernelError`.
    """
    return State([*xfrm.observe(socket), *_sysctls(_settings(names(socket).values(), _UNANNOUNCED), namespace)])


def indexes(socket: NetlinkSocket, devices: Iterable[str] | None = None) -> dict[str, int]:
    """The interface index of each device, by name; of those devices only, where some are named and stand."""
    if devices is None:
        return {name: index for index, name in names(socket).items()}
    return {name: index for name in devices if (index := socket.index(name)) is not None}


def names(socket: NetlinkSocket) -> dict[int, str]:
    """The name of each device, by interface index."""
    return dict(link.index_and_name(body) for kind, body in socket.dump(link.dump()) if kind == link.RTM_NEWLINK)


def _addresses(socket: NetlinkSocket, names: dict[int, str]) -> Iterator[Address]:
    for _, body in socket.dump(address.dump()):
        found = address.parse(body, names)
        if found is not None:
            yield found


def _neighbours(socket: NetlinkSocket, names: dict[int, str]) -> Iterator[Neighbour | ForwardingEntry]:
    flooded = set()
    for request in (neighbour.dump(), neighbour.dump_forwarding()):
        for _, body in socket.dump(request):
            found = neighbour.parse(body, names)
            if isinstance(found, ForwardingEntry) and (found.address.is_zero or found.address.is_multicast):
                if found.identity in flooded:  # only such addresses have several destinations; they are never ours
                    continue
                flooded.add(found.identity)
            if found is not None:
                yield found


def _routes(socket: NetlinkSocket, names: dict[int, str]) -> Iterator[Route]:
    seen = set()
    for _, body in socket.dump(route.dump()):
        found = route.parse(body, names)
        if found is not None and found.identity not in seen:  # IPv6 lists next hops of one route one by one
            seen.add(found.identity)
            yield found


def _every_entry(socket: NetlinkSocket, names: dict[int, str]) -> Iterator[everyentry.Entry]:
    """Of several entries for one address, the first is a `ForwardingEntry` and the others stand beside it."""
    seen = set()
    for request in (neighbour.dump(), neighbour.dump_forwarding()):
        for _, body in socket.dump(request):
            found = everyentry.parse(body, names)
            if isinstance(found, ForwardingEntry) and found.identity in seen:
                found = BridgeEntry(found.device, found.address, destination=found.destination, static=True)
            if found is not None:
                seen.add(found.identity)
                yield found


def _every_route(socket: NetlinkSocket, names: dict[int, str]) -> Iterator[Route | OtherRoute]:
    seen = set()
    for _, body in socket.dump(route.dump()):
        found = everyroute.parse(body, names)
        if found is not None and found.identity in seen:
            found = everyroute.whole(body, names)
        if found is not None:
            seen.add(found.identity)
            yield found


_DEVICE_SETTINGS = {
    4: (
        "forwarding", "rp_filter", "accept_local", "route_localnet", "arp_ignore", "arp_filter", "proxy_arp",
        "ignore_routes_with_linkdown",
    ),
    6: ("forwarding", "disable_ipv6", "proxy_ndp", "ignore_routes_with_linkdown"),
}  # fmt: skip
_HOST_SETTINGS = ("net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables")


_UNANNOUNCED = {4: ("accept_local", "route_localnet", "arp_ignore", "arp_filter", "proxy_arp"), 6: ("disable_ipv6",)}
"""Those of which there is no RTM_NEWNETCONF (linux/netconf.h)."""


def _settings(devices: Iterable[str], settings: Mapping[int, Sequence[str]] = _DEVICE_SETTINGS) -> Iterator[str]:
    """The settings that have a say in what becomes of packets."""
    yield from _HOST_SETTINGS
    for device in ("all", *devices):
        for version, names in settings.items():
            yield from (f"net/ipv{version}/conf/{device}/{name}" for name in names)


def _sysctls(paths: Iterable[str], namespace: Namespace | None) -> Iterator[Sysctl]:
    wanted = list(paths)
    if not wanted:
        return
    with entered(namespace):
        found = [(path, sysctl.read(path)) for path in wanted]
    for path, value in found:
        if value is not None:
            yield Sysctl(path, value)
