"""What somebody may do to the hosts of a scene, and what undoes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nankeen.model.address import Family
from tests.kernel.forwarding.scene import PODS, at_once, device_of, inside, length_of, subnet, underlay, vtep


@dataclass(frozen=True)
class Damage:
    """Commands, as `Scene.run` takes them."""

    host: str
    do: str
    undo: tuple[str, ...]
    only: str = ""
    """The backend that it is about; "" for all."""

    def __str__(self) -> str:
        return f"{self.host}: {self.do}"


def damages() -> Iterator[Damage]:
    for family in Family:
        yield from _to_routes(family)
        yield from _to_entries(family)
        yield from _to_addresses(family)
        yield from _by_filters(family)
    yield from _to_settings()
    yield from _to_links()
    yield from _to_the_underlay()
    yield from _by_translation()


def _six(family: Family) -> str:
    """What `ip` needs to know where no address tells the family."""
    return "-6 " if family is Family.IPV6 else ""


def _to_routes(family: Family) -> Iterator[Damage]:
    six, far = _six(family), subnet(2, family)
    pod1, pod2 = inside(*PODS["pod1"], family), inside(*PODS["pod2"], family)
    overlay = f"route add {far} via {inside(2, 0, family)} dev {device_of(family)} onlink"
    yield Damage("node1", f"route del {far}", (overlay,), "vxlan")
    yield Damage("node1", f"route del {far}", (f"route add {far} via {underlay(2, family)} dev eth0",), "host-gw")
    yield Damage("node1", f"route add {pod2} via {underlay(9, family)} dev eth0", (f"route del {pod2}",))
    yield Damage("node1", f"route add {pod2} via {underlay(77, family)} dev eth0", (f"route del {pod2}",))
    for kind in ("blackhole", "unreachable", "prohibit", "throw"):
        yield Damage("node1", f"route add {kind} {pod2}", (f"route del {kind} {pod2}",))
    default = f"{six}route add default via {inside(1, 1, family)}"
    yield Damage("pod1", f"{six}route del default", (default,))
    for rule in (
        f"from {pod1} blackhole",
        f"from {pod1} prohibit",
        f"to {pod2} table 77",
        f"from {pod1} iif cni0 unreachable",
        f"not from {pod1} to {pod2} blackhole",
    ):
        for node in ("node1", "node2"):
            yield Damage(node, f"{six}rule add {rule}", (f"{six}rule del {rule}",))


def _to_entries(family: Family) -> Iterator[Damage]:
    device, base, mac = device_of(family), inside(2, 0, family), vtep(2, family)
    neighbour = f"neigh replace {base} lladdr {mac} dev {device} nud permanent"
    place = f"bridge fdb replace {mac} dev {device} dst {underlay(2, family)} self permanent"
    yield Damage("node1", f"neigh del {base} dev {device}", (neighbour,), "vxlan")
    yield Damage("node1", neighbour.replace(mac, "02:00:00:00:00:77"), (neighbour,), "vxlan")
    yield Damage("node1", f"bridge fdb del {mac} dev {device} dst {underlay(2, family)}", (place,), "vxlan")
    yield Damage("node1", place.replace(underlay(2, family), underlay(9, family)), (place,), "vxlan")
    anybody = f"00:00:00:00:00:00 dev {device} dst {underlay(2, family)}"
    yield Damage(
        "node1",
        f"bridge fdb append {anybody}",
        (f"bridge fdb del {anybody}",),
        "vxlan",
    )
    pod2, wrong = inside(*PODS["pod2"], family), "lladdr 02:00:00:00:00:77"
    yield Damage("node2", f"neigh add {pod2} {wrong} dev cni0 nud permanent", (f"neigh del {pod2} dev cni0",))
    gateway = inside(1, 1, family)
    yield Damage(
        "pod1",
        f"neigh replace {gateway} {wrong} dev eth0 nud permanent",
        (f"neigh del {gateway} dev eth0",),
    )


def _to_addresses(family: Family) -> Iterator[Damage]:
    length, nodad = length_of(family), at_once(family)
    for pod in ("pod1", "pod2"):
        address = f"{inside(*PODS[pod], family)}/{length}"
        # With its last address of IPv4, a host loses its routes, too.
        default = (f"route add default via {inside(PODS[pod][0], 1, family)}",) if family is Family.IPV4 else ()
        yield Damage(pod, f"address del {address} dev eth0", (f"address add {address} dev eth0 {nodad}", *default))
    gateway = f"{inside(1, 1, family)}/{length}"
    yield Damage("node1", f"address del {gateway} dev cni0", (f"address add {gateway} dev cni0 {nodad}",))
    yield Damage(
        "pod3",
        f"address add {inside(2, 5, family)}/{length} dev eth0 {nodad}",
        (f"address del {inside(2, 5, family)}/{length} dev eth0",),
    )


def _by_filters(family: Family) -> Iterator[Damage]:
    name = "ip" if family is Family.IPV4 else "ip6"
    near, pod1, pod2 = subnet(1, family), inside(*PODS["pod1"], family), inside(*PODS["pod2"], family)
    for rule in (
        f"{name} daddr {pod2} drop",
        f"{name} saddr {near} udp dport 5555 reject",
        f"{name} saddr != {near} accept",
        f"{name} daddr {{ {pod1}, {pod2} }} counter drop",
        'iifname "cni0" oifname "cni0" drop',
        'iifname "fla*" meta l4proto udp drop',
        f"ct state established accept ; {name} saddr {pod1} drop",
    ):
        yield filtered("node1", "forward", rule)
        yield filtered("node2", "forward", rule)
    yield filtered("pod2", "input", f"{name} saddr {pod1} drop")
    yield filtered("pod1", "output", f"{name} daddr {pod2} reject")


def filtered(host: str, hook: str, rules: str) -> Damage:
    text = f"table inet t {{ chain c {{ type filter hook {hook} priority 0; {rules} ; }} ; }}"
    return Damage(host, f"nft -f - <<< {text}", ("nft delete table inet t",))


def _by_translation() -> Iterator[Damage]:
    for hook, rule in (
        ("postrouting", "ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade"),
        ("prerouting", "ip daddr 192.168.50.1 udp dport 5555 dnat to 10.244.1.5"),
        ("prerouting", "ip daddr 192.168.50.1 udp dport 5555 dnat to 10.244.2.5"),
        ("output", "ip daddr 192.168.50.9 udp dport 5555 dnat to 10.244.1.5"),
    ):
        priority = "srcnat" if hook == "postrouting" else "dstnat" if hook == "prerouting" else "-100"
        text = f"table ip t {{ chain c {{ type nat hook {hook} priority {priority}; {rule} ; }} ; }}"
        yield Damage("node1", f"nft -f - <<< {text}", ("nft delete table ip t",))


def _to_settings() -> Iterator[Damage]:
    for node in ("node1", "node2"):
        for setting, damaged, sound in (
            ("net.ipv4.ip_forward", 0, 1),
            ("net.ipv4.conf.cni0.forwarding", 0, 1),
            ("net.ipv6.conf.all.forwarding", 0, 1),
            ("net.ipv4.conf.all.rp_filter", 1, 0),
            ("net.ipv4.conf.eth0.rp_filter", 2, 0),
            ("net.ipv4.conf.all.arp_ignore", 1, 0),
        ):
            yield Damage(node, f"sysctl -qw {setting}={damaged}", (f"sysctl -qw {setting}={sound}",))


def _to_links() -> Iterator[Damage]:
    for node in ("node1", "node2"):
        yield Damage(node, "link set eth0 mtu 1300", ("link set eth0 mtu 1500",))
        yield Damage(node, "link set cni0 mtu 1300", ("link set cni0 mtu 1500",))
        yield Damage(node, "link set flannel.1 mtu 1300", ("link set flannel.1 mtu 1450",), "vxlan")
    yield Damage("pod2", "link set eth0 mtu 1300", ("link set eth0 mtu 1500",))
    yield Damage("node2", "link set pod2 mtu 1300", ("link set pod2 mtu 1500",))
    yield Damage("node2", "link set pod2 down", ("link set pod2 up",))
    yield Damage("node2", "link set pod2 nomaster", ("link set pod2 master cni0",))
    both = "link set {} type bridge_slave isolated {}"
    yield Damage(
        "node1",
        "\n".join(both.format(pod, "on") for pod in ("pod1", "pod3")),
        tuple(both.format(pod, "off") for pod in ("pod1", "pod3")),
    )


def _to_the_underlay() -> Iterator[Damage]:
    yield Damage("lan", "link set to2 down", ("link set to2 up",))
    again = f"address replace {underlay(9, Family.IPV6)}/64 dev br0 nodad"
    yield Damage("lan", "link set br0 down", ("link set br0 up", again))
    for flag in ("flood", "bcast_flood", "mcast_flood"):
        yield Damage("lan", f"bridge link set dev to2 {flag} off", (f"bridge link set dev to2 {flag} on",))
    yield filtered("lan", "forward", "udp dport 8472 drop")
    yield filtered("node2", "input", "udp dport 8472 drop")
    yield filtered("node1", "output", "udp dport 8472 drop")
