"""VICI: the interface by which strongSwan's charon is told what to do (README.md of its plugin `vici`).

A packet is its length in four octets, a type, and what belongs to that. A message is a tree of sections:

    SECTION_START name … SECTION_END      KEY_VALUE name value      LIST_START name, LIST_ITEM value …, LIST_END

Names have an octet for their length, values have two; all numbers are in network byte order.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Self, TypeAlias

from nankeen.model.errors import KernelError

Message: TypeAlias = "Mapping[str, bytes | str | Sequence[bytes | str] | Message]"
"""What is said: values may be text, which goes as UTF-8."""
Section: TypeAlias = "dict[str, bytes | list[bytes] | Section]"
"""What is heard: values are octets, whatever they mean."""

LONGEST = 512 * 1024
"""Octets of a packet at most."""
_DEEPEST = 32
"""Sections within sections at most; charon has five."""
_SECONDS = 10.0
"""How long charon may take for an answer."""

_LENGTH = struct.Struct("!I")
_U16 = struct.Struct("!H")


class _Packet(IntEnum):
    """Types of packets: those that are said or heard here."""

    CMD_REQUEST = 0
    CMD_RESPONSE = 1
    CMD_UNKNOWN = 2
    EVENT = 7


class _Element(IntEnum):
    """Types of a message's elements."""

    SECTION_START = 1
    SECTION_END = 2
    KEY_VALUE = 3
    LIST_START = 4
    LIST_ITEM = 5
    LIST_END = 6


class Vici:
    """A connection to charon: one command at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()

    @classmethod
    async def connect(cls, path: Path) -> Self:
        """To the socket where charon listens. Raises `KernelError` where nobody does."""
        try:
            return cls(*await asyncio.open_unix_connection(path))
        except OSError as error:
            raise KernelError(
                f"charon does not answer: {error.strerror}", where=str(path), errno=error.errno or 0
            ) from error

    @property
    def is_open(self) -> bool:
        """Whether charon has answered to everything so far."""
        return not self._writer.is_closing()

    async def request(self, command: str, message: Message) -> Section:
        """What charon answers to a command. Raises `KernelError` where it refuses, or has gone away."""
        try:
            async with self._turn, asyncio.timeout(_SECONDS):
                self._writer.write(_packet(command, message))
                await self._writer.drain()
                answer = await self._answer(command)
        except (OSError, EOFError) as error:
            self.close()
            raise KernelError("charon does not answer any more", where=command) from error
        if answer.get("success", b"yes") != b"yes":
            reason = answer.get("errmsg", b"")
            told = reason.decode(errors="replace") if isinstance(reason, bytes) else ""
            raise KernelError(f"charon refused: {told[:300]}", where=command)
        return answer

    async def _answer(self, command: str) -> Section:
        """The next answer; events that come in between are passed over."""
        while True:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if not 0 < length <= LONGEST:
                raise KernelError(f"charon sent a packet of {length} octets", where=command)
            packet = await self._reader.readexactly(length)
            match packet[0]:
                case _Packet.CMD_RESPONSE:
                    return decode(packet[1:])
                case _Packet.CMD_UNKNOWN:
                    raise KernelError("charon does not know the command", where=command, remedy="install a newer one")
                case _Packet.EVENT:
                    continue
                case kind:
                    raise KernelError(f"charon sent a packet of type {kind}", where=command)

    def close(self) -> None:
        self._writer.close()


def encode(message: Message) -> bytes:
    """A message as octets. Raises `ValueError` where a name or value is too long."""
    return b"".join(_element(name, value) for name, value in message.items())


def decode(data: bytes) -> Section:
    """A message from octets that may be anything. Raises `KernelError`; of a name that comes twice the last counts."""
    root: Section = {}
    sections = [root]
    items: list[bytes] | None = None
    rest = _Rest(data)
    while rest:
        kind = rest.octet()
        if items is not None and kind not in (_Element.LIST_ITEM, _Element.LIST_END):
            raise _broken("something else stands in a list")
        match kind:
            case _Element.SECTION_START if len(sections) < _DEEPEST:
                section: Section = {}
                sections[-1][rest.name()] = section
                sections.append(section)
            case _Element.SECTION_END if len(sections) > 1:
                sections.pop()
            case _Element.KEY_VALUE:
                name = rest.name()
                sections[-1][name] = rest.value()
            case _Element.LIST_START:
                items = []
                sections[-1][rest.name()] = items
            case _Element.LIST_ITEM if items is not None:
                items.append(rest.value())
            case _Element.LIST_END if items is not None:
                items = None
            case _:
                raise _broken(f"element {kind} has no place here")
    if items is not None or len(sections) > 1:
        raise _broken("it ends too early")
    return root


class _Rest:
    """What has not been read yet of a message."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def octet(self) -> int:
        return self._take(1)[0]

    def name(self) -> str:
        return self._take(self.octet()).decode(errors="replace")

    def value(self) -> bytes:
        return self._take(_U16.unpack(self._take(2))[0])

    def _take(self, length: int) -> bytes:
        taken = self._data[self._at : self._at + length]
        if len(taken) < length:
            raise _broken("it ends too early")
        self._at += length
        return taken


def _packet(command: str, message: Message) -> bytes:
    body = bytes([_Packet.CMD_REQUEST]) + _name(command) + encode(message)
    if len(body) > LONGEST:
        raise ValueError(f"{command} has {len(body)} octets")
    return _LENGTH.pack(len(body)) + body


def _element(name: str, value: bytes | str | Sequence[bytes | str] | Message) -> bytes:
    if isinstance(value, bytes | str):
        return bytes([_Element.KEY_VALUE]) + _name(name) + _value(value)
    if isinstance(value, Mapping):
        return bytes([_Element.SECTION_START]) + _name(name) + encode(value) + bytes([_Element.SECTION_END])
    items = b"".join(bytes([_Element.LIST_ITEM]) + _value(item) for item in value)
    return bytes([_Element.LIST_START]) + _name(name) + items + bytes([_Element.LIST_END])


def _name(text: str) -> bytes:
    octets = text.encode()
    if len(octets) > 0xFF:
        raise ValueError(f"a name of {len(octets)} octets")
    return bytes([len(octets)]) + octets


def _value(value: bytes | str) -> bytes:
    octets = value.encode() if isinstance(value, str) else value
    if len(octets) > 0xFFFF:
        raise ValueError(f"a value of {len(octets)} octets")
    return _U16.pack(len(octets)) + octets


def _broken(reason: str) -> KernelError:
    return KernelError(f"charon sent a message that is none: {reason}")
