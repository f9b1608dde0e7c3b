"""What a node's packet filter shall hold: masquerade of what leaves the pod network, and protection of the tunnels.

The kernel takes in tunnel packets from anybody, on any interface: whoever can send UDP to a node, a pod for example,
can place frames in the pod network. Two gates close that. A node takes packets for a tunnel port only from the outer
addresses of its peers, and never from its own pods or out of the tunnel itself; and it lets none of its pods' packets
for such a port out of the pod network, where masquerade would lend them the node's own address.

Masquerade decides as flannel's rules for iptables do, in their order. With C the pod network and P the node's own
subnet:

    marked 0x4000 (kube-proxy masquerades it)   as it is
    P to C, C to P, not from C to P             as it is
    C to anywhere but multicast                 masqueraded
    not from C to C: the pods of other nodes    masqueraded
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from nankeen.backend import Node
from nankeen.model.address import Family, IPNetwork, family_of
from nankeen.model.firewall import AddressSet, Chain, Firewall, Inside, Jump, Outside, Rule, Table, Verdict
from nankeen.model.lease import Lease

KUBE_PROXY_MARK = 0x4000
"""What kube-proxy sets on packets that it masquerades itself."""

_MULTICAST: dict[Family, IPNetwork] = {Family.IPV4: IPv4Network("224.0.0.0/4"), Family.IPV6: IPv6Network("ff00::/8")}
_SETS = {family: AddressSet(f"peers{family.value}", family) for family in Family}


@dataclass(frozen=True, slots=True)
class TrafficOptions:
    """What the administrator decides."""

    ip_masq: bool = False
    """Whether traffic that leaves the pod network is masqueraded."""
    fully_random: bool = True
    """Whether masquerade draws source ports at random, which avoids collisions of concurrent connections."""
    unmasqueraded: tuple[IPNetwork, ...] = ()
    """Networks that see pods' own addresses, and whose own addresses pods see."""
    tunnel_sources: tuple[IPNetwork, ...] = ()
    """Where tunnel packets may come from besides the peers' addresses: where NAT makes the source another one."""
    forward_rules: bool = True
    """Whether iptables' FORWARD chain, where it is in use, is told to let pods' packets through."""


def desired_firewall(
    node: Node,
    peers: Iterable[Lease],
    *,
    ports: Collection[int],
    tunnels: Collection[str],
    bridge: str,
    options: TrafficOptions,
) -> Firewall:
    """The packet filter of a node that has its subnets.

    `ports` are the UDP ports that its backends receive on, and `tunnels` their devices; pods hang on `bridge`.
    """
    chains: list[Chain] = []
    sets: tuple[AddressSet, ...] = ()
    if ports:
        sets = tuple(_SETS[family] for family in node.families)
        chains += _protection(node.networks, sets, tuple(sorted(set(ports))), sorted(tunnels), bridge, options)
    if options.ip_masq:
        rules = [Rule(Verdict.RETURN, mark=KUBE_PROXY_MARK)]
        for network in node.networks:
            rules += _masquerade(network, _own(node, network), options)
        chains.append(Chain("postrouting", tuple(rules), "type nat hook postrouting priority srcnat"))
    return Firewall(
        Table(tuple(chains), sets) if chains else None,
        frozenset(
            endpoint.reach.address
            for lease in peers
            for endpoint in lease.endpoints
            if ports and endpoint.family in node.families
        ),
        node.networks if options.forward_rules else (),
    )


def _protection(
    networks: Sequence[IPNetwork],
    sets: Sequence[AddressSet],
    ports: tuple[int, ...],
    tunnels: Sequence[str],
    bridge: str,
    options: TrafficOptions,
) -> Iterator[Chain]:
    known = [Inside(found) for found in sets]
    known += [Inside(network) for network in options.tunnel_sources]
    yield Chain("input", (Rule(Jump("tunnel"), ports=ports),), "type filter hook input priority filter")
    yield Chain(
        "tunnel",
        (
            *(Rule(Verdict.DROP, device=device) for device in [bridge, *tunnels]),
            *(Rule(Verdict.RETURN, source=source) for source in known),
            Rule(Verdict.DROP),
        ),
    )
    yield Chain("forward", (Rule(Jump("pods"), bridge, ports),), "type filter hook forward priority filter")
    yield Chain(
        "pods",
        (*(Rule(Verdict.RETURN, destination=Inside(network)) for network in networks), Rule(Verdict.DROP)),
    )


def _masquerade(network: IPNetwork, own: IPNetwork, options: TrafficOptions) -> Iterator[Rule]:
    masquerade = Verdict.MASQUERADE_FULLY_RANDOM if options.fully_random else Verdict.MASQUERADE
    for other in options.unmasqueraded:
        if other.version == network.version:
            yield Rule(Verdict.RETURN, source=Inside(network), destination=Inside(other))
            yield Rule(Verdict.RETURN, source=Inside(other), destination=Inside(network))
    yield Rule(Verdict.RETURN, source=Inside(own), destination=Inside(network))
    yield Rule(Verdict.RETURN, source=Inside(network), destination=Inside(own))
    yield Rule(Verdict.RETURN, source=Outside(network), destination=Inside(own))
    yield Rule(masquerade, source=Inside(network), destination=Outside(_MULTICAST[family_of(network)]))
    yield Rule(masquerade, source=Outside(network), destination=Inside(network))


def _own(node: Node, network: IPNetwork) -> IPNetwork:
    return next(subnet for subnet in node.subnets if subnet.version == network.version)
