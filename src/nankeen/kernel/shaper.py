"""Token buckets on devices: made, compared, taken away. Traffic by one device is led to an IFB to be queued."""

from __future__ import annotations

import errno

from nankeen.kernel.netlink import qdisc, shares
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.address import IPNetwork
from nankeen.model.errors import KernelError
from nankeen.model.shaping import Scope, TokenBucket

_NONE_THERE = frozenset({errno.ENOENT, errno.EINVAL, errno.ENODEV, errno.ENXIO})
"""What the kernel says where there is no such qdisc, or no device."""


def hold(node: NetlinkSocket, name: str, bucket: TokenBucket, scope: Scope) -> None:
    """What the device sends, as far as it is in the scope, passes the bucket from now on. It must have no qdisc of its
    own. Raises `KernelError`.
    """
    index = node.index_of(name)
    messages = (
        shares.make(index, bucket, scope.networks, spares=scope.spares, source=scope.by_source)
        if scope.networks
        else [qdisc.token_bucket(index, bucket)]
    )
    for message in messages:
        node.request(message, f"token bucket of {name}")


def holds(node: NetlinkSocket, name: str, bucket: TokenBucket, scope: Scope) -> bool:
    """Whether that is so. Raises `KernelError`."""
    index = node.index(name)
    if index is None:
        return False
    if not scope.networks:
        found = [qdisc.parse(body) for body in _dump(node, qdisc.dump(index))]
        return any(item.index == index and item.parent == qdisc.ROOT and item.holds(bucket) for item in found)
    share = next(filter(None, map(shares.parse_class, _dump(node, shares.dump_classes(index)))), None)
    filters = frozenset(filter(None, map(shares.parse_filter, _dump(node, shares.dump_filters(index)))))
    wanted: frozenset[tuple[IPNetwork, bool]] = frozenset((network, scope.spares) for network in scope.networks)
    return share is not None and share.holds(bucket) and filters == wanted


def lead(node: NetlinkSocket, name: str, to: str) -> None:
    """What the device receives passes the other one from now on. Raises `KernelError`."""
    index = node.index_of(name)
    node.request(qdisc.ingress(index), f"ingress of {name}")
    node.request(qdisc.redirect(index, node.index_of(to)), f"{name} to {to}")


def leads(node: NetlinkSocket, name: str, to: str) -> bool:
    """Whether that is so. Raises `KernelError`."""
    index, there = node.index(name), node.index(to)
    if index is None or there is None:
        return False
    return there in map(qdisc.parse_redirect, _dump(node, qdisc.dump_filters(index)))


def release(node: NetlinkSocket, name: str) -> None:
    """Takes all of that from the device; what is not there is no error. Raises `KernelError`."""
    index = node.index(name)
    if index is not None:
        for failure in node.batch([qdisc.remove(index, parent) for parent in (qdisc.INGRESS, qdisc.ROOT)]):
            if failure.errno not in _NONE_THERE:
                raise KernelError(str(failure), where=name, errno=failure.errno)


def _dump(node: NetlinkSocket, message: bytes) -> list[bytes]:
    """What a dump tells; nothing where there is nothing that it could tell of."""
    try:
        return [body for _, body in node.dump(message)]
    except KernelError as error:
        if error.errno in _NONE_THERE:
            return []
        raise
