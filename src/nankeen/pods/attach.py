"""A pod's interface is made: a veth pair, one end in the pod, the other a port of the node's bridge.

Each end is made in its final namespace by one message: to make it first and move it then costs ten times as much, for
the kernel waits, with all links locked. The node's end has a name that follows from the attachment, so that it is
found again without anything being written down; `nankeen.pods.removal` takes it away.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Mapping

from nankeen.cni.error import CniError, Code
from nankeen.kernel import namespace as namespaces
from nankeen.kernel import sysctl
from nankeen.kernel.apply import apply_or_raise
from nankeen.kernel.namespace import Namespace, entered
from nankeen.kernel.netlink import address, bridge, link, route
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.observe import observe
from nankeen.model.address import HardwareAddress
from nankeen.model.diff import Claim, diff
from nankeen.model.errors import KernelError
from nankeen.model.state import Address, Link, Sysctl, Veth
from nankeen.pods.interface import PodInterface, pod_state, pod_sysctls
from nankeen.pods.ports import alias_of

_GONE = frozenset({errno.ENODEV, errno.ENXIO})
_DEFAULT_VLAN = 1
_LOOPBACK = 1
"""LOOPBACK_IFINDEX: the same in every namespace (include/net/flow.h)."""


def attach(wanted: PodInterface, pod: Namespace) -> HardwareAddress | None:
    """Makes the interface, or puts right the one that an earlier call made; returns the bridge's hardware address. On
    failure nothing is left that it made.

    Raises `CniError` where the name is taken in the pod, or there is no such bridge; `KernelError`.
    """
    with NetlinkSocket() as node:
        master = node.index(wanted.bridge)
        if master is None:
            raise CniError(Code.TRY_AGAIN_LATER, "there is no such bridge yet", where=wanted.bridge)
        made = _ensure_pair(wanted, pod, master, node)
        try:
            port = _set_up_node_end(wanted, master, node)
            with _set_up_pod_end(wanted, pod) as inside:
                if not made:
                    _correct(wanted, inside)
            _request(node, {wanted.host_name: link.get(port)})
            return node.hardware_address(wanted.bridge)
        except BaseException:
            if made:
                _remove(node, wanted.host_name)
            raise


def is_own(pod: Namespace) -> bool:
    """Whether it is the namespace that we are in ourselves."""
    with namespaces.current() as own:
        return own.inode == pod.inode


def find(there: NetlinkSocket, name: str) -> bytes | None:
    """The message about the device of that name, where the socket is. Raises `KernelError`."""
    index = there.index(name)
    if index is None:
        return None
    try:
        return there.query(link.get(index), name)[0]
    except KernelError as error:
        if error.errno in _GONE:
            return None
        raise


def _ensure_pair(wanted: PodInterface, pod: Namespace, master: int, node: NetlinkSocket) -> bool:
    """Whether the pair was made now; False where it stands already."""
    pair = link.veth(
        wanted.host_name,
        wanted.name,
        pod.descriptor,
        mtu=wanted.mtu,
        master=master,
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
        standing = find(inside, wanted.name)
    if standing is None:
        problem = "a device of this name stands on the node, and is not this pod's"
        raise CniError(Code.INTERFACE_TAKEN, problem, where=wanted.host_name, remedy="remove it, or DEL the attachment")
    if link.peer_index(standing) != node.index(wanted.host_name):
        problem = "the pod has an interface of this name that is not ours"
        raise CniError(Code.INTERFACE_TAKEN, problem, where=wanted.name, remedy="another CNI_IFNAME, or DEL first")
    return False


def _set_up_node_end(wanted: PodInterface, master: int, node: NetlinkSocket) -> int:
    """The interface index of the node's end, which is up now."""
    index = node.index_of(wanted.host_name)
    # Before it is up: a pod must not be able to hand the node a router (CVE-2020-10749).
    write_setting(Sysctl(f"net/ipv6/conf/{wanted.host_name}/accept_ra", "0"))
    port = Link(wanted.host_name, Veth(), wanted.mtu, master=wanted.bridge)
    messages = {
        wanted.host_name: link.change(port, port, {wanted.host_name: index, wanted.bridge: master}),
        f"{wanted.host_name} on {wanted.bridge}": bridge.port(index, hairpin=wanted.hairpin, isolated=wanted.isolated),
        f"alias of {wanted.host_name}": link.set_alias(index, alias_of(wanted)),
        **dict(_port_vlans(wanted, index)),
    }
    _request(node, messages)
    return index


def _port_vlans(wanted: PodInterface, index: int) -> Iterator[tuple[str, bytes]]:
    """The messages that put the node's end into its VLANs, each with what it is about."""
    vlans = wanted.vlans
    if (vlans.native or vlans.trunk) and not vlans.keep_default and vlans.native != _DEFAULT_VLAN:
        yield f"{wanted.host_name} out of VLAN {_DEFAULT_VLAN}", bridge.leave_vlan(index, _DEFAULT_VLAN)
    if vlans.native:
        yield f"{wanted.host_name} in VLAN {vlans.native}", bridge.native_vlan(index, vlans.native)
    for first, last in vlans.trunk:
        yield f"{wanted.host_name} in VLANs {first} to {last}", bridge.tagged_vlans(index, first, last)


def _set_up_pod_end(wanted: PodInterface, pod: Namespace) -> NetlinkSocket:
    """Adds what is missing; what stands already stays as it is. Gives the socket in the pod that it was done with."""
    with entered(pod):
        for setting in pod_sysctls(wanted):
            write_setting(setting)
        indexes = {"lo": _LOOPBACK, wanted.name: socket.if_nametoindex(wanted.name)}
        inside = NetlinkSocket()
    messages = {
        "lo": link.set_up(indexes["lo"]),
        wanted.name: link.set_up(indexes[wanted.name], wanted.gso_max_size),
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


def write_setting(setting: Sysctl) -> None:
    """Sets it in the namespace that this thread is in; one that is not there is no error. Raises `KernelError`."""
    try:
        sysctl.write(setting.path, setting.value)
    except KernelError as error:
        if error.errno != errno.ENOENT:  # the kernel has no IPv6
            raise


def _remove(node: NetlinkSocket, name: str) -> None:
    """Removes a device, if there is one."""
    index = node.index(name)
    if index is None:
        return
    try:
        node.request(link.remove(index), name)
    except KernelError as error:
        if error.errno not in _GONE:
            raise
