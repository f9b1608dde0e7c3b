"""What pods left that are no more: addresses and interfaces that no DEL took back, as after a runtime's crash.

A runtime tells at a garbage collection (CNI 1.1.0, GC) which attachments stand. Not every runtime does: when a range is
used up, what certainly nobody uses any more is found without it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

from nankeen.cni.config import PluginConfig
from nankeen.cni.request import Attachment
from nankeen.kernel.netlink import link
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.state import Link, Veth
from nankeen.pods.holders import Holder
from nankeen.pods.interface import host_hardware_address, host_name

FORGOTTEN_SECONDS = 600.0
"""How long after an ADD its runtime may still be writing down the result."""


def stale(holders: Iterable[Holder], valid: AbstractSet[Attachment]) -> tuple[Holder, ...]:
    """Those whom the runtime does not know any more. One that names no interface is known by its container."""
    containers = {item.container for item in valid}
    return tuple(
        holder
        for holder in holders
        if (holder.attachment not in valid if holder.attachment.interface else _container(holder) not in containers)
    )


def stale_ports(config: PluginConfig, valid: Iterable[Attachment]) -> tuple[str, ...]:
    """Ports of the network's bridge that we made for the network, and for no attachment that is valid.

    Raises `KernelError`.
    """
    known = {host_name(config.name, item, config.bridge) for item in valid}
    with NetlinkSocket() as node:
        bodies = [body for kind, body in node.dump(link.dump()) if kind == link.RTM_NEWLINK]
    names = dict(link.index_and_name(body) for body in bodies)
    found = [link.parse(body, names) for body in bodies]
    return tuple(item.name for item in found if item.name not in known and _is_port_of(config, item))


def forgotten(holders: Collection[Holder], config: PluginConfig, results: Path) -> Iterator[Holder]:
    """Those whose pod has certainly ended, also where the runtime tells nothing.

    Nothing survives a boot. And a runtime of the reference library keeps the result of every ADD until the DEL, in
    files `<network>-<container>-<interface>`: what has neither that nor an interface on the node is nobody's.
    """
    now, boot = time.time(), _boot_time()
    kept = _results(results)
    for holder in holders:
        item = holder.attachment
        old = holder.since < boot
        lost = kept is not None and now - holder.since > FORGOTTEN_SECONDS and not _is_kept(config.name, item, kept)
        if (old or lost) and not _stands(host_name(config.name, item, config.bridge)):
            yield holder


def _container(holder: Holder) -> str:
    return holder.attachment.container


def _is_port_of(config: PluginConfig, found: Link) -> bool:
    ours = found.name.startswith("veth") and found.address == host_hardware_address(config.name, found.name)
    return isinstance(found.kind, Veth) and found.master == config.bridge and ours


def _is_kept(network: str, item: Attachment, kept: AbstractSet[str]) -> bool:
    """Whether the runtime keeps a result for it; for one that names no interface, any of its container's will do."""
    name = f"{network}-{item.container}-{item.interface}"
    return name in kept if item.interface else any(found.startswith(name) for found in kept)


def _results(directory: Path) -> frozenset[str] | None:
    """The results that are kept; None where there is no sign that the runtime keeps them at all."""
    try:
        return frozenset(os.listdir(directory)) or None  # noqa: PTH208  (names are all that is wanted)
    except FileNotFoundError:
        return None


def _stands(device: str) -> bool:
    with NetlinkSocket() as node:
        return node.index(device) is not None


def _boot_time() -> float:
    """When this machine booted, in seconds since the epoch, a minute earlier: a clock may have been set since."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) - 60
