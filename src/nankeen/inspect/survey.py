"""From a lab to the parties of a verification: what each of them was given, and what its own namespace holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from nankeen.inspect.party import Cluster, Kind, Party
from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.observe import observe_addresses
from nankeen.lab import Lab, LabNode, LabPod
from nankeen.model.address import IPAddress, IPInterface
from nankeen.model.errors import KernelError
from nankeen.model.state import Address, Link, State


def survey(lab: Lab) -> Cluster:
    """The lab's nodes and pods. This process must be where their namespaces can be opened (`inside`).

    Raises `KernelError` where a namespace has gone.
    """
    return Cluster(lab.name, (*map(node_party, lab.nodes), *map(pod_party, lab.pods)))


def survey_present(lab: Lab) -> tuple[Cluster, tuple[str, ...]]:
    """The same while the lab changes: those whose namespaces have gone are left out, and named beside it."""
    parties, gone = [], []
    members: tuple[LabNode | LabPod, ...] = (*lab.nodes, *lab.pods)
    for member in members:
        try:
            parties.append(node_party(member) if isinstance(member, LabNode) else pod_party(member))
        except KernelError:  # it is told by name: that is all there is to know of it
            gone.append(member.name)
    return Cluster(lab.name, tuple(parties)), tuple(gone)


def node_party(node: LabNode) -> Party:
    """A node of a lab, as found."""
    state = _addresses_in(node.namespaces.network)
    return found_party(node.name, Kind.NODE, node.namespaces.network, _ips(node.addresses), state, node=node.name)


def pod_party(pod: LabPod) -> Party:
    """A pod of a lab, as found."""
    state = _addresses_in(pod.namespaces.network)
    return found_party(pod.name, Kind.POD, pod.namespaces.network, _ips(pod.addresses), state, node=pod.node)


def found_party(
    name: str, kind: Kind, namespace: Path, assigned: Sequence[IPAddress], state: State, node: str = ""
) -> Party:
    """A party from what it was given and what was observed in its namespace."""
    held = [item for item in state.of(Address) if not _is_local(item.interface.ip)]
    mtus = {link.name: link.mtu for link in state.of(Link) if link.mtu is not None}
    own = [mtus[item.device] for item in held if item.device in mtus]
    return Party(
        name=name,
        kind=kind,
        namespace=namespace,
        assigned=tuple(assigned),
        addresses=tuple(item.interface.ip for item in held),
        mtu=min(own, default=None) if kind is Kind.POD else None,
        node=node,
    )


def _addresses_in(namespace: Path) -> State:
    with Namespace.open(namespace) as opened, NetlinkSocket(opened) as socket:
        return observe_addresses(socket)


def _ips(interfaces: Iterable[IPInterface]) -> tuple[IPAddress, ...]:
    return tuple(interface.ip for interface in interfaces)


def _is_local(address: IPAddress) -> bool:
    return address.is_loopback or address.is_link_local
