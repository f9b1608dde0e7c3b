"""How much a pod may receive and send: token buckets on the node, where the pod has no say (tc-tbf(8)).

    to the pod       the bridge ──▶ token bucket of the node's end ──▶ the pod
    from the pod     the pod ──▶ the node's end ──▶ an IFB device with a token bucket ──▶ the bridge

As the reference plugin bandwidth does it, and under its name for the IFB, so that either takes back what the other
made. Packets wait for their turn, as they would before a slow line; a police action would drop them.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterable, Iterator
from hashlib import sha512

from nankeen.cni.request import Attachment
from nankeen.cni.result import ResultInterface
from nankeen.kernel.netlink import link, qdisc
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.address import HardwareAddress
from nankeen.model.errors import KernelError
from nankeen.model.shaping import Limit, Shaping
from nankeen.model.state import Device, Link
from nankeen.pods.attach import find

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
            except KernelError as error:
                _unmake(port.name, name, node)
                if error.errno in _LACKING:
                    raise KernelError(error.problem, where=error.where, remedy=_REMEDY, errno=error.errno) from error
                raise
    return ResultInterface(name, ifb_address(network, name), port.mtu) if wanted.sent else None


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


def ifb_address(network: str, name: str) -> HardwareAddress:
    """An IFB's hardware address means nothing to anybody, so it tells which network the device was made for."""
    return HardwareAddress(b"\x02" + hashlib.sha256(f"{network}{name}".encode()).digest()[:5])


def _is_of(network: str, found: Link) -> bool:
    named = found.kind == _IFB and found.name.startswith(_PREFIX)
    return named and found.address == ifb_address(network, found.name)


def _make(wanted: Shaping, port: Link, network: str, name: str, node: NetlinkSocket) -> None:
    _unmake(port.name, name, node)
    index = _index(port.name, node)
    if wanted.received is not None:
        _fill(port.name, index, wanted.received, port, node)
    if wanted.sent is not None:
        node.request(link.create(Link(name, _IFB, port.mtu, ifb_address(network, name)), {}), name)
        ifb = _index(name, node)
        _fill(name, ifb, wanted.sent, port, node)
        node.request(link.set_up(ifb), name)
        node.request(qdisc.ingress(index), f"ingress of {port.name}")
        node.request(qdisc.redirect(index, ifb), f"{port.name} to {name}")


def _fill(name: str, index: int, limit: Limit, port: Link, node: NetlinkSocket) -> None:
    node.request(qdisc.token_bucket(index, limit.bucket(port.mtu or 0)), f"token bucket of {name}")


def _unmake(end: str, name: str, node: NetlinkSocket) -> None:
    """Takes away whatever limits there are; what is not there is no error."""
    index, ifb = node.index(end), node.index(name)
    messages = [qdisc.remove(index, parent) for parent in (qdisc.INGRESS, qdisc.ROOT)] if index is not None else []
    messages += [link.remove(ifb)] if ifb is not None else []
    for failure in node.batch(messages):
        if failure.errno not in (errno.ENOENT, errno.EINVAL, errno.ENODEV):
            raise KernelError(str(failure), where=end, errno=failure.errno)


def _faults(wanted: Shaping, port: Link, name: str, node: NetlinkSocket) -> Iterator[str]:
    if wanted.received is not None:
        yield from _bucket_faults(port.name, wanted.received, port, node)
    if wanted.sent is None:
        return
    ifb = node.index(name)
    if ifb is None:
        yield f"the node has no {name}"
        return
    yield from _bucket_faults(name, wanted.sent, port, node)
    leads = [qdisc.parse_redirect(body) for body in _filters(port.name, node)]
    if ifb not in leads:
        yield f"what the pod sends by {port.name} does not pass {name}"


def _bucket_faults(name: str, limit: Limit, port: Link, node: NetlinkSocket) -> Iterator[str]:
    bucket, index = limit.bucket(port.mtu or 0), node.index(name)
    found = [qdisc.parse(body) for _, body in node.dump(qdisc.dump(index or 0))]
    if not any(item.index == index and item.parent == qdisc.ROOT and item.holds(bucket) for item in found):
        yield f"{name} has no token bucket of {bucket}"


def _filters(end: str, node: NetlinkSocket) -> list[bytes]:
    """The filters of what a device receives; none where there is no place for them."""
    index = node.index(end)
    if index is None:
        return []
    try:
        return [body for _, body in node.dump(qdisc.dump_filters(index))]
    except KernelError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return []
        raise


def _index(name: str, node: NetlinkSocket) -> int:
    index = node.index(name)
    if index is None:
        raise KernelError("the device has gone again", where=name, errno=errno.ENODEV)
    return index
