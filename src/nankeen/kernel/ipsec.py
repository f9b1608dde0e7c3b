"""IPsec's companion: charon, and what it is told. The policies themselves are the kernel's, and stand before."""

from __future__ import annotations

from collections.abc import Sequence

from nankeen.backend import Backend, Node
from nankeen.kernel import xfrm
from nankeen.kernel.charon import Charon, find
from nankeen.kernel.companion import Places
from nankeen.kernel.ike import Ike
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.steps import Refusal
from nankeen.kernel.vici import Vici
from nankeen.model.diff import Claim
from nankeen.model.state import State


def companion(backend: Backend, socket: NetlinkSocket, places: Places) -> KeyExchange:  # noqa: ARG001
    """IPsec's."""
    return KeyExchange(socket, Charon(places.charon_socket, places.charon_pid_file))


class KeyExchange:
    """One charon, kept alive and kept informed."""

    def __init__(self, socket: NetlinkSocket, charon: Charon) -> None:
        self._socket = socket
        self._charon = charon
        self._vici: Vici | None = None
        self._ike = Ike()

    async def prepare(self, node: Node) -> Node:
        """Refuses to begin what could not be protected."""
        xfrm.require_esp(self._socket)
        find()
        return node

    async def begin(self, node: Node) -> None:  # noqa: ARG002  (charon binds to all addresses)
        await self._connection()

    async def converge(self, desired: State, claim: Claim) -> Sequence[Refusal]:
        return await self._ike.converge(await self._connection(), desired, claim)

    async def _connection(self) -> Vici:
        """The one that stands; where charon has ended, a new one to a new charon, which has forgotten everything."""
        if self._vici is None or not self._vici.is_open:
            self._vici = await self._charon.connect()
        return self._vici
