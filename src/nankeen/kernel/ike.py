"""IKE connections and secrets kept in charon: what it holds is compared with what is wanted, and made equal.

Charon tells the names of what it holds, not the contents. What this process has loaded is remembered; what an earlier
one left is loaded again, which charon takes for what it has already where it is the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from nankeen.kernel.steps import Refusal
from nankeen.kernel.vici import Message, Section, Vici
from nankeen.model.address import Family, parse_address, parse_network
from nankeen.model.diff import Change, Claim, Verb, diff
from nankeen.model.errors import InputError, KernelError
from nankeen.model.ike import IkeConnection, IkeSecret
from nankeen.model.secret import Secret
from nankeen.model.state import Identity, Object, State
from nankeen.model.xfrm import REQID

KINDS: frozenset[type[Object]] = frozenset({IkeConnection, IkeSecret})

_IKE_PROPOSAL = "aes256-sha256-modp4096"
"""Flannel's: both ends must want the same."""
_SECRET = "nankeen-"  # noqa: S105  (a name's beginning)
"""What the names of our secrets begin with; an address follows."""
_NAME = re.compile(r"([0-9.]+)-([0-9./]+)-([0-9./]+)-([0-9.]+)")
_UNKNOWN = "?"


class Ike:
    """What one charon holds for us."""

    def __init__(self) -> None:
        self._loaded: dict[Identity, Object] = {}

    async def converge(self, vici: Vici, desired: State, claim: Claim) -> list[Refusal]:
        """Makes charon's connections and secrets equal to the desired ones, and returns the changes it refused.

        Raises `KernelError` where charon cannot be talked to.
        """
        observed = await self._observe(vici)
        refused = []
        for change in diff(desired, observed, claim, KINDS):
            try:
                await vici.request(*command(change))
            except KernelError as error:
                refused.append(Refusal(change, error.errno, error.problem))
            else:
                self._remember(change)
        return refused

    async def _observe(self, vici: Vici) -> State:
        connections = names(await vici.request("get-conns", {}), "conns")
        secrets = names(await vici.request("get-shared", {}), "keys")
        found = (*map(_connection, connections), *map(_secret, secrets))
        return State(self._loaded.get(item.identity, item) for item in found if item is not None)

    def _remember(self, change: Change) -> None:
        if change.verb is Verb.REMOVE:
            self._loaded.pop(change.object.identity, None)
        else:
            self._loaded[change.object.identity] = change.object


def command(change: Change) -> tuple[str, Message]:
    """What charon is told to make a change."""
    match change.object:
        case IkeConnection() as connection if change.verb is Verb.REMOVE:
            return "unload-conn", {"name": connection.name}
        case IkeConnection() as connection:
            return "load-conn", {connection.name: _describe(connection)}
        case IkeSecret(owner=owner) if change.verb is Verb.REMOVE:
            return "unload-shared", {"id": f"{_SECRET}{owner}"}
        case IkeSecret(owner=owner, secret=secret):
            return "load-shared", {
                "id": f"{_SECRET}{owner}", "type": "IKE", "data": secret.octets, "owners": [str(owner)],
            }  # fmt: skip
    raise TypeError(f"{change.object} is not charon's")


def _describe(connection: IkeConnection) -> Message:
    """A connection in the words of swanctl.conf(5). The policies are in the kernel already, and stay there."""
    return {
        "version": "2",
        "proposals": [_IKE_PROPOSAL],
        "keyingtries": "0",
        "encap": "yes" if connection.encap else "no",
        "local_addrs": [str(connection.local)],
        "remote_addrs": [str(connection.remote)],
        "local": {"auth": "psk"},
        "remote": {"auth": "psk"},
        "children": {
            connection.child: {
                "mode": "tunnel",
                "local_ts": [str(connection.local_subnet)],
                "remote_ts": [str(connection.remote_subnet)],
                "esp_proposals": [connection.proposal],
                "start_action": "start",
                "close_action": "trap",
                "dpd_action": "restart",
                "rekey_time": "1h",
                "reqid": str(REQID),
                "policies": "no",
            }
        },
    }


def names(answer: Section, key: str) -> Sequence[str]:
    """The names that an answer lists."""
    listed = answer.get(key, [])
    return [name.decode(errors="replace") for name in listed] if isinstance(listed, list) else []


def _connection(name: str) -> IkeConnection | None:
    """The connection of that name, where it is one of ours: its contents are not known."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        local, remote = (parse_address(match[group], Family.IPV4) for group in (1, 4))
        own, far = (parse_network(match[group], Family.IPV4) for group in (2, 3))
    except InputError:
        return None  # somebody else's name that only looks like one
    found = IkeConnection(local, remote, own, far, _UNKNOWN)
    return found if found.name == name else None


def _secret(name: str) -> IkeSecret | None:
    if not name.startswith(_SECRET):
        return None
    try:
        return IkeSecret(parse_address(name.removeprefix(_SECRET)), Secret(b""))
    except InputError:
        return None
