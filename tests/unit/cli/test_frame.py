"""The frame of the command line: how commands are found, and how errors and exit statuses come out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

import nankeen
from nankeen.cli import COMMANDS, LazyGroup, main
from nankeen.model.errors import InputError, KernelError

ROOT = Path(__file__).parents[3]
Body = Callable[[], object]
Install = Callable[[Body], None]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts one command, `probe`, in the place of all others."""

    def install(body: Body) -> None:
        probe = click.Command("probe", callback=lambda **_: body(), params=[click.Option(["--json"], is_flag=True)])
        monkeypatch.setattr(LazyGroup, "list_commands", lambda *_: ["probe"])
        monkeypatch.setattr(LazyGroup, "get_command", lambda _, __, name: probe if name == "probe" else None)

    return install


def _fail(error: BaseException) -> Body:
    def body() -> object:
        raise error

    return body


@pytest.mark.parametrize(
    "body, status",
    [
        (lambda: None, 0),
        (lambda: 1, 1),
        (_fail(KernelError("no")), 1),
        (_fail(InputError("no")), 2),
        (_fail(click.UsageError("no")), 2),
        (_fail(KeyboardInterrupt()), 130),
    ],
    ids=["it holds", "it does not hold", "the kernel refused", "wrong value", "wrong usage", "interrupted"],
)
def test_the_exit_status_says_what_happened(command: Install, body: Body, status: int) -> None:
    command(body)
    assert main(["probe"]) == status


def test_an_error_is_one_line_with_the_place_and_the_remedy(
    command: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    command(_fail(InputError("no such node", where="lab.yaml", remedy="name one of: node1")))
    main(["probe"])
    out, err = capsys.readouterr()
    assert (out, err) == ("", "nankeen: lab.yaml: no such node; name one of: node1\n")


def test_an_error_is_a_document_too_for_who_asked_for_json(
    command: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    command(_fail(KernelError("no such device", where="eth7", remedy="name another")))
    assert main(["probe", "--json"]) == 1
    out, err = capsys.readouterr()
    wanted = {"kind": "KernelError", "problem": "no such device", "where": "eth7", "remedy": "name another"}
    assert json.loads(out) == {"error": wanted}
    assert err.startswith("nankeen: eth7: ")


def test_json_after_two_dashes_belongs_to_another_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing", "--", "--json"]) == 2
    assert capsys.readouterr().out == ""


def test_a_wrong_word_is_answered_with_where_to_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["juggle"]) == 2
    assert capsys.readouterr().err == "nankeen: No such command 'juggle'; see `nankeen --help`\n"


def test_without_words_the_commands_are_listed(
    command: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command(lambda: None)
    monkeypatch.setitem(COMMANDS, "probe", ("nowhere:probe", "Looks."))
    assert main([]) == 2
    assert re.search(r"probe\s+Looks\.", capsys.readouterr().err)


@pytest.mark.parametrize("name", LazyGroup().list_commands(click.Context(LazyGroup())))
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert "Usage: nankeen " + name in capsys.readouterr().out


def test_help_imports_no_command_and_nothing_that_is_slow() -> None:
    program = "import sys; from nankeen.cli import main; main(['--version']); print(*sys.modules, sep='\\n')"
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    loaded = set(run.stdout.split())
    slow = {"rich", "yaml", "msgspec", "asyncio", "sqlite3", "subprocess"}
    assert not loaded & (slow | {place.partition(":")[0] for place, _ in COMMANDS.values()})


def test_the_version_is_the_projects() -> None:
    assert f'\nversion = "{nankeen.__version__}"\n' in (ROOT / "pyproject.toml").read_text()
