"""What can happen to an etcd: it is told in words, and the watcher goes on by itself when it is over."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import pytest

from nankeen.model.errors import RegistryConflict, RegistryError
from nankeen.registry import Snapshot
from nankeen.registry.etcd import EtcdRegistry
from tests.unit.registry.conftest import CONFIG, reach
from tests.unit.registry.etcdserver import Directory, EtcdServer, free_port, running

ONE = [reach("10.99.0.1")]
TWO = [reach("10.99.0.2")]
THREE = [reach("10.99.0.3")]
FLANNELS = '{"PublicIP":"10.99.0.9","PublicIPv6":null,"BackendType":"vxlan"}'
NODES = {"node1", "node2"}
PASSWORD = "secret"  # noqa: S105


async def again(registry: EtcdRegistry) -> AsyncGenerator[Snapshot, None]:
    """What an agent hears: it asks anew when the registry is away, until it is back."""
    while True:
        try:
            async with aclosing(registry.watch()) as snapshots:
                async for snapshot in snapshots:
                    yield snapshot
        except RegistryError:
            await asyncio.sleep(0.01)


async def until(snapshots: AsyncIterator[Snapshot], names: set[str]) -> Snapshot:
    """The first snapshot with the leases of these nodes and no others."""
    async with asyncio.timeout(30):
        async for snapshot in snapshots:
            if set(snapshot.leases) == names:
                return snapshot
    raise AssertionError


async def test_an_etcd_that_stops_is_told_and_what_changed_meanwhile_is_seen_when_it_is_back(
    own_etcd: Directory,
) -> None:
    registry, other = own_etcd.client(), own_etcd.client()
    await registry.acquire("node1", "vxlan", ONE)
    await other.acquire("node2", "vxlan", TWO)
    async with aclosing(registry.watch()) as watch:
        before = await until(watch, NODES)
        own_etcd.server.stop()
        with pytest.raises(RegistryError, match=r"etcd 127\.0\.0\.1:\d+: cannot be reached"):
            await anext(watch)
    with pytest.raises(RegistryError, match="cannot be reached"):
        await registry.config()
    own_etcd.server.start()
    own_etcd.flannel("10.5.2.0-24", FLANNELS)  # a peer that changed while nobody looked
    async with aclosing(again(registry)) as snapshots:
        after = await until(snapshots, {"node1", "10.99.0.9"})
    assert after.leases["node1"] is before.leases["node1"]


async def test_an_etcd_that_went_back_to_an_older_copy_is_noticed_and_all_is_read_again(
    own_etcd: Directory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server, registry = own_etcd.server, own_etcd.client()
    await registry.acquire("node1", "vxlan", ONE)
    gone = await own_etcd.client().acquire("node3", "vxlan", THREE)
    server.ctl("snapshot", "save", str(tmp_path / "copy"))
    await own_etcd.client().release(gone)
    await own_etcd.client().acquire("node2", "vxlan", TWO)
    async with aclosing(again(registry)) as snapshots:
        await until(snapshots, NODES)
        restore(server, tmp_path / "copy")
        caplog.clear()
        back = await until(snapshots, {"node1", "node3"})
        assert "was restored from an older copy" in caplog.text
        assert back.leases["node3"].subnets == gone.subnets
        await own_etcd.client().acquire("node2", "vxlan", TWO, gone.subnets)
        healed = await until(snapshots, {"node1", "node2", "node3"})
    assert len({lease.subnets for lease in healed.leases.values()}) == 3


async def test_an_older_copy_that_has_grown_past_what_was_seen_is_read_again(
    own_etcd: Directory, tmp_path: Path
) -> None:
    server, registry = own_etcd.server, own_etcd.client()
    await registry.acquire("node1", "vxlan", ONE)
    server.ctl("snapshot", "save", str(tmp_path / "copy"))
    await own_etcd.client().acquire("node2", "vxlan", TWO)
    async with aclosing(registry.watch()) as watch:
        seen = await until(watch, NODES)
        restore(server, tmp_path / "copy")
        while server.revision <= seen.revision:
            server.put("/elsewhere", "x")
        with pytest.raises(RegistryError):
            await until(watch, set())
    async with aclosing(again(registry)) as snapshots:
        await until(snapshots, {"node1"})


def restore(server: EtcdServer, copy: Path) -> None:
    server.ctl("snapshot", "restore", str(copy), f"--data-dir={server.directory / 'older'}", *_member(server))
    server.stop()
    shutil.rmtree(server.data)
    (server.directory / "older").rename(server.data)
    server.start()


def _member(server: EtcdServer) -> tuple[str, str]:
    return f"--initial-cluster=default={server.peer}", f"--initial-advertise-peer-urls={server.peer}"


async def test_a_server_that_has_forgotten_where_the_watcher_was_is_read_again(
    own_etcd: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    registry = own_etcd.client()
    await registry.acquire("node1", "vxlan", ONE)  # a watch goes on from here
    await own_etcd.client().acquire("node2", "vxlan", TWO)
    own_etcd.server.put("/elsewhere", "x")
    own_etcd.server.ctl("compact", str(own_etcd.server.revision))
    async with aclosing(registry.watch()) as watch:
        await until(watch, NODES)
    assert "has forgotten revision" in caplog.text


async def test_a_configuration_based_on_what_the_server_has_forgotten_is_refused(own_etcd: Directory) -> None:
    registry = own_etcd.client()
    basis = (await registry.snapshot()).revision
    await registry.acquire("node1", "vxlan", ONE)
    own_etcd.server.ctl("compact", str(own_etcd.server.revision))
    with pytest.raises(RegistryConflict):
        await registry.configure(CONFIG, basis)


async def test_an_etcd_that_does_not_answer_is_told_in_good_time_and_answers_later(own_etcd: Directory) -> None:
    registry = own_etcd.client(patience=0.3)
    await registry.acquire("node1", "vxlan", ONE)
    async with aclosing(registry.watch()) as watch:
        await until(watch, {"node1"})
        with own_etcd.server.paused(), pytest.raises(RegistryError, match="does not answer"):
            await registry.config()
        await own_etcd.client().acquire("node2", "vxlan", TWO)
        assert set((await until(watch, NODES)).leases) == NODES


async def test_a_connection_that_died_in_silence_is_noticed(tmp_path: Path) -> None:
    server = EtcdServer(tmp_path / "etcd", options=["--grpc-keepalive-min-time=10ms"])
    with running(server):
        directory = Directory(server)
        directory.configure(CONFIG)
        registry = directory.client(patience=0.2)
        async with aclosing(registry.watch()) as watch:
            await anext(watch)
            with server.paused(), pytest.raises(RegistryError):
                await anext(watch)
        directory.close()


@asynccontextmanager
async def relay(port: int, *, delay: float = 0) -> AsyncIterator[tuple[int, asyncio.Server]]:
    """A port that leads to another one, whose answers come that many seconds late."""
    writers: list[asyncio.StreamWriter] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
        while data := await reader.read(1 << 16):
            await asyncio.sleep(seconds)
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((writer, back))
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(carry(reader, back, 0))
                both.create_task(carry(there, writer, delay))
        except* (ConnectionError, asyncio.CancelledError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], server
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


async def test_an_etcd_that_answers_slowly_is_waited_for(own_etcd: Directory) -> None:
    async with relay(own_etcd.server.port, delay=0.25) as (port, _):
        registry = own_etcd.client(endpoints=(f"http://127.0.0.1:{port}",))
        lease = await registry.acquire("node1", "vxlan", ONE)
        async with aclosing(registry.watch()) as watch:
            assert (await anext(watch)).leases == {"node1": lease}


async def test_an_endpoint_that_is_away_is_passed_over(own_etcd: Directory) -> None:
    endpoints = (f"http://127.0.0.1:{free_port()}", own_etcd.server.endpoint)
    registry = own_etcd.client(endpoints=endpoints)
    lease = await registry.acquire("node1", "vxlan", ONE)
    async with aclosing(registry.watch()) as watch:
        assert (await anext(watch)).leases == {"node1": lease}


async def test_when_no_endpoint_answers_the_last_one_is_told(own_etcd: Directory) -> None:
    first, last = free_port(), free_port()
    registry = own_etcd.client(endpoints=(f"http://127.0.0.1:{first}", f"http://127.0.0.1:{last}"))
    with pytest.raises(RegistryError, match=str(last)):
        await registry.config()


async def test_a_watch_goes_on_at_another_endpoint_without_a_word_to_its_reader(
    own_etcd: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nankeen.registry.etcd.RECONNECT", 0.0)
    registry = own_etcd.client()
    async with relay(own_etcd.server.port) as (port, _):
        registry = own_etcd.client(endpoints=(f"http://127.0.0.1:{port}", own_etcd.server.endpoint))
        await registry.acquire("node1", "vxlan", ONE)
        watch = registry.watch()
        await until(watch, {"node1"})
    await own_etcd.client().acquire("node2", "vxlan", TWO)
    await until(watch, NODES)
    await watch.aclose()


async def test_a_full_etcd_is_told_is_read_all_the_same_and_takes_leases_when_there_is_room(tmp_path: Path) -> None:
    with running(EtcdServer(tmp_path / "etcd", options=[f"--quota-backend-bytes={300 << 10}"])) as server:
        directory = Directory(server)
        directory.configure(CONFIG)
        registry = directory.client()
        lease = await registry.acquire("node1", "vxlan", ONE)
        fill(server)
        with pytest.raises(RegistryError, match=r"has no space left .*etcdctl compact"):
            await registry.acquire("node2", "vxlan", TWO)
        with pytest.raises(RegistryError, match="has no space left"):
            await registry.renew(lease)
        async with aclosing(registry.watch()) as watch:
            assert (await anext(watch)).leases == {"node1": lease}
            server.ctl("compact", str(server.revision))
            server.ctl("defrag")
            server.ctl("alarm", "disarm")
            await registry.acquire("node2", "vxlan", TWO)
            await until(watch, NODES)
        directory.close()


def fill(server: EtcdServer) -> None:
    """Writes until etcd takes no more."""
    with suppress(AssertionError):
        while True:
            server.put("/filler", "x" * (64 << 10))


async def test_the_time_to_live_is_the_servers_whatever_the_clocks_say(own_etcd: Directory) -> None:
    ahead = EtcdRegistry(own_etcd.settings(), lease_seconds=1, clock=lambda: time.time() + 1e6)
    behind = EtcdRegistry(own_etcd.settings(), clock=lambda: 0.0)
    await ahead.acquire("node1", "vxlan", ONE)
    await behind.acquire("node2", "vxlan", TWO)
    async with aclosing(behind.watch()) as watch:
        assert set((await anext(watch)).leases) == NODES
        await until(watch, {"node2"})  # the server let it expire, far before the time that its node told
    assert set((await ahead.snapshot()).leases) == {"node2"}  # by node2's own clock it expired half a century ago
    ahead.close()
    behind.close()


async def test_a_lease_that_an_administrator_deletes_is_seen_by_its_node_which_gets_it_again(
    own_etcd: Directory,
) -> None:
    registry = own_etcd.client()
    lease = await registry.acquire("node1", "vxlan", ONE)
    async with aclosing(registry.watch()) as watch:
        await until(watch, {"node1"})
        own_etcd.delete("10.5.1.0-24")
        await until(watch, set())
        assert (await registry.acquire("node1", "vxlan", ONE, lease.subnets)).subnets == lease.subnets
        await until(watch, {"node1"})


@pytest.fixture
def guarded(own_etcd: Directory) -> Directory:
    """An etcd with users: `nankeen` may write below the prefix, `reader` may only read there."""
    ctl = own_etcd.server.ctl
    for user in ("root", "nankeen", "reader"):
        ctl("user", "add", f"{user}:{PASSWORD}")
    ctl("user", "grant-role", "root", "root")
    for user, access in (("nankeen", "readwrite"), ("reader", "read")):
        ctl("role", "add", user)
        ctl("role", "grant-permission", user, "--prefix=true", access, own_etcd.prefix)
        ctl("user", "grant-role", user, user)
    ctl("auth", "enable")
    own_etcd.server.client_options = [f"--user=root:{PASSWORD}"]
    return own_etcd


async def test_a_user_and_password_open_what_the_users_role_allows(guarded: Directory) -> None:
    registry = guarded.client(username="nankeen", password=PASSWORD)
    lease = await registry.acquire("node1", "vxlan", ONE)
    await registry.renew(lease)
    async with aclosing(registry.watch()) as watch:
        assert set((await anext(watch)).leases) == {"node1"}


@pytest.mark.parametrize(
    "who, told",
    [
        (("", ""), "wants to know the user"),
        (("nankeen", "wrong"), "does not know us"),
        (("nobody", PASSWORD), "does not know us"),
    ],
)
async def test_whoever_is_not_known_is_told_so(guarded: Directory, who: tuple[str, str], told: str) -> None:
    with pytest.raises(RegistryError, match=told):
        await guarded.client(username=who[0], password=who[1]).config()


async def test_whoever_may_only_read_is_told_so_when_it_writes(guarded: Directory) -> None:
    registry = guarded.client(username="reader", password=PASSWORD)
    assert await registry.configuration() == CONFIG
    with pytest.raises(RegistryError, match=r"does not let us .*role"):
        await registry.acquire("node1", "vxlan", ONE)


async def test_a_token_that_the_server_has_forgotten_is_asked_for_again(guarded: Directory) -> None:
    registry = guarded.client(username="nankeen", password=PASSWORD)
    await registry.acquire("node1", "vxlan", ONE)
    guarded.server.stop()
    guarded.server.start()
    async with aclosing(again(registry)) as snapshots:
        await until(snapshots, {"node1"})


async def test_a_user_where_etcd_has_none_is_no_matter(own_etcd: Directory) -> None:
    registry = own_etcd.client(username="nankeen", password=PASSWORD)
    assert await registry.configuration() == CONFIG


async def test_whoever_may_not_watch_is_told_so(own_etcd: Directory) -> None:
    ctl = own_etcd.server.ctl
    ctl("user", "add", f"root:{PASSWORD}")
    ctl("user", "grant-role", "root", "root")
    registry = own_etcd.client(username="root", password=PASSWORD)
    await registry.acquire("node1", "vxlan", ONE)  # a watch goes on from here, without another read
    ctl("user", "add", f"nankeen:{PASSWORD}")
    ctl("auth", "enable")
    outsider = own_etcd.client(username="nankeen", password=PASSWORD)
    outsider._known = registry._known
    with pytest.raises(RegistryError, match=r"does not let us watch .*denied"):
        await anext(outsider.watch())
    own_etcd.server.client_options = [f"--user=root:{PASSWORD}"]
