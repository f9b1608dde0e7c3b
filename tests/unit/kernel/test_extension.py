"""The extension's commands, really run: small scripts that write down what they were given."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.backend import Node, open_backend
from nankeen.backend.extension import ExtensionBackend
from nankeen.kernel import record as records
from nankeen.kernel.companion import Places, open_companion
from nankeen.kernel.extension import Commands, run
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.record import Record
from nankeen.kernel.steps import Refusal
from nankeen.model.diff import NOTHING
from nankeen.model.errors import InputError, KernelError
from nankeen.model.gojson import JSON, compact
from nankeen.model.hook import Command, Hook
from nankeen.model.lease import Lease
from nankeen.model.netconf import BackendConfig
from tests.unit.backend import fabric
from tests.unit.backend.fabric import endpoint, node


class Machine:
    """A node with a script that logs each run, and refuses where a file `broken` names its first argument."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.script = directory / "script"
        self.log = directory / "log"
        self.log.touch()
        self.script.write_text(
            f'#!/bin/sh\ncd {directory}\n'
            'if grep -qsx "$1" broken; then echo "no $1 today" >&2; exit 3; fi\n'
            'echo "$*" | tee -a log\n'
        )  # fmt: skip
        self.script.chmod(0o755)

    def commands(self, **options: JSON) -> Commands:
        """The companion of an agent that has just started."""
        parts = {f"{key}Command": f"{self.script} {value}" for key, value in options.items()}
        backend = open_backend(BackendConfig("extension", parts))
        assert isinstance(backend, ExtensionBackend)
        return Commands(backend, Record(self.directory / "record"))

    def ran(self) -> list[str]:
        """What has run since it was last asked."""
        lines = self.log.read_text().splitlines()
        self.log.write_text("")
        return lines

    def breaks(self, *words: str) -> None:
        (self.directory / "broken").write_text("".join(f"{word}\n" for word in words))

    async def converge(self, commands: Commands, *peers: Lease) -> Sequence[Refusal]:
        return await commands.converge(commands._backend.state(node(), peers), NOTHING)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def peer(number: int, data: str | None = None, address: str = "") -> Lease:
    return fabric.lease(number, endpoint(number, address=address, data=data), backend="extension")


BOTH: dict[str, JSON] = {"SubnetAdd": "add $SUBNET $PUBLIC_IP", "SubnetRemove": "remove $SUBNET $PUBLIC_IP"}


async def test_a_command_runs_for_each_peer_once_and_when_it_goes(machine: Machine) -> None:
    commands = machine.commands(**BOTH)
    assert await machine.converge(commands, peer(2), peer(3)) == []
    assert machine.ran() == ["add 10.5.2.0/24 10.99.0.2", "add 10.5.3.0/24 10.99.0.3"]
    assert await machine.converge(commands, peer(2), peer(3)) == []
    assert machine.ran() == []
    await machine.converge(commands, peer(3))
    assert machine.ran() == ["remove 10.5.2.0/24 10.99.0.2"]


async def test_an_agent_that_starts_again_runs_nothing_again(machine: Machine) -> None:
    await machine.converge(machine.commands(**BOTH), peer(2), peer(3))
    machine.ran()
    await machine.converge(machine.commands(**BOTH), peer(2))
    assert machine.ran() == ["remove 10.5.3.0/24 10.99.0.3"]


async def test_after_a_reboot_everything_runs_anew(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    await machine.converge(machine.commands(**BOTH), peer(2))
    machine.ran()
    (machine.directory / "boot_id").write_text("another\n")
    monkeypatch.setattr(records, "_BOOT_ID", machine.directory / "boot_id")
    await machine.converge(machine.commands(**BOTH), peer(2))
    assert machine.ran() == ["add 10.5.2.0/24 10.99.0.2"]


async def test_a_peer_that_changed_is_removed_as_it_was_and_added_as_it_is(machine: Machine) -> None:
    commands = machine.commands(**BOTH)
    await machine.converge(commands, peer(2))
    machine.ran()
    await machine.converge(commands, peer(2, address="10.99.0.7"))
    assert machine.ran() == ["remove 10.5.2.0/24 10.99.0.2", "add 10.5.2.0/24 10.99.0.7"]


async def test_a_failure_is_told_of_its_peer_and_tried_again_and_holds_up_nobody(machine: Machine) -> None:
    machine.breaks("10.5.2.0/24")
    commands = machine.commands(SubnetAdd="$SUBNET")
    for _ in range(2):
        (refused,) = await machine.converge(commands, peer(2), peer(3))
        assert str(refused).startswith(f"node2 10.5.2.0/24: {machine.script} 10.5.2.0/24")
        assert "exit status 3: no 10.5.2.0/24 today" in str(refused)
    assert machine.ran() == ["10.5.3.0/24"]
    machine.breaks()
    assert await machine.converge(commands, peer(2), peer(3)) == []
    assert machine.ran() == ["10.5.2.0/24"]


async def test_a_removal_that_failed_is_tried_again(machine: Machine) -> None:
    commands = machine.commands(**BOTH)
    await machine.converge(commands, peer(2))
    machine.ran()
    machine.breaks("remove")
    assert len(await machine.converge(commands)) == 1
    machine.breaks()
    assert await machine.converge(machine.commands(**BOTH)) == []
    assert machine.ran() == ["remove 10.5.2.0/24 10.99.0.2"]


async def test_what_the_first_command_prints_is_the_nodes_announcement(machine: Machine) -> None:
    commands = machine.commands(PreStartup="  tell  all ")
    prepared = await commands.prepare(node())
    assert prepared == replace(node(), announcement="tell all")
    assert await machine.commands(PreStartup="tell all").prepare(node()) == prepared
    assert machine.ran() == ["tell all"]


async def test_the_commands_of_the_start_run_in_their_order_and_once(machine: Machine) -> None:
    for _ in range(2):
        commands = machine.commands(PreStartup="before", PostStartup="after $SUBNET", **BOTH)
        await commands.prepare(node())
        await commands.begin(node())
        await machine.converge(commands, peer(2))
    assert machine.ran() == ["before", "after 10.5.1.0/24", "add 10.5.2.0/24 10.99.0.2"]


async def test_where_the_start_has_changed_all_that_came_after_it_runs_again(machine: Machine) -> None:
    for first in ("before", "otherwise"):
        commands = machine.commands(PreStartup=first, PostStartup="after", **BOTH)
        await commands.prepare(node())
        await commands.begin(node())
        await machine.converge(commands, peer(2))
    once = ["after", "add 10.5.2.0/24 10.99.0.2"]
    assert machine.ran() == ["before", *once, "otherwise", *once]


async def test_a_start_that_fails_is_told_and_is_tried_again(machine: Machine) -> None:
    machine.breaks("before")
    for _ in range(2):
        with pytest.raises(KernelError, match="exit status 3: no before today"):
            await machine.commands(PreStartup="before").prepare(node())
    machine.breaks()
    assert (await machine.commands(PreStartup="before").prepare(node())).announcement == "before"


async def test_too_much_for_a_lease_is_refused(machine: Machine) -> None:
    machine.script.write_text("#!/bin/sh\nhead -c 20000 /dev/zero | tr '\\0' x\n")
    with pytest.raises(InputError, match="it printed 20000 characters for the peers"):
        await machine.commands(PreStartup="").prepare(node())


async def test_what_a_peer_tells_arrives_on_standard_input_as_it_is(machine: Machine) -> None:
    hostile = "$(touch owned); `touch owned` \"'\nnext"
    machine.script.write_text(f"#!/bin/sh\ncat > {machine.directory}/heard\n")
    await machine.converge(machine.commands(SubnetAdd="$SUBNET"), peer(2, compact(hostile)))
    assert (machine.directory / "heard").read_text() == f"{hostile}\n"
    assert not (machine.directory / "owned").exists()


async def test_variables_are_in_the_environment_beside_the_agents_own() -> None:
    told = await run(Command(("sh", "-c", 'echo "$SUBNET:$PATH"'), (("SUBNET", "10.5.2.0/24"),)))
    assert told == f"10.5.2.0/24:{os.environ['PATH']}\n"


async def test_a_command_that_does_not_end_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = f"sleep 1000 > {fifo} & sleep 1000"
    task = asyncio.create_task(run(Command(("sh", "-c", script)), 1.0))
    with await asyncio.to_thread(fifo.open) as held:  # opens when the child has opened its end
        with pytest.raises(KernelError, match="no end after 1 s"):
            await task
        assert await asyncio.to_thread(held.read) == ""  # ends when the child has


async def test_an_agent_that_is_stopped_leaves_no_command_behind(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    task = asyncio.create_task(run(Command(("sh", "-c", f"exec sleep 1000 > {fifo}"))))
    with await asyncio.to_thread(fifo.open) as held:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(held.read) == ""


async def test_a_program_that_is_not_there_is_told_by_its_name() -> None:
    with pytest.raises(KernelError, match="no-such-program: it cannot be run: No such file or directory"):
        await run(Command(("no-such-program", "x")))


async def test_a_program_that_does_not_read_its_input_is_no_failure() -> None:
    assert await run(Command(("true",), (), "x" * 1_000_000)) == ""


words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
commands_ = st.builds(
    Command,
    st.lists(words, min_size=1, max_size=4).map(tuple),
    st.dictionaries(words, words, max_size=3).map(lambda found: tuple(found.items())),
    words,
)


@given(commands_ | st.none(), commands_ | st.none(), words)
def test_law_a_note_is_read_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, add: Command | None, remove: Command | None, name: str
) -> None:
    record = Record(tmp_path_factory.mktemp("record") / "deeper")
    hook = Hook(name, (ip_network("10.5.2.0/24"), ip_network("fc00:5:0:2::/64")), add, remove)
    record.add(hook)
    assert list(record.hooks()) == [hook]
    record.remove(hook)
    assert list(record.hooks()) == []


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"peer":7}', '{"peer":"n","subnets":["x"]}', '{"peer":"n","subnets":[],"add":{"arguments":"rm"}}'],
)
def test_a_note_that_is_none_is_refused_and_not_executed(tmp_path: Path, text: str) -> None:
    record = Record(tmp_path)
    note = {"boot": record._boot, **json.loads(text)} if text.startswith('{"') else text
    (tmp_path / "peer-10.5.2.0-24.json").write_text(note if isinstance(note, str) else json.dumps(note))
    with pytest.raises(InputError, match="it is no note of what has run; remove it"):
        list(record.hooks())


def test_the_record_is_for_the_agent_alone(tmp_path: Path) -> None:
    record = Record(tmp_path / "record")
    record.note("before", Command(("x",)), "")
    assert (tmp_path / "record").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "record" / "before.json").stat().st_mode & 0o777 == 0o600


async def test_the_backend_finds_its_companion(tmp_path: Path) -> None:
    backend = open_backend(BackendConfig("extension", {"PreStartupCommand": "echo hello"}))
    with NetlinkSocket() as socket:
        companion = open_companion(backend, socket, Places(record=tmp_path / "record"))
    prepared: Node = await companion.prepare(node())
    assert prepared.announcement == "hello"
