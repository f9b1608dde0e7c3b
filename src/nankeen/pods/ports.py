"""The pods' ports of the bridge: which they are, and putting them back when somebody has pulled them out.

A bridge that was made anew has no ports, and a port that was taken out carries nothing: the pod behind it is cut off,
though nothing of the pod itself has changed.
"""

from __future__ import annotations

from pathlib import Path

from nankeen.kernel.netlink import link
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.state import Link, State, Veth
from nankeen.pods.addresses import AddressStore
from nankeen.pods.interface import host_name
from nankeen.pods.network import BRIDGE


def ports(data_directory: Path) -> frozenset[str]:
    """The node's ends of all pods that hold an address in any network of the directory. Raises `OSError`."""
    try:
        networks = [entry for entry in data_directory.iterdir() if entry.is_dir()]
    except FileNotFoundError:
        return frozenset()
    return frozenset(
        host_name(network.name, attachment)
        for network in networks
        for attachment in AddressStore(network).attachments()
    )


def is_loose(found: Link) -> bool:
    """Whether a link might be a pod's port that is in no bridge: one that is being made is still down."""
    return isinstance(found.kind, Veth) and found.up and found.master == ""


def replug(socket: NetlinkSocket, observed: State, data_directory: Path, bridge: str = BRIDGE) -> list[str]:
    """Puts pods' ports that are in no bridge back into theirs; returns their names. Those of others stay as they are.

    Raises `OSError` and, where the kernel refuses, `KernelError`.
    """
    loose = [found.name for found in observed.of(Link) if is_loose(found)]
    names = sorted(ports(data_directory).intersection(loose)) if loose else []
    master = socket.index(bridge)
    if master is None:
        return []
    done = []
    for name in names:
        index = socket.index(name)
        if index is not None:
            socket.request(link.set_master(index, master), name)
            socket.request(link.bridge_port(index, hairpin=True), name)
            done.append(name)
    return done
