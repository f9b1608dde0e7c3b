"""The pods' ports of bridges: what tells them, and putting them back when somebody has pulled them out.

A bridge that was made anew has no ports, and a port that was taken out carries nothing: the pod behind it is cut off,
though nothing of the pod itself has changed. So the port says itself where it belongs, in its alias (`ip link`):

    nankeen cbr0 on cni0 hairpin isolated

One with VLANs has none: in the wrong VLAN it would do more harm than out of the bridge.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nankeen.kernel.netlink import bridge, link
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.state import Link, State, Veth
from nankeen.pods.interface import PodInterface, host_hardware_address

_NAME = re.compile(r"veth[0-9a-f]{8}")
_ALIAS = re.compile(r"nankeen (?P<network>\S+) on (?P<bridge>\S+)(?P<hairpin> hairpin)?(?P<isolated> isolated)?")


@dataclass(frozen=True, slots=True)
class Port:
    """Where a pod's port belongs."""

    network: str
    bridge: str
    hairpin: bool
    isolated: bool

    @property
    def alias(self) -> str:
        """The same, as the port tells it."""
        words = ["hairpin"] * self.hairpin + ["isolated"] * self.isolated
        return " ".join(["nankeen", self.network, "on", self.bridge, *words])


def alias_of(wanted: PodInterface) -> str:
    """The alias of the node's end of an interface; "" where it must not be put back."""
    if wanted.vlans.native or wanted.vlans.trunk:
        return ""
    return Port(wanted.network, wanted.bridge, wanted.hairpin, wanted.isolated).alias


def parse_alias(text: str) -> Port | None:
    """The port that an alias tells of; None for one that is not ours."""
    found = _ALIAS.fullmatch(text)
    return Port(found["network"], found["bridge"], bool(found["hairpin"]), bool(found["isolated"])) if found else None


def is_loose(found: Link) -> bool:
    """Whether a link might be a pod's port that is in no bridge: one that is being made is still down."""
    unplugged = isinstance(found.kind, Veth) and found.up and found.master == ""
    return unplugged and _NAME.fullmatch(found.name) is not None


def replug(socket: NetlinkSocket, observed: State) -> list[str]:
    """Puts pods' ports that are in no bridge back into theirs; returns their names. Those of others stay as they are.

    Raises `KernelError` where the kernel refuses.
    """
    return [found.name for found in observed.of(Link) if is_loose(found) and _replug(socket, found)]


def _replug(socket: NetlinkSocket, found: Link) -> bool:
    port = _told(socket, found)
    index, master = socket.index(found.name), socket.index(port.bridge) if port else None
    if port is None or index is None or master is None:
        return False
    socket.request(link.set_master(index, master), found.name)
    socket.request(bridge.port(index, hairpin=port.hairpin, isolated=port.isolated), found.name)
    return True


def _told(socket: NetlinkSocket, found: Link) -> Port | None:
    """What a device tells of itself, if it is one of ours: its hardware address is given by its network and name."""
    index = socket.index(found.name)
    bodies = socket.query(link.get(index), found.name) if index is not None else []
    port = parse_alias(link.alias(bodies[0])) if bodies else None
    return port if port and found.address == host_hardware_address(port.network, found.name) else None
