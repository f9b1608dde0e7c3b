"""An etcd on paper: keys, revisions, and transactions that compare, for laws that no server could run often enough."""

from __future__ import annotations

from collections.abc import Callable

from nankeen.registry.etcd_layout import Contents, Layout
from nankeen.registry.etcdrpc import rpc_pb2 as rpc

_RESULTS: dict[int, Callable[[int, int], bool]] = {
    rpc.Compare.EQUAL: lambda found, wanted: found == wanted,
    rpc.Compare.LESS: lambda found, wanted: found < wanted,
}


class PaperEtcd:
    """What etcd does with the part of its protocol that plans make use of."""

    def __init__(self) -> None:
        self.revision = 1
        self.pairs: dict[bytes, rpc.KeyValue] = {}

    def contents(self, layout: Layout) -> Contents:
        return Contents.of(layout, [self.pairs[key] for key in sorted(self.pairs)], self.revision)

    def transact(self, request: rpc.TxnRequest) -> rpc.WatchResponse | None:
        """The events of a transaction; None where what it compares has changed."""
        if not all(map(self._holds, request.compare)):
            return None
        self.revision += 1
        return rpc.WatchResponse(events=[event for operation in request.success for event in self._do(operation)])

    def expire(self, lease: int) -> rpc.WatchResponse:
        """The end of an etcd lease, and of all that hangs on it."""
        self.revision += 1
        gone = [key for key, pair in self.pairs.items() if pair.lease == lease]
        return rpc.WatchResponse(events=[self._delete(key) for key in gone])

    def _holds(self, compare: rpc.Compare) -> bool:
        """Of a range, every key has to hold; where there is none, a key of revision 0."""
        end = compare.range_end or compare.key + b"\0"
        found = [pair for key, pair in self.pairs.items() if compare.key <= key < end] or [rpc.KeyValue()]
        if compare.target == rpc.Compare.CREATE:
            pairs = [(pair.create_revision, compare.create_revision) for pair in found]
        else:
            pairs = [(pair.mod_revision, compare.mod_revision) for pair in found]
        return all(_RESULTS[compare.result](*pair) for pair in pairs)

    def _do(self, operation: rpc.RequestOp) -> list[rpc.Event]:
        if operation.HasField("request_put"):
            return [self._put(operation.request_put)]
        key = operation.request_delete_range.key
        return [self._delete(key)] if key in self.pairs else []

    def _put(self, put: rpc.PutRequest) -> rpc.Event:
        before = self.pairs.get(put.key)
        self.pairs[put.key] = rpc.KeyValue(
            key=put.key,
            value=put.value,
            lease=put.lease,
            create_revision=before.create_revision if before else self.revision,
            mod_revision=self.revision,
        )
        return rpc.Event(type=rpc.Event.PUT, kv=self.pairs[put.key])

    def _delete(self, key: bytes) -> rpc.Event:
        del self.pairs[key]
        return rpc.Event(type=rpc.Event.DELETE, kv=rpc.KeyValue(key=key, mod_revision=self.revision))
