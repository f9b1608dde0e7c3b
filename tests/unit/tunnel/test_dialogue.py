import asyncio
import select
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from nankeen.model.errors import KernelError
from nankeen.model.tunnel import TunnelPeer, TunnelSocket
from nankeen.tunnel import listener as listener_module
from nankeen.tunnel.client import Client, told_now
from nankeen.tunnel.control import (
    Answer,
    Ask,
    Change,
    Configure,
    Counters,
    Done,
    Known,
    Refused,
    Report,
    Request,
    Settings,
    Show,
)
from nankeen.tunnel.listener import Listener

PEER = TunnelPeer("flannel0", ip_network("10.244.2.0/24"), ip_address("192.168.0.12"), 8285, "node2")
SOCKET = TunnelSocket("flannel0", ip_address("192.168.0.11"), 8285, ip_network("10.244.1.0/24"))
MANY = tuple(
    TunnelPeer("flannel0", ip_network((0x0A00_0000 + (i << 8), 24)), ip_address(0xC0A8_0000 + i), 8285, f"node{i}")
    for i in range(5_000)
)
Handler = Callable[[Request], Answer]


def yes(_request: Request) -> Answer:
    return Done()


@asynccontextmanager
async def data_path(path: Path, handle: Handler = yes) -> AsyncIterator[Listener]:
    """A data path's control, served by this loop in the place of the process's own."""
    loop = asyncio.get_running_loop()
    with Listener(path) as listener:

        def serve() -> None:
            for connection, request in listener.ready():
                listener.answer(connection, handle(request))

        loop.add_reader(listener.fileno(), serve)
        try:
            yield listener
        finally:
            loop.remove_reader(listener.fileno())


async def said(path: Path, text: bytes) -> bytes:
    """What is answered to somebody who says this and nothing more."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(text)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_data_path_is_told_all_its_peers_and_then_what_changes(tmp_path: Path) -> None:
    heard: list[Request] = []

    def handle(request: Request) -> Answer:
        heard.append(request)
        return Done()

    settings = Settings("flannel0", 1472, (SOCKET,), MANY)
    async with data_path(tmp_path / "tunnel.sock", handle):
        client = await Client.connect(tmp_path / "tunnel.sock")
        await client.configure(settings)
        await client.change(Change("flannel0", (PEER,), (MANY[0].subnet,)))
        client.close()
    assert heard == [Configure(settings), Change("flannel0", (PEER,), (MANY[0].subnet,))]


async def test_a_data_path_reports_what_it_has_done(tmp_path: Path) -> None:
    report = Report("nothing", {peer.node: Counters(1, 2, 3, 4) for peer in MANY}, {"no peer": 3})
    async with data_path(tmp_path / "tunnel.sock", lambda _: report):
        client = await Client.connect(tmp_path / "tunnel.sock")
        for answer in await asyncio.gather(client.report(), client.report()):
            assert answer == report
        client.close()


async def test_what_a_data_path_refuses_is_an_error_and_the_connection_stays(tmp_path: Path) -> None:
    async with data_path(tmp_path / "tunnel.sock", lambda _: Refused("there is no flannel0")):
        client = await Client.connect(tmp_path / "tunnel.sock")
        with pytest.raises(KernelError, match="there is no flannel0"):
            await client.configure(Settings("flannel0", 1472, (SOCKET,), ()))
        assert client.is_open
        client.close()


async def test_the_end_of_a_data_path_is_noticed(tmp_path: Path) -> None:
    async with data_path(tmp_path / "tunnel.sock"):
        client = await Client.connect(tmp_path / "tunnel.sock")
        await client.configure(Settings("flannel0", 1472, (SOCKET,), ()))
    await client.ended()
    assert not client.is_open
    with pytest.raises(KernelError, match="it has ended"):
        await client.report()


async def test_an_answer_that_nobody_waits_for_is_not_taken_for_another(tmp_path: Path) -> None:
    async with data_path(tmp_path / "tunnel.sock"):
        client = await Client.connect(tmp_path / "tunnel.sock")
        asking = asyncio.create_task(client.configure(Settings("flannel0", 1472, (SOCKET,), ())))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not client.is_open


async def test_where_nobody_listens_there_is_no_data_path(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="no data path listens"):
        await Client.connect(tmp_path / "tunnel.sock")


async def test_what_is_no_request_is_answered_and_the_next_one_served(tmp_path: Path) -> None:
    async with data_path(tmp_path / "tunnel.sock"):
        first, second, third = (
            await said(tmp_path / "tunnel.sock", b'{"do":"stop"}\nnonsense\n{"do":"stop"}\nhalf')
        ).splitlines()
    assert first == third == b'{"answer":"ok"}'
    assert b"no request" in second


async def test_who_looks_on_is_told_what_the_data_path_goes_by(tmp_path: Path) -> None:
    settings = Settings("flannel0", 1472, (SOCKET,), MANY)
    async with data_path(tmp_path / "tunnel.sock", lambda request: Known(settings) if request == Show() else Done()):
        assert await asyncio.to_thread(told_now, tmp_path / "tunnel.sock", 5.0) == settings


async def test_who_looks_on_is_refused_by_one_that_does_not_know_the_question(tmp_path: Path) -> None:
    async with data_path(tmp_path / "tunnel.sock", lambda _: Refused("no request")):
        with pytest.raises(KernelError, match="does not say what it was told"):
            await asyncio.to_thread(told_now, tmp_path / "tunnel.sock", 5.0)


async def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "LONGEST", 1000)
    async with data_path(tmp_path / "tunnel.sock"):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "tunnel.sock")
        writer.write(b"x" * 2000)
        assert b"no request" in await reader.read()
        writer.close()
        await writer.wait_closed()


async def test_one_who_does_not_listen_holds_up_nobody(tmp_path: Path) -> None:
    long = Report("x" * 1_000_000)
    async with data_path(tmp_path / "tunnel.sock", lambda request: long if request == Ask() else Done()):
        silent = socket.socket(socket.AF_UNIX)
        silent.connect(str(tmp_path / "tunnel.sock"))
        silent.sendall(b'{"do":"report"}\n' * 3)
        client = await Client.connect(tmp_path / "tunnel.sock")
        await client.configure(Settings("flannel0", 1472, (SOCKET,), ()))
        client.close()
        silent.close()


async def test_connections_beyond_the_most_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "_MOST", 1)
    async with data_path(tmp_path / "tunnel.sock"):
        first = await Client.connect(tmp_path / "tunnel.sock")
        await first.configure(Settings("flannel0", 1472, (SOCKET,), ()))
        second = await Client.connect(tmp_path / "tunnel.sock")
        await second.ended()
        await first.configure(Settings("flannel0", 1472, (SOCKET,), ()))
        first.close()


def test_only_its_owner_may_connect(tmp_path: Path) -> None:
    with Listener(tmp_path / "tunnel.sock"):
        assert stat.S_IMODE((tmp_path / "tunnel.sock").stat().st_mode) == 0o600


def test_others_are_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "_is_trusted", lambda _: False)
    with Listener(tmp_path / "tunnel.sock") as listener, socket.socket(socket.AF_UNIX) as other:
        other.connect(str(tmp_path / "tunnel.sock"))
        select.select([listener.fileno()], [], [])
        assert listener.ready() == []
        assert other.recv(1) == b""


def test_two_data_paths_do_not_listen_in_one_place(tmp_path: Path) -> None:
    with Listener(tmp_path / "tunnel.sock"), pytest.raises(KernelError, match="another data path"):
        Listener(tmp_path / "tunnel.sock")


def test_a_socket_that_a_crash_left_is_taken_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(tmp_path / "tunnel.sock"))
    with Listener(tmp_path / "tunnel.sock"), socket.socket(socket.AF_UNIX) as asker:
        asker.connect(str(tmp_path / "tunnel.sock"))
    assert not (tmp_path / "tunnel.sock").exists()
