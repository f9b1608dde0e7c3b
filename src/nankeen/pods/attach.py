"""A pod's interface: a veth pair, one end in the pod, the other a port of the node's bridge.

Each end is made in its final namespace by one message: to make it first and move it then costs ten times as much, for
the kernel waits, with all links locked. The node's end has a name that follows from the attachment, so that it is
found again without anything being written down.
"""

from __future__ import annotations

import errno
import hashlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nankeen.cni.error import CniError, Code
from nankeen.kernel import namespace as namespaces
from nankeen.kernel import sysctl
from nankeen.kernel.apply import apply_or_raise
from nankeen.kernel.namespace import Namespace, entered
from nankeen.kernel.netlink import address, link, route
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.observe import observe
from nankeen.model.address import HardwareAddress, IPInterface
from nankeen.model.diff import Claim, diff
from nankeen.model.errors import KernelError
from nankeen.model.state import Address, Device, Link, Route, State, Sysctl, Veth
from nankeen.pods.addresses import Attachment
from nankeen.pods.network import hardware_address

_GONE = frozenset({errno.ENODEV, errno.ENXIO})


@dataclass(frozen=True, slots=True)
class PodInterface:
    """The interface that a pod is to have."""

    name: str
    """Inside the pod."""
    host_name: str
    """Of the end on the node."""
    bridge: str
    mtu: int
    """In bytes; of both ends."""
    addresses: tuple[IPInterface, ...]
    """IPv4 first."""
    routes: tuple[Route, ...]
    hairpin: bool = False

    @property
    def hardware_address(self) -> HardwareAddress:
        """Of the pod's end."""
        return hardware_address(self.addresses[0].ip)

    @property
    def host_hardware_address(self) -> HardwareAddress:
        """Of the node's end; a given one, for udev may change a random one later."""
        return HardwareAddress(b"\x02" + hashlib.sha256(self.host_name.encode()).digest()[:5])


def host_name(network: str, attachment: Attachment) -> str:
    """The name of the node's end: `veth` and eight digits, as the bridge plugin's, but always the same."""
    text = f"{network}\n{attachment.container}\n{attachment.interface}"
    return f"veth{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def pod_state(wanted: PodInterface) -> State:
    """What is to stand in the pod's namespace."""
    return State([
        Link("lo", Device("")),
        Link(wanted.name, Veth(), wanted.mtu, wanted.hardware_address),
        *(Address(wanted.name, item) for item in wanted.addresses),
        *wanted.routes,
    ])  # fmt: skip


def pod_sysctls(wanted: PodInterface) -> Iterator[Sysctl]:
    """What is to be set in the pod's namespace before its interface is up."""
    name = wanted.name
    yield Sysctl(f"net/ipv4/conf/{name}/arp_notify", "1")
    yield Sysctl(f"net/ipv6/conf/{name}/accept_ra", "0")
    if any(item.version == 6 for item in wanted.addresses):
        yield Sysctl("net/ipv6/conf/lo/disable_ipv6", "0")
        yield Sysctl(f"net/ipv6/conf/{name}/disable_ipv6", "0")
        yield Sysctl(f"net/ipv6/conf/{name}/accept_dad", "0")
        yield Sysctl(f"net/ipv6/conf/{name}/keep_addr_on_down", "1")


def attach(wanted: PodInterface, pod: Namespace) -> None:
    """Makes the interface, or puts right the one that an earlier call made. On failure nothing is left that it made.

    Raises `CniError` where the namespace is the node's own, the name is taken in the pod, or there is no such bridge;
    `KernelError`.
    """
    if is_own(pod):
        raise CniError(Code.INVALID_NAMESPACE, "the pod's network namespace is the node's own")
    bridge = _index(wanted.bridge)
    if bridge is None:
        raise CniError(Code.TRY_AGAIN_LATER, "there is no such bridge yet", where=wanted.bridge)
    with NetlinkSocket() as node:
        made = _ensure_pair(wanted, pod, bridge, node)
        try:
            port = _set_up_node_end(wanted, bridge, node)
            with _set_up_pod_end(wanted, pod) as inside:
                if not made:
                    _correct(wanted, inside)
            _request(node, {wanted.host_name: link.get(port), wanted.bridge: link.get(bridge)})
        except BaseException:
            if made:
                _remove(node, wanted.host_name)
            raise


def detach(name: str, interface: str, pod: Namespace | None) -> None:
    """Removes the pair whose end on the node has that name, or there is nothing to remove. Raises `KernelError`.

    Where there is none of that name, as when flannel's plugins made the pair, the veth `interface` inside the pod goes.
    """
    with NetlinkSocket() as node:
        if _remove(node, name) or pod is None or is_own(pod):
            return
    with NetlinkSocket(pod) as inside:
        found = _find(inside, interface)
        if found and link.parse(found, {}).kind == Veth():
            inside.request(link.remove(link.index_and_name(found)[0]), interface)


def is_own(pod: Namespace) -> bool:
    """Whether it is the namespace that we are in ourselves."""
    with namespaces.current() as own:
        return own.inode == pod.inode


def _ensure_pair(wanted: PodInterface, pod: Namespace, bridge: int, node: NetlinkSocket) -> bool:
    """Whether the pair was made now; False where it stands already."""
    pair = link.veth(
        wanted.host_name,
        wanted.name,
        pod.descriptor,
        mtu=wanted.mtu,
        master=bridge,
        address=wanted.host_hardware_address,
        peer_address=wanted.hardware_address,
    )
    try:
        node.request(pair, wanted.host_name)
    except KernelError as error:
        if error.errno != errno.EEXIST:
            raise
    else:
        return True
    with NetlinkSocket(pod) as inside:
        standing = _find(inside, wanted.name)
    if standing is None:
        problem = "a device of this name stands on the node, and is not this pod's"
        raise CniError(Code.INTERFACE_TAKEN, problem, where=wanted.host_name, remedy="remove it, or DEL the attachment")
    if link.peer_index(standing) != _index(wanted.host_name):
        problem = "the pod has an interface of this name that is not ours"
        raise CniError(Code.INTERFACE_TAKEN, problem, where=wanted.name, remedy="another CNI_IFNAME, or DEL first")
    return False


def _set_up_node_end(wanted: PodInterface, bridge: int, node: NetlinkSocket) -> int:
    """The interface index of the node's end, which is up now."""
    index = _index(wanted.host_name)
    if index is None:
        raise KernelError("the device has gone again", where=wanted.host_name, errno=errno.ENODEV)
    # Before it is up: a pod must not be able to hand the node a router (CVE-2020-10749).
    _write(Sysctl(f"net/ipv6/conf/{wanted.host_name}/accept_ra", "0"))
    port = Link(wanted.host_name, Veth(), wanted.mtu, master=wanted.bridge)
    up = link.change(port, port, {wanted.host_name: index, wanted.bridge: bridge})
    hairpin = link.bridge_port(index, hairpin=wanted.hairpin)
    _request(node, {wanted.host_name: up, f"{wanted.host_name} on {wanted.bridge}": hairpin})
    return index


def _set_up_pod_end(wanted: PodInterface, pod: Namespace) -> NetlinkSocket:
    """Adds what is missing; what stands already stays as it is. Gives the socket in the pod that it was done with."""
    with entered(pod):
        for setting in pod_sysctls(wanted):
            _write(setting)
        indexes = {name: socket.if_nametoindex(name) for name in ("lo", wanted.name)}
        inside = NetlinkSocket()
    messages = {
        "lo": link.set_up(indexes["lo"]),
        wanted.name: link.set_up(indexes[wanted.name]),
        **{str(item): address.add(Address(wanted.name, item), indexes, nodad=True) for item in wanted.addresses},
        **{str(item): route.add(item, indexes) for item in wanted.routes},
        f"{wanted.name}'s state": link.get(indexes[wanted.name]),
    }
    try:
        _request(inside, messages)
    except BaseException:
        inside.close()
        raise
    return inside


def _request(there: NetlinkSocket, messages: Mapping[str, bytes]) -> None:
    """Sends messages, each under the name of what it is about. Raises `KernelError` about the first that is refused."""
    for failure in there.batch(list(messages.values())):
        raise KernelError(str(failure), where=list(messages)[failure.index], errno=failure.errno)


def _correct(wanted: PodInterface, inside: NetlinkSocket) -> None:
    """Removes what an interface that stood already has too much, and changes what is different."""
    ours = Claim(frozenset({wanted.name}), frozenset(item.network for item in wanted.addresses))
    apply_or_raise(inside, diff(pod_state(wanted), observe(inside), ours))


def _write(setting: Sysctl) -> None:
    try:
        sysctl.write(setting.path, setting.value)
    except KernelError as error:
        if error.errno != errno.ENOENT:  # the kernel has no IPv6
            raise


def _find(socket_there: NetlinkSocket, name: str) -> bytes | None:
    """The message about the device of that name, where the socket is."""
    links = (body for kind, body in socket_there.dump(link.dump()) if kind == link.RTM_NEWLINK)
    return next((body for body in links if link.index_and_name(body)[1] == name), None)


def _index(name: str) -> int | None:
    """The interface index of a device on the node."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


def _remove(node: NetlinkSocket, name: str) -> bool:
    """Removes a device and says whether there was one."""
    index = _index(name)
    if index is None:
        return False
    try:
        node.request(link.remove(index), name)
    except KernelError as error:
        if error.errno not in _GONE:
            raise
    return True
