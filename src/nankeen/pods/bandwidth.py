"""How much a pod may receive and send: token buckets on the node, where the pod has no say (tc-tbf(8)).

    to the pod       the bridge ──▶ token bucket of the node's end ──▶ the pod
    from the pod     the pod ──▶ the node's end ──▶ an IFB device with a token bucket ──▶ the bridge

As the reference plugin bandwidth does it, and under its name for the IFB, so that either takes back what the other
made. Packets wait for their turn, as they would before a slow line; a police action would drop them.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from hashlib import sha512

from nankeen.cni.request import Attachment
from nankeen.cni.result import ResultInterface
from nankeen.kernel import shaper
from nankeen.kernel.netlink import link
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.errors import KernelError
from nankeen.model.shaping import Shaping
from nankeen.model.state import Device, Link
from nankeen.pods.attach import find
from nankeen.pods.interface import host_hardware_address
from nankeen.pods.removal import remove_all

_PREFIX, _LENGTH = "bwp", 15
_IFB = Device("ifb")
_USUAL_INTERFACE = "eth0"
_REMEDY = "the kernel needs sch_tbf, sch_ingress, cls_u32, act_mirred and ifb"
_LACKING = frozenset({errno.ENOENT, errno.EOPNOTSUPP})


def ifb_name(network: str, container: str, interface: str = _USUAL_INTERFACE) -> str:
    """Of a pod's IFB device. The reference plugin leaves the interface out, and so can limit but one."""
    text = network + container + ("" if interface in ("", _USUAL_INTERFACE) else f"\n{interface}")
    return (_PREFIX + sha512(text.encode()).hexdigest())[:_LENGTH]


def shape(wanted: Shaping, network: str, attachment: Attachment, end: str) -> ResultInterface | None:
    """Limits what passes `end`, the node's end of an attachment's interface; the same again changes nothing.

    Returns the IFB device where there is one. On failure what was made is taken away. Raises `KernelError`.
    """
    name = ifb_name(network, attachment.container, attachment.interface)
    with NetlinkSocket() as node:
        found = find(node, end)
        if found is None:
            raise KernelError("the device has gone again", where=end, errno=errno.ENODEV)
        port = link.parse(found, {})
        if any(_faults(wanted, port, name, node)):
            try:
                _make(wanted, port, network, name, node)
            except BaseException as error:
                _unmake(port.name, name, node)
                if isinstance(error, KernelError) and error.errno in _LACKING:
                    raise KernelError(error.problem, where=error.where, remedy=_REMEDY, errno=error.errno) from error
                raise
    return ResultInterface(name, host_hardware_address(network, name), port.mtu) if wanted.sent else None


def faults(wanted: Shaping, network: str, attachment: Attachment, end: str) -> list[str]:
    """What is missing of the limits, in words. Raises `KernelError`."""
    if not wanted:
        return []
    with NetlinkSocket() as node:
        found = find(node, end)
        if found is None:
            return [f"the node has no {end}"]
        name = ifb_name(network, attachment.container, attachment.interface)
        return list(_faults(wanted, link.parse(found, {}), name, node))


def stale(network: str, valid: Iterable[Attachment]) -> tuple[str, ...]:
    """IFB devices that were made for the network, and for no attachment that is valid. Raises `KernelError`."""
    known = {ifb_name(network, item.container, item.interface) for item in valid}
    with NetlinkSocket() as node:
        found = [link.parse(body, {}) for kind, body in node.dump(link.dump()) if kind == link.RTM_NEWLINK]
    return tuple(item.name for item in found if item.name not in known and _is_of(network, item))


def _is_of(network: str, found: Link) -> bool:
    named = found.kind == _IFB and found.name.startswith(_PREFIX)
    return named and found.address == host_hardware_address(network, found.name)


def _make(wanted: Shaping, port: Link, network: str, name: str, node: NetlinkSocket) -> None:
    _unmake(port.name, name, node)
    received, sent = wanted.scopes
    if wanted.received is not None:
        shaper.hold(node, port.name, wanted.received.bucket(port.mtu or 0), received)
    if wanted.sent is not None:
        ifb = Link(name, _IFB, port.mtu, host_hardware_address(network, name), txqlen=port.txqlen)
        node.request(link.create(ifb, {}), name)
        shaper.hold(node, name, wanted.sent.bucket(port.mtu or 0), sent)
        node.request(link.set_up(node.index_of(name)), name)
        shaper.lead(node, port.name, name)


def _unmake(end: str, name: str, node: NetlinkSocket) -> None:
    """Takes away whatever limits there are; what is not there is no error."""
    shaper.release(node, end)
    remove_all(node, [name])


def _faults(wanted: Shaping, port: Link, name: str, node: NetlinkSocket) -> Iterator[str]:
    ends = (port.name, wanted.received), (name, wanted.sent)
    for (device, limit), scope in zip(ends, wanted.scopes, strict=True):
        if limit is None:
            continue
        bucket = limit.bucket(port.mtu or 0)
        if node.index(device) is None:
            yield f"the node has no {device}"
        elif not shaper.holds(node, device, bucket, scope):
            yield f"{device} has no token bucket of {bucket}"
    if wanted.sent is not None and not shaper.leads(node, port.name, name):
        yield f"what the pod sends by {port.name} does not pass {name}"
