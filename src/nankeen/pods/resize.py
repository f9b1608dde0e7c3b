"""Another MTU for pods that run already: when the backend changes, what its headers leave changes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial

from nankeen.kernel import namespace as namespaces
from nankeen.kernel.namespace import NAMED, Namespace
from nankeen.kernel.netlink import link, nsid
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.errors import KernelError
from nankeen.model.tunnel import GSO_MAX_SIZE
from nankeen.pods.network import BRIDGE

_log = logging.getLogger(__name__)


def resize(socket: NetlinkSocket, was: int, now: int, gso_max_size: int = GSO_MAX_SIZE, bridge: str = BRIDGE) -> int:
    """Gives both ends of each pod's interface the MTU `now`, where the pod has the MTU `was`; returns how many pods.
    With it the pod's end leaves packets of `gso_max_size` bytes unsegmented.

    A pod that was given an MTU of its own keeps it, and so does one whose namespace has no name: both its ends must
    agree, and the far one cannot be reached. Shrinking begins in the pod and growing at the bridge, so that no packet
    meets a device that is too small for it.
    """
    if was == now:
        return 0
    bodies = [body for kind, body in socket.dump(link.dump()) if kind == link.RTM_NEWLINK]
    names = dict(link.index_and_name(body) for body in bodies)
    ports = [body for body in bodies if (port := link.parse(body, names)).master == bridge and port.mtu == was]
    with ExitStack() as held:
        numbered = _numbered(socket, held) if ports else {}
        return sum(_resize_pod(socket, body, numbered, now, gso_max_size, shrinking=now < was) for body in ports)


def _numbered(socket: NetlinkSocket, held: ExitStack) -> Mapping[int, Namespace]:
    """The namespaces that have a name, by the number that the socket's own knows them by."""
    found = {}
    for name in namespaces.names():
        try:
            namespace = held.enter_context(Namespace.open(NAMED / name))
            (answer,) = socket.query(nsid.ask(namespace.descriptor), name)
        except KernelError:  # gone, or not a namespace yet
            continue
        number = nsid.parse(answer)
        if number is not None:
            found[number] = namespace
    return found


def _resize_pod(
    socket: NetlinkSocket,
    port: bytes,
    numbered: Mapping[int, Namespace],
    mtu: int,
    gso_max_size: int,
    *,
    shrinking: bool,
) -> bool:
    """One pod, by its port of the bridge. A pod that goes meanwhile is no error."""
    index, name = link.index_and_name(port)
    number = link.peer_namespace(port)
    namespace = None if number is None else numbered.get(number)
    if namespace is None:
        _log.warning("%s keeps its MTU: its pod's namespace has no name in %s", name, NAMED)
        return False
    near = partial(socket.request, link.set_mtu(index, mtu), name)
    far = partial(_request_inside, namespace, link.set_mtu(link.peer_index(port), mtu, gso_max_size), name)
    steps: list[Callable[[], None]] = [far, near] if shrinking else [near, far]
    try:
        for step in steps:
            step()
    except KernelError as error:
        _log.warning("%s keeps its MTU: %s", name, error)
        return False
    return True


def _request_inside(namespace: Namespace, message: bytes, subject: str) -> None:
    with NetlinkSocket(namespace) as inside:
        inside.request(message, subject)
