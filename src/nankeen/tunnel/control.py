"""How the data path process is told what it shall do, and asked what it has done: one JSON document a line.

    {"do": "configure", "device": "flannel0", "mtu": 1472, "sockets": [[LOCAL, PORT, SUBNET]], "peers": [PEER, …]}
    {"do": "change", "device": "flannel0", "added": [PEER, …], "removed": [SUBNET, …]}
    {"do": "report"}
    {"do": "show"}
    {"do": "stop"}

where a PEER is [SUBNET, ENDPOINT, PORT, NODE]. Each line is answered by one: `{"answer": "ok"}`, `{"answer": "error",
"problem": …}`, `{"answer": "report", "report": …}`, or `{"answer": "settings", "settings": …}` with what was told by
`configure` and every `change` since, or without where nothing was. Here is what is said; `listener.py` and
`client.py` say it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton
from typing import Annotated, Literal, NoReturn

import msgspec

from nankeen import __version__
from nankeen.model.address import IPAddress, IPNetwork
from nankeen.model.errors import InputError
from nankeen.model.state import Link, State
from nankeen.model.tunnel import TunnelPeer, TunnelSocket

SOCKET = Path("/run/nankeen/tunnel.sock")
LONGEST = 16 * 1024 * 1024
"""Octets of a line at most; one of 5,000 peers has 250,000."""

_WHERE = "the data path's control"


def _code() -> str:
    """A digest of this package: two processes that agree in it run the same code."""
    digest = blake2b(digest_size=6)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


VERSION = f"{__version__}-{_code()}"
"""Of the code that this process runs, as it was when the process began."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the data path of one device needs to know. Subnets of peers do not overlap.

    Peers are all that may send by it, also those whose packets go by another backend here: the kernel's routes decide
    what comes to the device.
    """

    device: str
    mtu: int
    """Largest packet of the device, in bytes: an inner one."""
    sockets: tuple[TunnelSocket, ...]
    """One of each family at most."""
    peers: tuple[TunnelPeer, ...]

    @classmethod
    def of(cls, desired: State, device: str) -> Settings | None:
        """A device's part of a desired state; None where that has no such device, or nothing to bind it to."""
        link = desired.get((Link, device))
        sockets = tuple(item for item in desired.of(TunnelSocket) if item.device == device)
        if not isinstance(link, Link) or link.mtu is None or not sockets:
            return None
        return cls(device, link.mtu, sockets, tuple(item for item in desired.of(TunnelPeer) if item.device == device))


@dataclass(frozen=True, slots=True)
class Configure:
    """Do this, and nothing else, from now on. What is as it was goes on undisturbed: an agent that starts says it all
    again. A device of that name may have been made anew meanwhile.
    """

    settings: Settings


@dataclass(frozen=True, slots=True)
class Change:
    """A few peers of many: those that go, then those that come. One that comes takes the place of its subnet's last."""

    device: str
    added: tuple[TunnelPeer, ...] = ()
    removed: tuple[IPNetwork, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """For the report."""


@dataclass(frozen=True, slots=True)
class Show:
    """What the data path goes by."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End, when this has been answered."""


Request = Configure | Change | Ask | Show | Stop


@dataclass(frozen=True, slots=True)
class Counters:
    """What went to a peer and came from it, in inner packets and their bytes, since the process began."""

    sent_packets: int = 0
    sent_bytes: int = 0
    received_packets: int = 0
    received_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What the data path has done."""

    path: str = ""
    """Which offloads are in use, in words."""
    peers: dict[str, Counters] = field(default_factory=dict)
    """By node."""
    drops: dict[str, int] = field(default_factory=dict)
    """Packets that went nowhere, by reason."""
    version: str = VERSION
    """Of the code that the process runs."""


@dataclass(frozen=True, slots=True)
class Done:
    """It was done."""


@dataclass(frozen=True, slots=True)
class Refused:
    """It was not done."""

    problem: str


@dataclass(frozen=True, slots=True)
class Known:
    """What the data path goes by; None where it was told nothing yet."""

    settings: Settings | None


Answer = Done | Refused | Report | Known


def encode_request(request: Request) -> bytes:
    """One line."""
    match request:
        case Configure(settings):
            return _line(_configure(settings))
        case Change(device, added, removed):
            return _line(_Change(device, _peers(added), [str(subnet) for subnet in removed]))
        case Ask():
            return _line(_Ask())
        case Show():
            return _line(_Show())
        case Stop():
            return _line(_Stop())


def decode_request(line: bytes | bytearray) -> Request:
    """What a line asks for. Raises `InputError`."""
    try:
        return _REQUESTS.decode(line).value()
    except (msgspec.MsgspecError, ValueError, OSError, RecursionError) as error:
        raise InputError(f"no request: {str(error)[:200]}", where=_WHERE) from error


def encode_answer(answer: Answer) -> bytes:
    """One line."""
    match answer:
        case Done():
            return _line(_Answer("ok"))
        case Refused(problem):
            return _line(_Answer("error", problem))
        case Report():
            return _line(_Answer("report", report=answer))
        case Known(settings):
            return _line(_Answer("settings", settings=_configure(settings) if settings else None))


def decode_answer(line: bytes | bytearray) -> Answer:
    """What a line answers. Raises `InputError`."""
    try:
        said = _ANSWERS.decode(line)
        if said.answer == "settings":
            return Known(said.settings.told() if said.settings else None)
    except (msgspec.MsgspecError, ValueError, OSError, RecursionError) as error:
        raise InputError(f"no answer: {str(error)[:200]}", where=_WHERE) from error
    if said.report is not None:
        return said.report
    return Done() if said.answer == "ok" else Refused(said.problem)


_Device = Annotated[str, msgspec.Meta(pattern=r"\A[^\s/]{1,15}\Z")]
_Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
_Mtu = Annotated[int, msgspec.Meta(ge=68, le=65_535)]
_Node = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]


class _Socket(msgspec.Struct, frozen=True, array_like=True):
    local: str
    port: _Port
    subnet: str

    def value(self, device: str) -> TunnelSocket:
        local, subnet = _address(self.local), _network(self.subnet)
        if local.version != subnet.version:
            _refuse(f"a socket at {local} for {subnet}")
        return TunnelSocket(device, local, self.port, subnet)


class _Peer(msgspec.Struct, frozen=True, array_like=True):
    subnet: str
    endpoint: str
    port: _Port
    node: _Node


class _Configure(msgspec.Struct, tag_field="do", tag="configure", forbid_unknown_fields=True):
    device: _Device
    mtu: _Mtu
    sockets: list[_Socket]
    peers: list[_Peer]

    def value(self) -> Request:
        return Configure(self.told())

    def told(self) -> Settings:
        sockets = tuple(item.value(self.device) for item in self.sockets)
        _require_distinct([item.identity for item in sockets], "two sockets of one family")
        return Settings(self.device, self.mtu, sockets, _parse_peers(self.device, self.peers))


class _Change(msgspec.Struct, tag_field="do", tag="change", forbid_unknown_fields=True):
    device: _Device
    added: list[_Peer] = []
    removed: list[str] = []

    def value(self) -> Request:
        removed = tuple(_network(subnet) for subnet in self.removed)
        return Change(self.device, _parse_peers(self.device, self.added), removed)


class _Ask(msgspec.Struct, tag_field="do", tag="report", forbid_unknown_fields=True):
    def value(self) -> Request:
        return Ask()


class _Show(msgspec.Struct, tag_field="do", tag="show", forbid_unknown_fields=True):
    def value(self) -> Request:
        return Show()


class _Stop(msgspec.Struct, tag_field="do", tag="stop", forbid_unknown_fields=True):
    def value(self) -> Request:
        return Stop()


class _Answer(msgspec.Struct, omit_defaults=True):
    answer: Literal["ok", "error", "report", "settings"]
    problem: str = ""
    report: Report | None = None
    settings: _Configure | None = None


_REQUESTS: msgspec.json.Decoder[_Configure | _Change | _Ask | _Show | _Stop] = msgspec.json.Decoder(
    _Configure | _Change | _Ask | _Show | _Stop
)
_ANSWERS = msgspec.json.Decoder(_Answer)


def _line(document: msgspec.Struct) -> bytes:
    return msgspec.json.encode(document) + b"\n"


def _configure(settings: Settings) -> _Configure:
    sockets = [_Socket(str(item.local), item.port, str(item.subnet)) for item in settings.sockets]
    return _Configure(settings.device, settings.mtu, sockets, _peers(settings.peers))


def _peers(peers: Iterable[TunnelPeer]) -> list[_Peer]:
    return [_Peer(str(peer.subnet), str(peer.endpoint), peer.port, peer.node) for peer in peers]


def _parse_peers(device: str, peers: Iterable[_Peer]) -> tuple[TunnelPeer, ...]:
    parsed = tuple(_parse_peer(device, peer) for peer in peers)
    _require_distinct([peer.subnet for peer in parsed], "two peers of one subnet")
    return parsed


@lru_cache(maxsize=16_384)
def _parse_peer(device: str, peer: _Peer) -> TunnelPeer:
    """Remembered: an agent that starts again tells all peers again, and packets should not wait for that."""
    subnet, endpoint = _network(peer.subnet), _address(peer.endpoint)
    if subnet.version != endpoint.version:
        _refuse(f"{subnet} behind {endpoint}")
    return TunnelPeer(device, subnet, endpoint, peer.port, peer.node)


def _network(text: str) -> IPNetwork:
    """`ipaddress` takes five times as long for a text as for octets."""
    base, _, length = text.partition("/")
    if not (length.isascii() and length.isdecimal()):
        _refuse(f"{text[:60]!r} is no network")
    if ":" in base:
        return IPv6Network((inet_pton(AF_INET6, base), int(length)))
    return IPv4Network((inet_pton(AF_INET, base), int(length)))


def _address(text: str) -> IPAddress:
    return IPv6Address(inet_pton(AF_INET6, text)) if ":" in text else IPv4Address(inet_pton(AF_INET, text))


def _require_distinct(items: list[object], problem: str) -> None:
    if len(set(items)) < len(items):
        _refuse(problem)


def _refuse(problem: str) -> NoReturn:
    raise ValueError(problem)
