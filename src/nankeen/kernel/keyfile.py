"""WireGuard's companion: the node's private key, in a file that outlives reboots, so that no peer has to learn anew.

The file is as flannel writes it, and flannel's own is taken over: 32 octets in base64, for its owner alone to read.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nankeen.backend import Backend, Node
from nankeen.kernel.companion import KEY_FILE, Places
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.steps import Refusal
from nankeen.model.diff import Claim
from nankeen.model.errors import InputError
from nankeen.model.secret import Secret
from nankeen.model.state import State
from nankeen.model.wireguard import KeyPair, parse_secret

FLANNELS = Path("/run/flannel/wgkey")
_MODE = 0o400


def companion(backend: Backend, socket: NetlinkSocket, places: Places) -> KeyFile:  # noqa: ARG001
    """WireGuard's: flannel's key is taken over where nobody has chosen another file."""
    return KeyFile(places.key_file, FLANNELS if places.key_file == KEY_FILE else None)


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The file with the node's private key."""

    path: Path
    former: Path | None = None
    """Where else a key may be that the node had before."""

    async def prepare(self, node: Node) -> Node:
        return replace(node, keys=self.load())

    async def begin(self, node: Node) -> None:
        pass

    async def converge(self, desired: State, claim: Claim) -> Sequence[Refusal]:  # noqa: ARG002
        return ()  # the peers are the kernel's

    def load(self) -> KeyPair:
        """The node's keys: those in the file, those of before, else new ones. Raises `InputError`."""
        try:
            found = _read(self.path)
            if found is not None:
                return found
            keys = (_read(self.former) if self.former is not None else None) or KeyPair.generate()
            return self._keep(keys)
        except OSError as error:
            raise InputError(f"the key cannot be kept: {error.strerror}", where=str(self.path)) from error

    def _keep(self, keys: KeyPair) -> KeyPair:
        """Writes the keys, unless another process was faster: then its keys are the node's."""
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(b64encode(keys.private.octets))
                file.flush()
                os.fsync(descriptor)
            os.link(draft, self.path)
        except FileExistsError:
            return _read(self.path) or keys
        finally:
            draft.unlink()
        return keys


def _read(path: Path) -> KeyPair | None:
    """The keys in a file; None where there is none. Others can read it no more afterwards. Raises `InputError`."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                os.fchmod(file.fileno(), _MODE)
            text = file.read(1024).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    private: Secret | None = parse_secret(text)
    if private is None:
        raise InputError(
            "it holds no private key of WireGuard",
            where=str(path),
            remedy="put 32 octets in base64 there, or remove it to have a new key made",
        )
    return KeyPair.of(private)
