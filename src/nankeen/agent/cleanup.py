"""What is to be removed of all that nankeen, flannel or its CNI chain left on a node: the diff to the empty state.

What is not theirs stays: an administrator's routes, other bridges and tunnels, other tables of the packet filter. Of
what has a name of theirs, and is something else, there is a note. Nothing is touched here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

from nankeen.agent.traces import Note, Traces
from nankeen.kernel.iptables import CHAIN, Saved, flannel_commands, forward_commands
from nankeen.kernel.netlink.link import kernel_name
from nankeen.kernel.ruleset import IptablesTable, NftTable
from nankeen.model import hostport
from nankeen.model.address import IPNetwork
from nankeen.model.diff import Change, Claim, diff
from nankeen.model.firewall import TABLE
from nankeen.model.state import (
    KERNEL,
    MAIN_TABLE,
    PROTOCOL_BOOT,
    PROTOCOL_KERNEL,
    Address,
    Bridge,
    ForwardingEntry,
    Link,
    Neighbour,
    Route,
    State,
    Veth,
)
from nankeen.model.xfrm import REQID, XfrmPolicy
from nankeen.pods import podfilter
from nankeen.pods.network import BRIDGE

_DEVICES = (
    (re.compile(r"flannel(-v6)?\.\d+"), "vxlan"),
    (re.compile(r"flannel\.ipip"), "ipip"),
    (re.compile(r"flannel-wg(-v6)?"), "wireguard"),
    (re.compile(r"flannel\d+"), "tun"),
    (re.compile(BRIDGE), "bridge"),
    (re.compile(r"bwp[0-9a-f]{12}"), "ifb"),
)
"""The names of flannel's devices, of the bridge plugin's and the bandwidth plugin's, and the kind of each."""
_TABLES = frozenset({
    NftTable("inet", TABLE), NftTable("inet", podfilter.TABLE), NftTable("bridge", podfilter.TABLE),
    NftTable("inet", hostport.TABLE), NftTable("ip", "flannel-ipv4"), NftTable("ip6", "flannel-ipv6"),
})  # fmt: skip
_SHARED_TABLES = frozenset({
    NftTable("ip", "cni_hostport"), NftTable("ip6", "cni_hostport"), NftTable("inet", "cni_plugins_masquerade")
})  # fmt: skip
_SHARED_CHAINS = "CNI-HOSTPORT-"
_POD_CHAIN = re.compile(r"CNI-(DN-)?[0-9a-f]+")
_POD_COMMENT = re.compile(r'(?:dnat )?name: "(?P<network>[^"]*)" id: "[^"]*"')
"""What the bridge and portmap plugins write to the rules that lead to a pod's chain."""
_EVERYWHERE = frozenset({ip_network("0.0.0.0/0"), ip_network("::/0")})


@dataclass(frozen=True, slots=True)
class Found:
    """What stands on the node."""

    state: State = field(default_factory=State)
    tables: tuple[NftTable, ...] = ()
    iptables: Mapping[IptablesTable, Saved] = field(default_factory=dict)
    traces: Traces = field(default_factory=Traces)
    data_path: int | None = None
    """The process that carries the udp backend's packets."""


@dataclass(frozen=True, slots=True)
class RuleRemoval:
    """Rules and chains of one table of iptables, removed in one transaction."""

    table: IptablesTable
    commands: tuple[str, ...]
    rules: tuple[str, ...]
    """As `iptables -S` prints them."""


@dataclass(frozen=True, slots=True)
class Cleanup:
    """What is to be removed, in that order: what starts pods, what carries their packets, what guards those, files."""

    invitations: tuple[Path, ...] = ()
    data_path: int | None = None
    changes: tuple[Change, ...] = ()
    tables: tuple[NftTable, ...] = ()
    rules: tuple[RuleRemoval, ...] = ()
    files: tuple[Path, ...] = ()
    notes: tuple[Note, ...] = ()
    pods: tuple[str, ...] = ()
    """Those of the devices whose other end is in use: pods that lose their network."""

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """All of it, as the lines that `ip`, `nft`, `iptables -S` and `ls` print, without empty groups."""
        filters = [*map(str, self.tables), *(f"{item.table} {rule}" for item in self.rules for rule in item.rules)]
        groups = {
            "processes": [] if self.data_path is None else [f"data path of the udp backend, process {self.data_path}"],
            "devices": [str(change.object) for change in self.changes if isinstance(change.object, Link)],
            "routes": [str(change.object) for change in self.changes if isinstance(change.object, Route)],
            "IPsec policies": [str(change.object) for change in self.changes if isinstance(change.object, XfrmPolicy)],
            "packet filter": filters,
            "files": [str(path) for path in (*self.invitations, *self.files)],
        }
        return {name: tuple(lines) for name, lines in groups.items() if lines}


def cleanup(found: Found, *, keep_files: bool = False) -> Cleanup:
    """What is to be removed of what was found."""
    traces = found.traces
    devices = _devices(found.state, traces)
    rules = [_rules(table, saved, traces.names) for table, saved in found.iptables.items()]
    return Cleanup(
        invitations=() if keep_files else traces.invitations,
        data_path=found.data_path,
        changes=_changes(found.state, devices, traces.networks),
        tables=tuple(table for table in found.tables if table in _TABLES),
        rules=tuple(removal for removal in rules if removal.commands),
        files=() if keep_files else traces.files,
        notes=(*_notes(found, devices), *traces.notes),
        pods=tuple(sorted(link.name for link in found.state.of(Link) if _is_pod(link, devices))),
    )


def is_chain_of_theirs(name: str) -> bool:
    """Whether a chain of iptables may be ours, flannel's or the CNI plugins', by its name."""
    return name.startswith((CHAIN, "FLANNEL-", "CNI-"))


def _changes(state: State, devices: AbstractSet[str], networks: Sequence[IPNetwork]) -> tuple[Change, ...]:
    """Devices with all that hangs on them; routes that carry our number, wherever they lead; IPsec's policies, as far
    as both their ends are known to be in the pod network.
    """
    others = frozenset(link.name for link in state.of(Link)) - devices
    links = Claim(frozenset(devices), _EVERYWHERE, underlays=others)
    policies = Claim(networks=frozenset(networks), policies=True)
    return (
        *diff(State(), state, links, KERNEL - {XfrmPolicy}),
        *diff(State(), state, policies, {XfrmPolicy}),
    )


def _devices(state: State, traces: Traces) -> frozenset[str]:
    named = {link.name for link in state.of(Link) if _kind(link.name) == kernel_name(link.kind)} - traces.foreign_ifbs
    if _is_foreign_bridge(state, traces.networks):
        named.discard(BRIDGE)
    ports = {link.name for link in state.of(Link) if link.master == BRIDGE and link.kind == Veth()}
    return frozenset(named | (ports if BRIDGE in named else set()))


def _kind(name: str) -> str | None:
    """The kind of a device of theirs that has this name; None for other names."""
    return next((kind for pattern, kind in _DEVICES if pattern.fullmatch(name)), None)


def _is_foreign_bridge(state: State, networks: Sequence[IPNetwork]) -> bool:
    """Whether the bridge is the gateway of other networks only. Where the pod network is unknown, its name decides."""
    gateways = [
        item.interface.ip for item in state.of(Address) if item.device == BRIDGE and not item.interface.ip.is_link_local
    ]
    return bool(networks and gateways) and not any(ip in network for ip in gateways for network in networks)


def _is_pod(link: Link, devices: AbstractSet[str]) -> bool:
    return link.name in devices and link.kind == Veth() and link.up and link.carrier is True


def _rules(table: IptablesTable, saved: Saved, names: AbstractSet[str]) -> RuleRemoval:
    commands = (*forward_commands(saved, []), *flannel_commands(saved), *_pod_commands(saved, names))
    flushed = {command.removeprefix("-F ") for command in commands if command.startswith("-F ")}
    rules = [
        f"-A {rule.chain} {rule.text}"
        for rule in saved.rules
        if rule.chain in flushed or f"-D {rule.chain} {rule.text}" in commands
    ]
    return RuleRemoval(table, commands, (*(f"-N {chain}" for chain in sorted(flushed)), *rules))


def _pod_commands(saved: Saved, names: AbstractSet[str]) -> list[str]:
    """What removes the chains that the bridge and portmap plugins made for pods of networks of these names."""
    entries = [
        rule
        for rule in saved.rules
        if (match := _POD_COMMENT.fullmatch(rule.comment))
        and match["network"] in names
        and _POD_CHAIN.fullmatch(rule.target)
    ]
    chains = {rule.target for rule in entries} & saved.policies.keys()
    return [
        *(f"-D {rule.chain} {rule.text}" for rule in entries),
        *(f"-F {chain}" for chain in sorted(chains)),
        *(f"-X {chain}" for chain in sorted(chains)),
    ]


def _notes(found: Found, devices: frozenset[str]) -> Iterator[Note]:
    yield from _device_notes(found.state, devices, found.traces)
    yield from _route_notes(found.state, devices, found.traces.networks)
    gone = {change.object for change in _changes(found.state, devices, found.traces.networks)}
    for policy in found.state.of(XfrmPolicy):
        if policy.tunnel.reqid == REQID and policy not in gone:
            yield Note(str(policy), "stays: nothing tells that it is about the pod network")
    for table in found.tables:
        if table in _SHARED_TABLES:
            yield Note(str(table), "stays: the pods of every CNI network are in it")
    for place, saved in found.iptables.items():
        chains = [chain for chain in saved.policies if chain.startswith(_SHARED_CHAINS)]
        if chains:
            yield Note(f"{place} {' '.join(chains)}", "stays: the pods of every CNI network use it")


def _device_notes(state: State, devices: AbstractSet[str], traces: Traces) -> Iterator[Note]:
    for link in state.of(Link):
        kind = _kind(link.name)
        if link.name in devices:
            burden = _burden(state, link.name)
            if burden:
                yield Note(link.name, f"goes with {burden}")
        elif link.name in traces.foreign_ifbs:
            yield Note(str(link), "stays: it is for a pod of another network")
        elif kind == "bridge" and link.kind == Bridge():
            yield Note(str(link), "stays: it is not the gateway of the pod network")
        elif kind is not None:
            yield Note(str(link), f"stays: it is no {kind} device")
        elif link.master == BRIDGE and BRIDGE in devices:
            yield Note(str(link), f"stays, no port of {BRIDGE} any more: it is no veth")


def _burden(state: State, device: str) -> str:
    """How much hangs on a device, in words."""
    counts = {
        "route": sum(item.device == device and item.protocol != PROTOCOL_KERNEL for item in state.of(Route)),
        "neighbour": sum(item.device == device for item in state.of(Neighbour)),
        "forwarding entry": sum(item.device == device for item in state.of(ForwardingEntry)),
    }
    plurals = {"route": "routes", "neighbour": "neighbours", "forwarding entry": "forwarding entries"}
    return ", ".join(f"{count} {what if count == 1 else plurals[what]}" for what, count in counts.items() if count)


def _route_notes(state: State, devices: AbstractSet[str], networks: Sequence[IPNetwork]) -> Iterator[Note]:
    for route in state.of(Route):
        if not networks or route.protocol == PROTOCOL_KERNEL:
            continue
        inside = any(_is_inside(route.destination, network) for network in networks)
        if route.device in devices and not inside:
            yield Note(str(route), f"goes with {route.device}, and does not lead into the pod network")
        elif route.device not in devices and inside and (route.table, route.protocol) == (MAIN_TABLE, PROTOCOL_BOOT):
            yield Note(str(route), "stays: it may be of flannel's host-gw, or an administrator's")


def _is_inside(destination: IPNetwork, network: IPNetwork) -> bool:
    return destination.version == network.version and destination.subnet_of(network)  # type: ignore[arg-type]
