"""What some backends need besides the kernel: a key, an IKE daemon, an administrator's commands.

A backend decides and touches nothing; its companion does. It is made once for a backend, and called in this order:

    prepare(node)             before the node asks for a lease: the node as the backend wants to know it
    begin(node)               when the node has its lease
    converge(desired, claim)  whenever the desired state has changed, and now and then: what was not made is told

Those backends that need nothing have a companion that does nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from nankeen.backend import Backend, Node
from nankeen.kernel import charon
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.steps import Refusal
from nankeen.model.diff import Claim
from nankeen.model.state import State

KEY_FILE = Path("/var/lib/nankeen/wireguard.key")
RECORD = Path("/run/nankeen/extension")

_MODULES = {
    "extension": "nankeen.kernel.extension",
    "ipsec": "nankeen.kernel.ipsec",
    "wireguard": "nankeen.kernel.keyfile",
}


@dataclass(frozen=True, slots=True)
class Places:
    """Where companions keep, and find, what is theirs."""

    key_file: Path = KEY_FILE
    """WireGuard's private key, in base64."""
    record: Path = RECORD
    """A directory: which of the extension's commands have run. It need not outlive a boot, and must not be others'."""
    charon_socket: Path = charon.SOCKET
    charon_pid_file: Path = charon.PID_FILE

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Places:
        """As the environment says: WIREGUARD_KEY_FILE is flannel's variable, too."""
        return cls(key_file=Path(environment.get("WIREGUARD_KEY_FILE") or KEY_FILE))


class Companion(Protocol):
    """The contract. Each method may raise `KernelError` and `InputError`: the backend cannot work then."""

    async def prepare(self, node: Node) -> Node:
        """The node with the facts that only the companion knows."""

    async def begin(self, node: Node) -> None:
        """Makes ready what needs the lease."""

    async def converge(self, desired: State, claim: Claim) -> Sequence[Refusal]:
        """Makes what is outside the kernel equal to the desired state, and returns the changes that failed: they are
        tried again at each call. Only one call at a time.
        """


class Alone:
    """The companion of a backend that needs none."""

    async def prepare(self, node: Node) -> Node:
        return node

    async def begin(self, node: Node) -> None:
        pass

    async def converge(self, desired: State, claim: Claim) -> Sequence[Refusal]:  # noqa: ARG002
        return ()


def open_companion(backend: Backend, socket: NetlinkSocket, places: Places) -> Companion:
    """The backend's companion; `socket` tells the network namespace to work in."""
    module = _MODULES.get(backend.name)
    if module is None:
        return Alone()
    companion: Companion = import_module(module).companion(backend, socket, places)
    return companion
