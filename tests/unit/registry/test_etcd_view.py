"""The law of the view: what is folded together of news is what a read of everything finds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nankeen.registry import Snapshot
from nankeen.registry.etcd_layout import KEPT, Contents, Layout, Note, encode_note
from nankeen.registry.etcd_view import EtcdView
from nankeen.registry.etcdrpc import rpc_pb2 as rpc
from tests.unit.registry.conftest import CONFIG, DUAL

LAYOUT = Layout("/net")
VALUES = [
    b'{"PublicIP":"10.99.0.1","PublicIPv6":null,"BackendType":"vxlan"}',
    b'{"PublicIP":"10.99.0.2","PublicIPv6":null,"BackendType":"host-gw"}',
    b'{"PublicIP":"10.99.0.1","PublicIPv6":null}',
    KEPT,
    b"{",
]
NOTES = [*(encode_note(Note(f"node{number}", 7.0)) for number in (1, 2)), b"{"]
names = st.sampled_from(["10.5.1.0-24", "10.5.2.0-24", "10.5.3.0-24", "fc00:5:0:1::-64", "damaged"])
put = st.tuples(names, st.sampled_from(VALUES), st.none() | st.sampled_from(NOTES), st.sampled_from([0, 5]))
"""A subnet's key, its value, the note written with it, and the etcd lease that they hang on."""
steps = st.one_of(
    st.builds(lambda it: ("put", it), put),
    st.builds(lambda it: ("delete", it), names),
    st.builds(lambda it: ("config", it), st.sampled_from([CONFIG, DUAL, "{"])),
)


class Etcd:
    """What an etcd would tell: everything, and the events of each step."""

    def __init__(self) -> None:
        self.revision = 1
        self.pairs = {LAYOUT.config: rpc.KeyValue(key=LAYOUT.config, create_revision=1, value=CONFIG.encode())}

    def do(self, step: tuple[str, object]) -> rpc.WatchResponse:
        self.revision += 1
        match step:
            case ("put", (str(name), bytes(value), note, int(lease))):
                events = [self._put(LAYOUT.subnet(name), value, lease)]
                if isinstance(note, bytes):
                    events.append(self._put(LAYOUT.note(name), note, lease))
            case ("delete", str(name)):
                events = [self._delete(LAYOUT.subnet(name))] if LAYOUT.subnet(name) in self.pairs else []
            case (_, text):
                events = [self._put(LAYOUT.config, str(text).encode(), 0)]
        return rpc.WatchResponse(events=events)

    def contents(self) -> Contents:
        return Contents.of(LAYOUT, [self.pairs[key] for key in sorted(self.pairs)], self.revision)

    def _put(self, key: bytes, value: bytes, lease: int) -> rpc.Event:
        created = self.pairs[key].create_revision if key in self.pairs else self.revision
        self.pairs[key] = rpc.KeyValue(
            key=key, value=value, lease=lease, create_revision=created, mod_revision=self.revision
        )
        return rpc.Event(type=rpc.Event.PUT, kv=self.pairs[key])

    def _delete(self, key: bytes) -> rpc.Event:
        del self.pairs[key]
        return rpc.Event(type=rpc.Event.DELETE, kv=rpc.KeyValue(key=key, mod_revision=self.revision))


def view(etcd: Etcd) -> EtcdView:
    made = EtcdView(LAYOUT, lambda: 100.0)
    made.replace(etcd.contents())
    return made


def told(snapshot: Snapshot) -> tuple[object, ...]:
    """All of it but the revision, and of a configuration that is wrong now, which good one went before."""
    leases = sorted(snapshot.leases.items())
    return leases, {key: why for key, why in snapshot.rejected.items() if key != "config"}


@given(st.lists(steps, max_size=12))
def test_news_folded_together_are_what_a_read_of_everything_finds(history: list[tuple[str, object]]) -> None:
    etcd = Etcd()
    folded = view(etcd)
    for step in history:
        folded.fold(etcd.do(step))
    etcd.do(("config", CONFIG))
    folded.fold(rpc.WatchResponse(events=[rpc.Event(kv=etcd.pairs[LAYOUT.config])]))
    assert told(folded.told()) == told(view(etcd).told())


@given(st.lists(steps, max_size=8), st.lists(steps, max_size=4))
def test_whatever_is_told_differs_from_what_was_told_before_and_nothing_else_is(
    history: list[tuple[str, object]], more: list[tuple[str, object]]
) -> None:
    etcd = Etcd()
    folded = view(etcd)
    for step in history:
        folded.fold(etcd.do(step))
    for step in more:
        before = folded.told()
        folded.fold(etcd.do(step))
        if not folded.changed:
            assert told(folded.told()) == told(before)


@given(st.lists(steps, max_size=12))
def test_a_read_of_everything_leaves_the_objects_that_have_not_changed(history: list[tuple[str, object]]) -> None:
    etcd = Etcd()
    folded = view(etcd)
    for step in history:
        folded.fold(etcd.do(step))
    before = folded.told()
    folded.replace(etcd.contents())
    after = folded.told()
    assert all(after.leases[name] is lease for name, lease in before.leases.items())
