"""Where the octets are that all packets of a flow share, and those that vary from one to the next.

What varies neither decides how a packet is read nor stands in its line. Of lengths that holds while they agree with
each other and with the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import Any

from nankeen.model.address import HardwareAddress
from nankeen.model.packet import Ethernet, Header, IPv4, IPv6, Tcp, Udp, Vlan, Vxlan, encode

Unpack = Callable[[bytes], tuple[Any, ...]]

_NOBODY, _NOWHERE, _NOWHERE6 = HardwareAddress(bytes(6)), IPv4Address(0), IPv6Address(0)
_BLANK: dict[type[Header], Header] = {
    Ethernet: Ethernet(_NOBODY, _NOBODY, 0),
    Vlan: Vlan(0, 0),
    IPv4: IPv4(_NOWHERE, _NOWHERE, 0, total_length=0, checksum=0),
    IPv6: IPv6(_NOWHERE6, _NOWHERE6, 0, payload_length=0),
    Udp: Udp(0, 0, 0, 0),
    Tcp: Tcp(0, 0, flags=0, window=0, checksum=0),
    Vxlan: Vxlan(0),
}
"""The headers that there is an outline of, without options, every field that varies being 0."""
_VARYING: dict[type[Header], dict[str, int]] = {
    IPv4: {"total_length": 2, "identification": 2, "checksum": 2},
    IPv6: {"payload_length": 2},
    Udp: {"length": 2, "checksum": 2},
    Tcp: {"sequence": 4, "acknowledgement": 4, "window": 2, "checksum": 2, "urgent": 2},
}
"""Their fields that vary, in the order that they have on the wire, and how many octets they take."""
_LENGTHS = {"total_length": 0, "length": 0, "payload_length": IPv6.LENGTH}
"""Those that say how long something is, and where it begins after the beginning of the header."""
_INTEGERS = {2: "H", 4: "I"}


@dataclass(frozen=True, slots=True)
class Varying:
    """A field whose value varies."""

    header: int
    """The number of the header that has it."""
    name: str
    at: int
    """Octets from the beginning of the frame."""
    size: int
    """Octets."""


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """Of packets with the same headers, for which there is one. What unpacks wants `size` octets or more."""

    size: int
    """Octets of all headers, TCP's options apart."""
    shared: Unpack
    """What tells the flow, and all that is the same in it."""
    lengths: Unpack
    starts: tuple[int, ...]
    """Where each of the lengths begins to count."""
    varying: tuple[Varying, ...]
    values: Unpack
    """Of what varies."""


def outline_of(headers: Sequence[Header]) -> Outline | None:
    """None where one of them is of another kind, or has options of IPv4."""
    if any(isinstance(header, IPv4) and header.options for header in headers):
        return None
    return _outline(tuple(map(type, headers)))


@lru_cache(1 << 14)
def end_of(starts: tuple[int, ...], lengths: tuple[int, ...], size: int) -> int | None:
    """Where the innermost packet ends in a frame of so many octets; None where a length promises more than there is.

    One of 0, which tells nothing, ends a packet before its header does. Remembered, because most packets have one of
    few lengths.
    """
    end = size
    for start, length in zip(starts, lengths, strict=True):
        if length > end - start:
            return None
        end = start + length
    return end


@lru_cache(64)
def _outline(kinds: tuple[type[Header], ...]) -> Outline | None:
    if not all(kind in _BLANK for kind in kinds):
        return None
    starts = [sum(len(encode((_BLANK[before],))) for before in kinds[:number]) for number in range(len(kinds) + 1)]
    varying = [each for number, kind in enumerate(kinds) for each in _varying(kind, number, starts[number])]
    lengths = [each for each in varying if each.name in _LENGTHS]
    return Outline(
        size=starts[-1],
        shared=Struct("!" + "".join(_between(varying, starts[-1]))).unpack_from,
        lengths=_integers(lengths),
        starts=tuple(starts[each.header] + _LENGTHS[each.name] for each in lengths),
        varying=tuple(varying),
        values=_integers(varying),
    )


def _varying(kind: type[Header], number: int, start: int) -> Iterator[Varying]:
    """The fields of one header, found where its octets change when they do."""
    blank = _BLANK[kind]
    before = encode((blank,))
    for name, size in _VARYING.get(kind, {}).items():
        changes: Any = {name: (1 << 8 * size) - 1}
        after = encode((replace(blank, **changes),))
        changed = [at for at in range(len(before)) if before[at] != after[at]]
        yield Varying(number, name, start + changed[0], len(changed))


def _integers(fields: Iterable[Varying]) -> Unpack:
    """What unpacks those fields."""
    form, at = "!", 0
    for field in fields:
        form += f"{field.at - at}x{_INTEGERS[field.size]}"
        at = field.at + field.size
    return Struct(form).unpack_from


def _between(fields: Iterable[Varying], size: int) -> Iterator[str]:
    """The format of what unpacks everything else."""
    at = 0
    for field in fields:
        yield f"{field.at - at}s{field.size}x" if field.at > at else f"{field.size}x"
        at = field.at + field.size
    yield f"{size - at}s" if size > at else ""
