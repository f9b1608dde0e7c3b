"""One transaction of an etcd registry: what it writes, and what must still be as it was."""

from __future__ import annotations

from dataclasses import dataclass

from nankeen.model.address import IPNetwork
from nankeen.model.lease import Lease
from nankeen.registry.choice import readable_key
from nankeen.registry.etcd_layout import KEPT, Contents, Item, Layout, Note, encode_note
from nankeen.registry.etcdrpc import rpc_pb2 as rpc


@dataclass(frozen=True, slots=True)
class Own:
    """One subnet key of a node."""

    key: str
    item: Item

    @property
    def subnets(self) -> tuple[IPNetwork, ...]:
        return readable_key(self.key)

    @property
    def is_kept(self) -> bool:
        """Whether it never expires."""
        return self.item.lease == 0

    @property
    def is_leased(self) -> bool:
        """Whether it is more than a reservation that waits."""
        return self.item.value != KEPT


@dataclass(frozen=True, slots=True)
class Put:
    """What comes to stand at a subnet's key, with its note."""

    key: str
    value: bytes
    node: str
    is_kept: bool

    def note(self, expires: float | None) -> bytes:
        """What comes to stand beside it."""
        return encode_note(Note(self.node, None if self.is_kept else expires))


@dataclass(frozen=True, slots=True)
class Plan:
    """One transaction."""

    puts: tuple[Put, ...] = ()
    deletes: tuple[str, ...] = ()
    basis: tuple[Own, ...] = ()
    """What must still be as it was."""
    config: Item | None = None
    """The configuration, where it must still be the same."""
    newest: int | None = None
    """The revision after which nobody may have made a subnet's key."""
    lease: Lease | None = None
    """What comes of it, without the expiry that only etcd can tell."""
    etcd_lease: int = 0
    """One that the node has already."""

    @property
    def expires(self) -> bool:
        """Whether anything in it hangs on an etcd lease."""
        return any(not put.is_kept for put in self.puts)

    def request(self, layout: Layout, etcd_lease: int, expires: float | None) -> rpc.TxnRequest:
        """As etcd has it."""
        compare = [_unchanged(layout.subnet(own.key), own.item) for own in self.basis]
        if self.config is not None:
            compare.append(_unchanged(layout.config, self.config))
        if self.newest is not None:
            compare.append(earlier(rpc.Compare.CREATE, *layout.subnets, self.newest))
        success = [operation for put in self.puts for operation in _put(layout, put, etcd_lease, expires)]
        success += [operation for key in self.deletes for operation in _delete(layout, key)]
        return rpc.TxnRequest(compare=compare, success=success)

    def carry_out(self, contents: Contents, revision: int, etcd_lease: int, expires: float | None) -> None:
        """Makes of the contents that it was based on those that there are, where it came next after them."""
        for put in self.puts:
            lease = 0 if put.is_kept else etcd_lease
            for items, value in ((contents.subnets, put.value), (contents.notes, put.note(expires))):
                created = items[put.key].created if put.key in items else revision
                items[put.key] = Item(value, created, revision, lease)
        for name in self.deletes:
            contents.subnets.pop(name, None)
            contents.notes.pop(name, None)
        contents.revision = revision


def _unchanged(name: bytes, item: Item) -> rpc.Compare:
    return rpc.Compare(result=rpc.Compare.EQUAL, target=rpc.Compare.MOD, key=name, mod_revision=item.modified)


def earlier(target: rpc.Compare.CompareTarget, first: bytes, end: bytes, revision: int) -> rpc.Compare:
    """That no key from `first` to before `end` was made, or written, after that revision."""
    name = "create_revision" if target == rpc.Compare.CREATE else "mod_revision"
    return rpc.Compare(result=rpc.Compare.LESS, target=target, key=first, range_end=end, **{name: revision + 1})


def _put(layout: Layout, put: Put, etcd_lease: int, expires: float | None) -> tuple[rpc.RequestOp, rpc.RequestOp]:
    lease = 0 if put.is_kept else etcd_lease
    return (
        rpc.RequestOp(request_put=rpc.PutRequest(key=layout.subnet(put.key), value=put.value, lease=lease)),
        rpc.RequestOp(request_put=rpc.PutRequest(key=layout.note(put.key), value=put.note(expires), lease=lease)),
    )


def _delete(layout: Layout, name: str) -> tuple[rpc.RequestOp, rpc.RequestOp]:
    return (
        rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=layout.subnet(name))),
        rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=layout.note(name))),
    )
