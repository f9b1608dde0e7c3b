"""What a topology will be when it stands.

It is on record before anything is made, so that all of it can be found again, however far building comes.
"""

from __future__ import annotations

from pathlib import Path

from nankeen.kernel.namespace import NAMED
from nankeen.lab.lab import Lab, LabNode, LabPod, LabRouter, LabServer, LabSwitch, Namespaces
from nankeen.lab.topology import Topology


def planned(topology: Topology, directory: Path, *, rootless: bool) -> Lab:
    """The lab as it is going to be, without what only building tells: processes, and what pods are given."""
    addresses = topology.addresses()
    plugged = {name: topology.cables_of(name) for name in (*topology.routers, *topology.nodes, *topology.servers)}
    own = {name: tuple(ip for cable in cables for ip in addresses[cable]) for name, cables in plugged.items()}

    def only_network(member: str) -> Namespaces:
        return network_of(topology.name, member)

    return Lab(
        name=topology.name,
        directory=directory,
        rootless=rootless,
        network=topology.network.to_json(),
        switches=tuple(LabSwitch(name, only_network(name)) for name in topology.switches),
        routers=tuple(LabRouter(name, only_network(name), own[name]) for name in topology.routers),
        nodes=tuple(
            LabNode(name, only_network(name), plugged[name][0].interface, own[name], directory / name)
            for name in topology.nodes
        ),
        servers=tuple(LabServer(name, only_network(name), own[name], directory / name) for name in topology.servers),
        pods=tuple(planned_pod(topology.name, pod.name, pod.node) for pod in topology.pods),
    )


def planned_pod(lab: str, name: str, node: str) -> LabPod:
    """A pod before its start."""
    return LabPod(name, node, network_of(lab, name), sandbox="")


def network_of(lab: str, member: str) -> Namespaces:
    """A member's network namespace, by the name that `ip netns` lists it under."""
    return Namespaces(NAMED / f"{lab}-{member}")
