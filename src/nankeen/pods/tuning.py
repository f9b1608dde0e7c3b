"""A pod's interface and namespace, changed as the configuration of a chain's member `tuning` asks for.

Nothing is kept to be put back: the interface and the namespace go with the pod.
"""

from __future__ import annotations

from collections.abc import Iterator

from nankeen.cni.tuning import Tuning
from nankeen.kernel import sysctl
from nankeen.kernel.namespace import Namespace, entered
from nankeen.kernel.netlink import link, reception
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.errors import KernelError
from nankeen.model.state import Device, Link
from nankeen.pods.attach import find


def tune(wanted: Tuning, interface: str, pod: Namespace) -> None:
    """Changes what is to be changed. Raises `KernelError`."""
    with entered(pod):
        for setting in wanted.settings:
            sysctl.write(setting.path, setting.value)
    with NetlinkSocket(pod) as inside:
        found = find(inside, interface)
        if found is None:
            raise KernelError(f"the pod has no interface {interface}")
        index, name = link.index_and_name(found)
        inside.request(link.change(_link(wanted, name), link.parse(found, {}), {name: index}), name)
        modes = reception.change(index, promiscuous=wanted.promiscuous, all_multicast=wanted.all_multicast)
        inside.request(modes, name)


def faults(wanted: Tuning, interface: str, pod: Namespace) -> Iterator[str]:
    """What is not as it is to be, in words. Raises `KernelError`."""
    with entered(pod):
        values = {setting: sysctl.read(setting.path) for setting in wanted.settings}
    for setting, value in values.items():
        if value is None or value.split() != setting.value.split():
            yield f"{setting.path} is {'not there' if value is None else value}, not {setting.value}"
    with NetlinkSocket(pod) as inside:
        found = find(inside, interface)
    if found is None:
        yield f"the pod has no interface {interface}"
        return
    yield from _link_faults(wanted, interface, found)


def _link_faults(wanted: Tuning, interface: str, body: bytes) -> Iterator[str]:
    found, (promiscuous, all_multicast) = link.parse(body, {}), reception.parse(body)
    for what, value, expected in (
        ("hardware address", found.address, wanted.hardware_address),
        ("MTU", found.mtu, wanted.mtu),
        ("transmit queue", found.txqlen, wanted.queue_length),
        ("promiscuous mode", promiscuous, wanted.promiscuous),
        ("all-multicast mode", all_multicast, wanted.all_multicast),
    ):
        if expected is not None and value != expected:
            yield f"the pod's {interface} has {what} {_told(value)}, not {_told(expected)}"


def _told(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _link(wanted: Tuning, name: str) -> Link:
    """The link as far as it is to be changed; its kind is not sent."""
    return Link(name, Device(""), wanted.mtu, wanted.hardware_address, txqlen=wanted.queue_length)
