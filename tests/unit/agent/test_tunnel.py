"""The data path's keeper, with a process that carries nothing in the place of the real one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from unittest.mock import Mock

import pytest

from nankeen.agent import tunnel
from nankeen.agent.tunnel import DataPath
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.errors import KernelError
from nankeen.model.state import Link, State, Tun
from nankeen.model.tunnel import TunnelPeer, TunnelSocket
from nankeen.tunnel import client as client_module
from nankeen.tunnel.client import Client
from nankeen.tunnel.control import VERSION, Change, Configure, Request, Settings, decode_request
from tests.unit.agent import stand_in

LINK = Link("flannel0", Tun(), mtu=1472)
SOCKET = TunnelSocket("flannel0", ip_address("192.168.0.11"), 8285, ip_network("10.244.1.0/24"))


def peer(number: int, port: int = 8285) -> TunnelPeer:
    subnet = ip_network(f"10.244.{number}.0/24")
    return TunnelPeer("flannel0", subnet, ip_address(f"192.168.0.{number}"), port, f"node{number}")


def desired(*peers: TunnelPeer) -> State:
    return State([LINK, SOCKET, *peers])


class Place:
    """Where one data path is, and what it was told."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.socket = directory / "tunnel.sock"
        self.log = directory / "tunnel.log"
        self.netlink = Mock(NetlinkSocket)
        self.netlink.index.return_value = 7
        self.pids: set[int] = set()
        self._monkeypatch = monkeypatch
        self.behave("well")

    def behave(self, manner: str) -> None:
        """How the processes behave that are started from now on."""
        version = "0.0.1" if manner == "old" else VERSION  # said, as the code may be edited while tests run
        self._monkeypatch.setattr(tunnel, "PROGRAM", (sys.executable, "-P", stand_in.__file__, manner, version))

    def keeper(self) -> DataPath:
        return DataPath(self.netlink, self.socket, self.log)

    def told(self) -> list[Request]:
        path = self.socket.with_suffix(".told")
        return [decode_request(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    async def pid(self) -> int:
        """The process that runs."""
        client = await Client.connect(self.socket)
        client.close()
        self.pids.add(client.pid)
        return client.pid

    @asynccontextmanager
    async def kept(self, wanted: State) -> AsyncIterator[DataPath]:
        """A keeper that looks again whenever it is time to, as an agent has it."""
        keeper = self.keeper()

        async def keep() -> None:
            while True:
                with suppress(KernelError):
                    await keeper.converge(wanted)
                    await self.pid()
                await keeper.lost()

        task = asyncio.create_task(keep())
        try:
            yield keeper
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            keeper.close()

    async def configured(self, times: int) -> int:
        """The process that runs, as soon as one was told all, for that many times."""
        while sum(isinstance(request, Configure) for request in self.told()) < times:  # noqa: ASYNC110  (it is another process that goes on)
            await asyncio.sleep(0.01)
        return await self.pid()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    place = Place(tmp_path, monkeypatch)
    yield place
    with suppress(KernelError):
        asyncio.run(place.pid())
    for pid in place.pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


async def test_a_data_path_is_started_and_told_what_is_desired(place: Place) -> None:
    keeper = place.keeper()
    await keeper.converge(desired(peer(2)))
    await keeper.converge(desired(peer(2)))
    assert place.told() == [Configure(Settings("flannel0", 1472, (SOCKET,), (peer(2),)))]
    pid = await place.pid()
    assert os.getsid(pid) == pid
    keeper.close()


async def test_then_only_what_has_changed_is_told(place: Place) -> None:
    keeper = place.keeper()
    await keeper.converge(desired(peer(2), peer(3), peer(4)))
    await keeper.converge(desired(peer(3), peer(4, port=9000), peer(5)))
    assert place.told()[1:] == [Change("flannel0", (peer(4, port=9000), peer(5)), (peer(2).subnet,))]
    keeper.close()


@pytest.mark.parametrize("device", ["made anew", "of another MTU"])
async def test_all_is_told_again_where_the_device_is_another(place: Place, device: str) -> None:
    keeper = place.keeper()
    await keeper.converge(desired(peer(2)))
    mtu = 1472
    if device == "made anew":
        place.netlink.index.return_value = 8
    else:
        mtu = 1400
    await keeper.converge(State([Link("flannel0", Tun(), mtu=mtu), SOCKET, peer(2)]))
    assert place.told()[1:] == [Configure(Settings("flannel0", mtu, (SOCKET,), (peer(2),)))]
    keeper.close()


async def test_an_agent_that_starts_again_finds_the_process_of_the_one_before(place: Place) -> None:
    before = place.keeper()
    await before.converge(desired(peer(2)))
    pid = await place.pid()
    before.close()
    after = place.keeper()
    await after.converge(desired(peer(2)))
    assert await place.pid() == pid
    after.close()


async def test_a_process_of_another_version_is_replaced(place: Place) -> None:
    place.behave("old")
    before = place.keeper()
    await before.converge(desired(peer(2)))
    pid = await place.pid()
    before.close()
    place.behave("well")
    after = place.keeper()
    await after.converge(desired(peer(2)))
    assert await place.pid() != pid
    after.close()


async def test_what_the_agent_itself_has_started_is_not_replaced_whatever_it_is(place: Place) -> None:
    place.behave("old")
    keeper = place.keeper()
    await keeper.converge(desired(peer(2)))
    pid = await place.pid()
    await keeper.converge(desired(peer(3)))
    assert await place.pid() == pid
    keeper.close()


async def test_a_process_that_does_not_answer_is_killed_and_replaced(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_SECONDS", 0.2)
    monkeypatch.setattr("nankeen.tunnel.ending._SECONDS", 0.2)
    place.behave("silent")
    keeper = place.keeper()
    with pytest.raises(KernelError, match="no answer"):
        await keeper.converge(desired(peer(2)))
    pid = await place.pid()
    place.behave("well")
    await keeper.converge(desired(peer(2)))
    assert await place.pid() != pid
    keeper.close()


async def test_a_process_that_dies_is_started_again_and_that_is_told_once(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async with place.kept(desired(peer(2))):
        pid = await place.configured(1)
        os.kill(pid, signal.SIGKILL)
        assert await place.configured(2) != pid
    assert caplog.text.count("the data path ended") == 1


async def test_one_that_cannot_start_says_why_and_is_tried_again(place: Place) -> None:
    place.behave("cannot start")
    keeper = place.keeper()
    with pytest.raises(KernelError, match="ended as soon as it was started: there is no such thing"):
        await keeper.converge(desired(peer(2)))
    await keeper.lost()
    place.behave("well")
    await keeper.converge(desired(peer(2)))
    assert len(place.told()) == 1
    keeper.close()


def test_the_pauses_grow_to_half_a_minute_but_the_first_attempt_is_made_at_once() -> None:
    assert [tunnel._pause(failures) for failures in (0, 1, 2, 3, 4, 50)] == [0, 0, 1, 2, 4, 30]


async def test_what_a_process_refuses_is_told_and_tried_again_in_whole(place: Place) -> None:
    place.behave("refuses")
    keeper = place.keeper()
    for _ in range(2):
        with pytest.raises(KernelError, match="there is no flannel0"):
            await keeper.converge(desired(peer(2)))
    assert place.told() == [Configure(Settings("flannel0", 1472, (SOCKET,), (peer(2),)))] * 2
    keeper.close()


async def test_what_it_has_done_is_asked_when_it_is_wanted(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = place.keeper()
    assert keeper.report() is None
    await keeper.converge(desired(peer(2)))
    assert keeper.report() == stand_in.REPORT
    monkeypatch.setattr(tunnel, "_SECONDS_TO_REPORT", 0.1)
    os.kill(await place.pid(), signal.SIGSTOP)
    assert keeper.report() is None
    keeper.close()


async def test_it_ends_when_nothing_is_desired_of_it_any_more(place: Place) -> None:
    keeper = place.keeper()
    await keeper.converge(desired(peer(2)))
    pid = await place.pid()
    await keeper.converge(State())
    assert not place.socket.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_one_that_an_agent_of_another_configuration_left_ends(place: Place) -> None:
    before = place.keeper()
    await before.converge(desired(peer(2)))
    await place.pid()
    before.close()
    await place.keeper().converge(State())
    assert not place.socket.exists()


async def test_where_there_is_none_none_is_missed(place: Place) -> None:
    await place.keeper().converge(State())
    assert not place.socket.exists()


def test_the_change_from_one_table_to_another_makes_the_other() -> None:
    before = Settings("flannel0", 1472, (SOCKET,), (peer(2), peer(3)))
    after = Settings("flannel0", 1472, (SOCKET,), (peer(3, port=1), peer(4)))
    change = tunnel._change(before, after)
    table = {found.subnet: found for found in before.peers}
    for subnet in change.removed:
        del table[subnet]
    table |= {found.subnet: found for found in change.added}
    assert set(table.values()) == set(after.peers)
