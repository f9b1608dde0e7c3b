"""WireGuard's channel to the kernel: a generic netlink family, which its module brings."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import closing

from nankeen.kernel import ability
from nankeen.kernel.netlink import generic
from nankeen.kernel.netlink import wireguard as messages
from nankeen.kernel.netlink.socket import GENERIC, NetlinkSocket
from nankeen.kernel.steps import Refusal, Step, send
from nankeen.model.diff import Change, Verb
from nankeen.model.errors import KernelError
from nankeen.model.wireguard import WireguardDevice, WireguardPeer


def apply(socket: NetlinkSocket, changes: Sequence[Change]) -> list[Refusal]:
    """Makes changes of settings and peers, in the namespace of an rtnetlink socket; returns those that were refused."""
    if not changes:
        return []
    with closing(socket.sibling(GENERIC)) as channel:
        try:
            family = generic.family(channel, messages.NAME)
        except KernelError as error:
            return [Refusal(change, error.errno, ability.lack(messages.NAME)) for change in changes]
        return send(channel, [_step(family, change) for change in changes], {})


def observe(socket: NetlinkSocket, devices: Iterable[str]) -> list[WireguardDevice | WireguardPeer]:
    """What these WireGuard devices are set to, and their peers. Raises `KernelError`."""
    wanted = list(devices)
    if not wanted:
        return []
    found: list[WireguardDevice | WireguardPeer] = []
    with closing(socket.sibling(GENERIC)) as channel:
        family = generic.family(channel, messages.NAME)
        for device in wanted:
            answers = channel.dump(messages.get_device(family, device))
            found += messages.parse((body for _, body in answers), time.time())
    return found


def _step(family: int, change: Change) -> Step:
    wanted, observed = change.object, change.observed
    match wanted:
        case WireguardDevice():
            return Step(change, lambda _: messages.set_device(family, wanted))
        case WireguardPeer() if change.verb is Verb.REMOVE:
            return Step(change, lambda _: messages.remove_peer(family, wanted))
        case WireguardPeer():
            standing = observed if isinstance(observed, WireguardPeer) else None
            return Step(change, lambda _: messages.set_peer(family, wanted, standing))
    raise TypeError(f"{wanted} is not WireGuard's")
