"""Where in etcd things stand, below a prefix.

    config                   net-conf.json                          flannel's
    subnets/10.5.34.0-24     the lease of that subnet               flannel's: `nankeen.model.leasevalue`
    nodes/10.5.34.0-24       {"Node":"node1","Expires":1764000000}  ours: the name of the node that leases it

Flannel has no names for nodes, only their public addresses, and does not look below `nodes`. A note there speaks for
the subnet's key only where one transaction wrote both: after flannel, or a person, has written the one, the other tells
of the past. A subnet without a note is named by its node's public address.

A key that hangs on no etcd lease never expires: it is a reservation, as flannel's documents have it. One of ours that
waits for its node has the value `KEPT`; one that an administrator made has the address of the node, and no backend.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from nankeen.registry.etcdrpc import rpc_pb2 as rpc

KEPT = b'{"PublicIP":"0.0.0.0","PublicIPv6":null}'
"""Nobody can be reached there: flannel leaves the subnet alone, and takes it for nobody's peer."""


class Note(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True):
    """Whose a subnet is."""

    node: str
    expires: float | None = None
    """Unix time in seconds that the node was promised, by its own clock. What counts is the time to live in etcd."""


_NOTE = msgspec.json.Decoder(Note)


def encode_note(note: Note) -> bytes:
    return msgspec.json.encode(note)


def decode_note(value: bytes) -> Note | None:
    """None for what is no note."""
    try:
        return _NOTE.decode(value)
    except msgspec.DecodeError:  # also what is no UTF-8, or of another shape
        return None


@dataclass(frozen=True, slots=True)
class Layout:
    """The keys below one prefix."""

    root: str
    everything: tuple[bytes, bytes] = field(init=False)
    """First key, and the one after the last."""
    subnets: tuple[bytes, bytes] = field(init=False)
    config: bytes = field(init=False)

    def __post_init__(self) -> None:
        root = self.root.encode()
        object.__setattr__(self, "everything", (root + b"/", root + b"0"))  # "0" comes after "/"
        object.__setattr__(self, "subnets", (root + b"/subnets/", root + b"/subnets0"))
        object.__setattr__(self, "config", root + b"/config")

    def subnet(self, key: str) -> bytes:
        return f"{self.root}/subnets/{key}".encode()

    def note(self, key: str) -> bytes:
        return f"{self.root}/nodes/{key}".encode()


class Item(NamedTuple):
    """What stands at one key."""

    value: bytes
    created: int
    """The revision at which the key was made."""
    modified: int
    """The revision at which it was written last."""
    lease: int
    """The etcd lease that it hangs on; 0 for none."""

    @classmethod
    def of(cls, pair: rpc.KeyValue) -> Item:
        return cls(pair.value, pair.create_revision, pair.mod_revision, pair.lease)


@dataclass(slots=True)
class Contents:
    """Everything below the prefix at one revision."""

    layout: Layout
    revision: int = 0
    config: Item | None = None
    subnets: dict[str, Item] = field(default_factory=dict)
    """By the text of the key. What is no UTF-8 stands there by its escapes, which are the key of no subnet."""
    notes: dict[str, Item] = field(default_factory=dict)

    @classmethod
    def of(cls, layout: Layout, pairs: Iterable[rpc.KeyValue], revision: int) -> Contents:
        """What a range read has found."""
        contents = cls(layout, revision)
        for pair in pairs:
            contents.set(pair.key, Item.of(pair))
        return contents

    def set(self, key: bytes, item: Item | None) -> str | None:
        """Takes note of what stands at a key, None for nothing; the subnet's key that it is about, if it is."""
        directory, _, name = key[len(self.layout.root) + 1 :].partition(b"/")
        if directory == b"config" and not name:
            self.config = item
        items = {b"subnets": self.subnets, b"nodes": self.notes}.get(directory)
        if items is None or not name:
            return None
        text = name.decode(errors="backslashreplace")
        if item is None:
            items.pop(text, None)
        else:
            items[text] = item
        return text

    def note(self, key: str) -> Note | None:
        """The note that speaks for a subnet's key."""
        item, note = self.subnets.get(key), self.notes.get(key)
        if item is None or note is None or item.modified != note.modified:
            return None
        return decode_note(note.value)
