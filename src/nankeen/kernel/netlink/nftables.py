"""Messages of nf_tables (linux/netfilter/nf_tables.h): what tells one rule set from another, and the elements of sets.

Rules themselves are written by `nft`; what is here is what must be fast. After its netlink header a message has
(linux/netfilter/nfnetlink.h), before its attributes:

     0         1         2                   4
    +---------+---------+-------------------+
    | family  | version | resource ID (BE)  |
    +---------+---------+-------------------+
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from nankeen.kernel.netlink.message import (
    NLM_F_CREATE,
    attribute,
    attributes,
    elements,
    message,
    nested,
    read_string,
    string,
)

INET, IPV4, BRIDGE, IPV6 = 1, 2, 7, 10
FAMILIES = {IPV4: "ip", INET: "inet", IPV6: "ip6", BRIDGE: "bridge"}
"""Those of a pod network's packets, as nft calls them."""
"""NFPROTO_*: nftables' families (linux/netfilter.h)."""
GROUP = 7
"""NFNLGRP_NFTABLES: every change to any table, told to who listens."""

SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
HOOK_FORWARD = 2  # NF_INET_FORWARD (linux/netfilter.h)
DROP = 0  # NF_DROP: a chain's policy

_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
(
    _GET_TABLE, _DELETE_TABLE, _NEW_CHAIN, _GET_CHAIN, _NEW_RULE, _GET_RULE, _DELETE_RULE, _GET_SET,
    _NEW_ELEMENTS, _GET_ELEMENTS, _DELETE_ELEMENTS,
) = (SUBSYSTEM << 8 | number for number in (1, 2, 3, 4, 6, 7, 8, 10, 12, 13, 14))  # fmt: skip
_DELETE_CHAIN, _NEW_GENERATION, _GET_GENERATION = (SUBSYSTEM << 8 | number for number in (5, 15, 16))

_TABLE, _NAME = 1, 2  # in messages about all but tables, the first attribute is the table's name
_TABLE_FLAGS, _TABLE_HANDLE = 2, 4
_CHAIN_HANDLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY = 2, 3, 4, 5
_RULE_CHAIN, _RULE_HANDLE = 2, 3
_SET_FLAGS, _SET_HANDLE = 3, 16
_HOOK_NUMBER, _GENERATION = 1, 1
_ELEMENTS, _LIST_ELEMENT, _KEY, _VALUE, _DATA = 3, 1, 1, 1, 2

_GENERAL = struct.Struct(">BBH")
_ELEMENTS_A_MESSAGE = 1000
"""An attribute's length has 16 bits; an IPv6 element takes 28 bytes, and up to 64 in a map."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class FoundTable:
    """A table. The handle is never given to another one."""

    handle: bytes
    flags: bytes
    name: str
    family: int


@dataclass(frozen=True, slots=True)
class FoundChain:
    """A chain: `hook` is None for one that only rules lead to."""

    table: str
    name: str
    handle: bytes
    hook: int | None
    policy: int | None
    family: int


@dataclass(frozen=True, slots=True)
class FoundRule:
    """A rule. Its handle is never given to another one of its table, also not when it is replaced."""

    table: str
    chain: str
    handle: bytes


@dataclass(frozen=True, slots=True)
class FoundSet:
    """A set, without its elements."""

    table: str
    name: str
    handle: bytes
    flags: bytes


Found = FoundTable | FoundChain | FoundRule | FoundSet


def get_generation() -> bytes:
    """A request for the number of transactions that the packet filter has seen."""
    return _request(_GET_GENERATION, 0)


def get_table(family: int, name: str) -> bytes:
    """A request for one table."""
    return _request(_GET_TABLE, family, string(_TABLE, name))


def dump_tables() -> bytes:
    """A dump request for the tables of all families."""
    return _request(_GET_TABLE, 0)


def get_chain(family: int, table: str, name: str) -> bytes:
    """A request for one chain."""
    return _request(_GET_CHAIN, family, string(_TABLE, table), string(_CHAIN_NAME, name))


def dump_chains(family: int = 0) -> bytes:
    """A dump request for the chains of a family, 0 for all."""
    return _request(_GET_CHAIN, family)


def dump_rules(family: int, table: str) -> bytes:
    """A dump request for the rules of a table."""
    return _request(_GET_RULE, family, string(_TABLE, table))


def dump_sets(family: int, table: str) -> bytes:
    """A dump request for the sets of a table."""
    return _request(_GET_SET, family, string(_TABLE, table))


def dump_elements(family: int, table: str, name: str) -> bytes:
    """A dump request for the elements of a set."""
    return _request(_GET_ELEMENTS, family, string(_TABLE, table), string(_NAME, name))


def delete_table(family: int, name: str) -> bytes:
    """A message of a batch: the table goes, with all that is in it."""
    return _request(_DELETE_TABLE, family, string(_TABLE, name))


def add_elements(family: int, table: str, name: str, keys: Iterable[bytes]) -> list[bytes]:
    """Messages of a batch. An element that is there already is no error."""
    return _change_elements(_NEW_ELEMENTS, NLM_F_CREATE, family, table, name, map(_element, keys))


def add_mappings(family: int, table: str, name: str, mappings: Mapping[bytes, bytes]) -> list[bytes]:
    """The same for a map: keys, and where each leads. A key that leads elsewhere already is an error (EBUSY)."""
    items = (_element(key, nested(_DATA, attribute(_VALUE, data))) for key, data in mappings.items())
    return _change_elements(_NEW_ELEMENTS, NLM_F_CREATE, family, table, name, items)


def delete_elements(family: int, table: str, name: str, keys: Iterable[bytes]) -> list[bytes]:
    """Messages of a batch. An element that is not there is one (ENOENT)."""
    return _change_elements(_DELETE_ELEMENTS, 0, family, table, name, map(_element, keys))


def batch_ends() -> tuple[bytes, bytes]:
    """What stands before and after the messages of one transaction."""
    general = _GENERAL.pack(0, 0, SUBSYSTEM)
    return message(_BATCH_BEGIN, 0, general), message(_BATCH_END, 0, general)


def generation(body: bytes) -> int:
    """The number in the answer; it wraps at 32 bits."""
    return int.from_bytes(attributes(body, 4)[_GENERATION], "big")


def found(kind: int, body: bytes) -> Found | None:
    """What an answer to a request tells of, or None for something else."""
    family = body[0]
    values = attributes(body, 4)
    table = read_string(values.get(_TABLE, b""))
    match kind - (SUBSYSTEM << 8):
        case 0:
            return FoundTable(values[_TABLE_HANDLE], values[_TABLE_FLAGS], table, family)
        case 3:
            hook = attributes(values[_CHAIN_HOOK]) if _CHAIN_HOOK in values else {}
            return FoundChain(
                table, read_string(values[_CHAIN_NAME]), values[_CHAIN_HANDLE],
                _number(hook.get(_HOOK_NUMBER)), _number(values.get(_CHAIN_POLICY)), family,
            )  # fmt: skip
        case 6:
            return FoundRule(table, read_string(values[_RULE_CHAIN]), values[_RULE_HANDLE])
        case 9:
            return FoundSet(
                table, read_string(values[_NAME]), values.get(_SET_HANDLE, b""), values.get(_SET_FLAGS, b"")
            )
    return None


def of_type(kind: type[_T], answers: Sequence[tuple[int, bytes]]) -> list[_T]:
    """The answers of that type."""
    return [item for answer in answers if isinstance(item := found(*answer), kind)]


def element_keys(body: bytes) -> Iterator[bytes]:
    """The keys in one answer to a dump of elements."""
    return (key for key, _ in element_pairs(body))


def element_pairs(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys in one answer to a dump of a map's elements, each with its data, which is empty in a set."""
    for element in elements(attributes(body, 4).get(_ELEMENTS, b"")):
        parts = attributes(element)
        if _KEY in parts:
            data = attributes(parts[_DATA]).get(_VALUE, b"") if _DATA in parts else b""
            yield attributes(parts[_KEY])[_VALUE], data


def touched(kind: int, body: bytes) -> tuple[int, str, str] | None:
    """What the news of a change is about: family, table, and the chain, "" where it is none in particular."""
    if kind >> 8 != SUBSYSTEM or kind == _NEW_GENERATION or len(body) < 4:
        return None
    values = attributes(body, 4)
    chain = b""
    if kind in (_NEW_RULE, _DELETE_RULE):
        chain = values.get(_RULE_CHAIN, b"")
    elif kind in (_NEW_CHAIN, _DELETE_CHAIN):
        chain = values.get(_CHAIN_NAME, b"")
    return body[0], read_string(values.get(_TABLE, b"")), read_string(chain)


def _request(kind: int, family: int, *parts: bytes) -> bytes:
    return message(kind, 0, _GENERAL.pack(family, 0, 0) + b"".join(parts))


def _element(key: bytes, data: bytes = b"") -> bytes:
    return nested(_LIST_ELEMENT, nested(_KEY, attribute(_VALUE, key)), data)


def _change_elements(kind: int, flags: int, family: int, table: str, name: str, items: Iterable[bytes]) -> list[bytes]:
    listed = list(items)
    head = _GENERAL.pack(family, 0, 0) + string(_TABLE, table) + string(_NAME, name)
    return [
        message(kind, flags, head + nested(_ELEMENTS, *listed[start : start + _ELEMENTS_A_MESSAGE]))
        for start in range(0, len(listed), _ELEMENTS_A_MESSAGE)
    ]


def _number(value: bytes | None) -> int | None:
    return None if value is None else int.from_bytes(value, "big")
