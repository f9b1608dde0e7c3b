"""What somebody may do to a network, drawn at random from what stands in it, and what undoes it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_network

from nankeen.forwarding import Host, World
from nankeen.model.address import IPNetwork
from nankeen.model.observed import OtherRoute
from nankeen.model.state import Address, ForwardingEntry, Link, Neighbour, Object, Route, State, Veth, Vxlan

_TABLE = "predict"
_WRONG = "02:00:00:00:00:77"
_MTUS = (1280, 1300, 1380, 1400)


@dataclass(frozen=True, slots=True)
class Damage:
    """Commands on one host."""

    kind: str
    host: str = ""
    do: str = ""
    undo: str = ""
    """What the restoration of what is missing does not bring back."""

    def __str__(self) -> str:
        return f"{self.host}: {self.do}" if self.host else "nothing"


SOUND = Damage("none")


def drawn(chance: random.Random, world: World, hosts: tuple[str, ...]) -> Damage:
    """Any damage that can be done to one of those hosts."""
    while True:
        kind = chance.choice(tuple(KINDS))
        host = world.hosts[chance.choice(hosts)]
        found = KINDS[kind](chance, host)
        if found is not None:
            do, undo = found
            return Damage(kind, host.name, do, undo)


_Drawn = tuple[str, str] | None


def _one(chance: random.Random, items: Iterable[Object]) -> Object | None:
    found = sorted(items, key=_place)
    return chance.choice(found) if found else None


def _place(item: Object) -> str:
    """What orders the items alike in every lab of the same plan: names and hardware addresses are made up anew."""
    return str(item.destination) if isinstance(item, Neighbour | ForwardingEntry) else ""


def _routes(host: Host) -> list[Route]:
    return [route for route in _state(host).of(Route) if not route.blackhole and route.device not in ("", "lo")]


def _state(host: Host) -> State:
    return host.state or State()


def _no_route(chance: random.Random, host: Host) -> _Drawn:
    route = _one(chance, _routes(host))
    return (f"ip {_six(route)} route del {route}", "") if isinstance(route, Route) else None


def _six(item: Object | None) -> str:
    return "-6" if isinstance(item, Route | OtherRoute) and item.destination.version == 6 else "-4"


def _other_route(chance: random.Random, host: Host) -> _Drawn:
    """A route to a part of what another leads to: elsewhere, or nowhere."""
    route = _one(chance, _routes(host))
    if not isinstance(route, Route):
        return None
    part = _part(chance, route.destination)
    kind = chance.choice(("blackhole", "unreachable", "prohibit", "throw", "via", "dev"))
    other = _one(chance, [each for each in _routes(host) if each.destination.version == part.version])
    if kind == "dev" and isinstance(other, Route):
        words = f"{part} dev {other.device}"
    elif kind == "via":
        gateways = [each for each in _routes(host) if each.gateway and each.destination.version == part.version]
        other = _one(chance, gateways)
        if not isinstance(other, Route):
            return None
        words = f"{part} via {other.gateway} dev {other.device}{' onlink' if other.onlink else ''}"
    else:
        words = f"{kind} {part}"
    return f"ip {_six(route)} route add {words} metric 1", f"ip {_six(route)} route del {words} metric 1"


def _part(chance: random.Random, network: IPNetwork) -> IPNetwork:
    """An address of the network that somebody may have, or half of it."""
    if network.prefixlen == 0:
        return ip_network("10.244.2.0/24") if network.version == 4 else ip_network("fd00:10:244:2::/64")
    if network.num_addresses > 8 and chance.random() < 0.7:
        return ip_network(network[chance.choice((1, 2, 3, 5, 11, 12))])
    return ip_network((network.network_address, min(network.prefixlen + 1, network.max_prefixlen)))


def _rule(chance: random.Random, host: Host) -> _Drawn:
    address = _one(chance, _global(host))
    if not isinstance(address, Address):
        return None
    six = "-6" if address.interface.version == 6 else "-4"
    end, network = chance.choice(("from", "to")), address.interface.network
    action = chance.choice(("blackhole", "unreachable", "prohibit", "table 77"))
    inverted = "not " if chance.random() < 0.2 else ""
    return (f"ip {six} rule add {inverted}{end} {network} {action} priority 99", f"ip {six} rule del priority 99")


def _global(host: Host) -> list[Address]:
    return [
        address
        for address in _state(host).of(Address)
        if not address.interface.ip.is_link_local and not address.interface.ip.is_loopback
    ]


def _no_neighbour(chance: random.Random, host: Host) -> _Drawn:
    entry = _one(chance, _state(host).of(Neighbour))
    return (f"ip neigh del {entry.destination} dev {entry.device}", "") if isinstance(entry, Neighbour) else None


def _other_neighbour(chance: random.Random, host: Host) -> _Drawn:
    """An entry for a neighbour that is there, or a permanent one where none is needed."""
    route = _one(chance, [route for route in _routes(host) if route.gateway])
    entry = _one(chance, _state(host).of(Neighbour))
    if isinstance(entry, Neighbour) and chance.random() < 0.5:
        words = f"{entry.destination} dev {entry.device}"
        return (f"ip neigh replace {words} lladdr {_WRONG} nud permanent", f"ip neigh del {words}")
    if not isinstance(route, Route):
        return None
    words = f"{route.gateway} dev {route.device}"
    return (f"ip neigh replace {words} lladdr {_WRONG} nud permanent", f"ip neigh del {words}")


def _no_entry(chance: random.Random, host: Host) -> _Drawn:
    entry = _one(chance, _state(host).of(ForwardingEntry))
    if not isinstance(entry, ForwardingEntry):
        return None
    return f"bridge fdb del {entry.address} dev {entry.device} dst {entry.destination}", ""


def _other_entry(chance: random.Random, host: Host) -> _Drawn:
    entries = list(_state(host).of(ForwardingEntry))
    entry = _one(chance, entries)
    if not isinstance(entry, ForwardingEntry):
        return None
    other = _one(chance, [each for each in entries if each.destination.version == entry.destination.version])
    to = other.destination if isinstance(other, ForwardingEntry) and other != entry else entry.destination + 100
    return f"bridge fdb replace {entry.address} dev {entry.device} dst {to} self permanent", ""


def _no_address(chance: random.Random, host: Host) -> _Drawn:
    address = _one(chance, _global(host))
    if not isinstance(address, Address):
        return None
    return f"ip address del {address.interface} dev {address.device}", ""


def _more_address(chance: random.Random, host: Host) -> _Drawn:
    """An address of somebody else's."""
    address = _one(chance, _global(host))
    if not isinstance(address, Address) or address.interface.network.num_addresses < 8:
        return None
    network = address.interface.network
    words = f"{network[chance.choice((1, 2, 3, 11, 12))]}/{network.prefixlen} dev {address.device}"
    if any(words.startswith(f"{other.interface} ") for other in _global(host)):
        return None
    return f"ip address add {words}{' nodad' if network.version == 6 else ''}", f"ip address del {words}"


def _links(host: Host) -> list[Link]:
    return [link for link in _state(host).of(Link) if link.name != "lo"]


def _down(chance: random.Random, host: Host) -> _Drawn:
    link = _one(chance, [link for link in _links(host) if link.up])
    return (f"ip link set {link.name} down", f"ip link set {link.name} up") if isinstance(link, Link) else None


def _gone(chance: random.Random, host: Host) -> _Drawn:
    """A device that is not there any more: only those that can be made again alone."""
    link = _one(chance, [link for link in _links(host) if isinstance(link.kind, Vxlan)])
    if not isinstance(link, Link) or not isinstance(link.kind, Vxlan):
        return None
    vxlan = link.kind
    kind = f"vxlan id {vxlan.vni} dev {vxlan.underlay} local {vxlan.local} dstport {vxlan.port} nolearning"
    return f"ip link del {link.name}", f"ip link add {link.name} address {link.address} mtu {link.mtu} up type {kind}"


def _small(chance: random.Random, host: Host) -> _Drawn:
    link = _one(chance, _links(host))
    if not isinstance(link, Link):
        return None
    return f"ip link set {link.name} mtu {chance.choice(_MTUS)}", f"ip link set {link.name} mtu {link.mtu}"


def _unplugged(chance: random.Random, host: Host) -> _Drawn:
    link = _one(chance, [link for link in _links(host) if link.master])
    if not isinstance(link, Link):
        return None
    return f"ip link set {link.name} nomaster", f"ip link set {link.name} master {link.master}"


def _port(chance: random.Random, host: Host) -> _Drawn:
    link = _one(chance, [link for link in _links(host) if link.master and isinstance(link.kind, Veth)])
    if not isinstance(link, Link):
        return None
    flag = chance.choice(("flood", "bcast_flood", "mcast_flood", "isolated", "hairpin", "learning"))
    words = f"bridge link set dev {link.name} {flag}"
    off = flag in ("isolated", "hairpin")
    return f"{words} {'on' if off else 'off'}", f"{words} {'off' if off else 'on'}"


def _not_forwarding(chance: random.Random, host: Host) -> _Drawn:
    name = chance.choice(("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"))
    path = name.replace(".", "/")
    device = chance.choice([link.name for link in _links(host)])
    settings = host.tables.settings
    if chance.random() < 0.4 and settings.get(f"net/ipv4/conf/{device}/forwarding") == "1":
        name = f"net.ipv4.conf.{device.replace('.', '/')}.forwarding"
    elif settings.get("net/ipv4/conf/all/forwarding" if "ipv4" in path else path) != "1":
        return None
    return f"sysctl -qw {name}=0", f"sysctl -qw {name}=1"


def _strict(chance: random.Random, host: Host) -> _Drawn:
    device = chance.choice(["all", *(link.name for link in _links(host))])
    setting = chance.choice(("rp_filter", "arp_ignore"))
    value = 1 if setting == "arp_ignore" else chance.choice((1, 2))
    was = host.tables.settings.get(f"net/ipv4/conf/{device}/{setting}", "0")
    name = f"net.ipv4.conf.{device.replace('.', '/')}.{setting}"
    return f"sysctl -qw {name}={value}", f"sysctl -qw {name}={was}"


_FATES = ("drop", "drop", "reject", "counter accept", "reject with icmpx type admin-prohibited")


def _filter(chance: random.Random, host: Host) -> _Drawn:
    """A filter of one or two rules, at any hook."""
    hook = chance.choice(("forward", "forward", "forward", "input", "output", "prerouting", "postrouting"))
    fates = ("drop", "counter accept") if hook in ("prerouting", "postrouting") else _FATES
    rules = " ; ".join(f"{_condition(chance, host)} {chance.choice(fates)}" for _ in range(chance.randint(1, 2)))
    chain = f"chain c {{ type filter hook {hook} priority {chance.choice((-10, 0, 10))} ; {rules} ; }}"
    return f"nft -f - <<< table inet {_TABLE} {{ {chain} ; }}", f"nft delete table inet {_TABLE}"


def _condition(chance: random.Random, host: Host) -> str:
    address = _one(chance, _global(host))
    link = chance.choice([link.name for link in _links(host)])
    words = ["", "meta l4proto udp", "meta l4proto tcp", "meta l4proto { icmp, ipv6-icmp }", f'iifname "{link}"',
             f'oifname "{link}"', "udp dport 5555", "tcp dport { 22, 5555 }", "ct state new", "fib daddr type local",
             "ct state established accept ; meta l4proto udp"]  # fmt: skip
    if isinstance(address, Address):
        name, interface = "ip" if address.interface.version == 4 else "ip6", address.interface
        words += [f"{name} {end} {operator}{place}" for end in ("saddr", "daddr") for operator in ("", "!= ")
                  for place in (interface.ip, interface.network)]  # fmt: skip
    return chance.choice(words)


def _translation(chance: random.Random, host: Host) -> _Drawn:
    address = _one(chance, [address for address in _global(host) if address.interface.network.num_addresses > 8])
    if not isinstance(address, Address):
        return None
    interface = address.interface
    name = "ip" if interface.version == 4 else "ip6"
    to = interface.network[chance.choice((1, 2, 3, 11, 12))]
    shown = f"[{to}]" if to.version == 6 else to
    hook, priority, rule = chance.choice((
        ("postrouting", "srcnat", f"{name} daddr != {interface.network} masquerade"),
        ("postrouting", "srcnat", f"oifname != lo snat to {interface.ip}"),
        ("prerouting", "dstnat", f"udp dport 5555 dnat to {to}"),
        ("prerouting", "dstnat", f"tcp dport 5555 dnat to {shown}:5556"),
        ("prerouting", "dstnat", "udp dport 5555 redirect"),
        ("output", "-100", f"meta l4proto {{ icmp, ipv6-icmp }} dnat to {to}"),
    ))  # fmt: skip
    chain = f"chain c {{ type nat hook {hook} priority {priority} ; {rule} ; }}"
    return f"nft -f - <<< table {name} {_TABLE} {{ {chain} ; }}", f"nft delete table {name} {_TABLE}"


KINDS: dict[str, Callable[[random.Random, Host], _Drawn]] = {
    "route removed": _no_route,
    "route altered": _other_route,
    "rule": _rule,
    "neighbour removed": _no_neighbour,
    "neighbour altered": _other_neighbour,
    "FDB entry removed": _no_entry,
    "FDB entry altered": _other_entry,
    "address removed": _no_address,
    "address added": _more_address,
    "link down": _down,
    "link removed": _gone,
    "link MTU": _small,
    "link without bridge": _unplugged,
    "port of a bridge": _port,
    "forwarding off": _not_forwarding,
    "strict settings": _strict,
    "packet filter": _filter,
    "translation": _translation,
}
