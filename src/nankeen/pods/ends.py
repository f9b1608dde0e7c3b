"""The node's end of a pod's interface, whoever made it: found by the pair's own word, not by a name."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink import link
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.errors import KernelError
from nankeen.model.state import Veth
from nankeen.pods.attach import find


@dataclass(frozen=True, slots=True)
class NodeEnd:
    """The node's end of a veth pair."""

    name: str
    bridge: str
    """That it is a port of; "" for none."""

    @property
    def way(self) -> str:
        """The device by which the node itself reaches the pod."""
        return self.bridge or self.name


def node_end(interface: str, pod: Namespace) -> NodeEnd | None:
    """The other end of a pod's interface; None where that is no veth, or its other end not on this node.

    Raises `KernelError`.
    """
    with NetlinkSocket(pod) as inside, NetlinkSocket() as node:
        near = find(inside, interface)
        index = 0 if near is None else link.peer_index(near)
        try:
            far = node.query(link.get(index), interface)[0] if index else None
        except KernelError as error:
            if error.errno not in (errno.ENODEV, errno.ENXIO):
                raise
            return None
        own = inside.index(interface)
        if far is None or link.peer_index(far) != own or link.parse(far, {}).kind != Veth():
            return None
        master = link.master_index(far)
        names = dict([link.index_and_name(node.query(link.get(master), interface)[0])]) if master else {}
        return NodeEnd(link.index_and_name(far)[1], names.get(master, ""))
