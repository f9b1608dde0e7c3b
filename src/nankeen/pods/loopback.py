"""A pod's loopback interface, as the reference plugin of that name keeps it. Our own ADD sets it up, too."""

from __future__ import annotations

from collections.abc import Iterator

from nankeen.cni.result import Result, ResultAddress, ResultInterface
from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink import address, link
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.address import HardwareAddress, IPInterface
from nankeen.model.errors import KernelError
from nankeen.pods.attach import find

NAME = "lo"
_NO_ADDRESS = HardwareAddress(bytes(6))


def set_up(pod: Namespace, sandbox: str, *, told: bool = True) -> Result:
    """Sets it up, which gives it its addresses. Raises `KernelError`."""
    with NetlinkSocket(pod) as inside:
        inside.request(link.set_up(_index(inside)), NAME)
        addresses = list(_addresses(inside)) if told else []
    interface = ResultInterface(NAME, _NO_ADDRESS, sandbox=sandbox)
    return Result((interface,), tuple(ResultAddress(item, interface=0) for item in addresses), ())


def set_down(pod: Namespace) -> None:
    """Sets it down. Raises `KernelError`."""
    with NetlinkSocket(pod) as inside:
        inside.request(link.set_down(_index(inside)), NAME)


def faults(pod: Namespace) -> Iterator[str]:
    """What is wrong with it, in words. Raises `KernelError`."""
    with NetlinkSocket(pod) as inside:
        found = find(inside, NAME)
    if found is None or not link.parse(found, {}).up:
        yield "the pod's loopback interface is down"


def _addresses(inside: NetlinkSocket) -> Iterator[IPInterface]:
    index = _index(inside)
    for _, body in inside.dump(address.dump()):
        found = address.parse(body, {index: NAME})
        if found is not None:
            yield found.interface


def _index(inside: NetlinkSocket) -> int:
    index = inside.index(NAME)
    if index is None:
        raise KernelError("the pod has no loopback interface")
    return index
