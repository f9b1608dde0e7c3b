"""`nankeen config`: reading, checking and setting what all nodes agree on."""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import pytest

from nankeen.cli import main
from nankeen.model.lease import Lease, Reach
from nankeen.registry import Registry, open_registry
from nankeen.registry.sqlite import create

CONFIG = '{"Network":"10.5.0.0/16", "Backend": {"Type":"vxlan"}}\n'
ELSEWHERE = '{"Network":"10.6.0.0/16"}'


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry with one lease, that the environment names."""
    path = tmp_path / "registry.db"
    create(path, CONFIG)
    monkeypatch.setenv("NANKEEN_REGISTRY", f"sqlite://{path}")
    registry = open_registry(f"sqlite://{path}")
    try:
        asyncio.run(_acquire(registry))
    finally:
        registry.close()
    return path


async def _acquire(registry: Registry) -> Lease:
    return await registry.acquire("node1", "vxlan", [Reach(ip_address("192.0.2.1"))])


def configured(database: Path) -> str:
    with closing(sqlite3.connect(database)) as table:
        (text,) = table.execute("SELECT config FROM registry").fetchone()
    return str(text)


def scribble(database: Path, text: str) -> None:
    with closing(sqlite3.connect(database)) as table, table:
        table.execute("UPDATE registry SET config = ?", (text,))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """One that strands the lease."""
    path = tmp_path / "net-conf.json"
    path.write_text(ELSEWHERE)
    return path


@pytest.mark.usefixtures("database")
def test_it_is_printed_as_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "get"]) == 0
    assert capsys.readouterr().out == CONFIG


@pytest.mark.usefixtures("database")
def test_it_is_printed_with_a_line_for_each_member(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "get", "--pretty"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == '  "Network": "10.5.0.0/16",'


def test_one_that_is_wrong_is_printed_and_told_to_be(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scribble(database, '{"Network":')
    assert main(["config", "get", "--pretty"]) == 1
    out, err = capsys.readouterr()
    assert out == '{"Network":\n'
    assert "it is wrong: network configuration: not JSON" in err


def test_a_terminal_is_told_nothing_that_moves_its_cursor(
    database: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scribble(database, "\x1b[2J\r\n\tworse")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["config", "get"]) == 1
    assert all(line.isprintable() for line in capsys.readouterr().out.split("\n"))


def test_one_that_strands_a_lease_is_refused_and_names_it(
    database: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "set", str(file)]) == 1
    out = capsys.readouterr().out
    assert "strands 10.5.1.0/24 of node1: it lies outside the network 10.6.0.0/16" in out
    assert "nothing was changed" in out
    assert configured(database) == CONFIG


def test_by_force_it_is_set(database: Path, file: Path) -> None:
    assert main(["config", "set", str(file), "--force"]) == 0
    assert configured(database) == ELSEWHERE


def test_it_is_read_from_standard_input_and_what_becomes_of_packets_is_told(
    database: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = CONFIG.replace("vxlan", "host-gw")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert main(["config", "set", "-", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["set"], told["made"], told["stranded"]) == (True, False, [])
    assert told["notes"][0].startswith("the backend changes from vxlan to host-gw: agents follow live")
    assert configured(database) == text


def test_the_first_one_makes_an_sqlite_registry(tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new/registry.db"
    assert main(["config", "set", str(file), "--registry", f"sqlite://{path}"]) == 0
    assert f"the registry is made: sqlite://{path}" in capsys.readouterr().out
    assert configured(path) == ELSEWHERE


@pytest.mark.parametrize("command", ["set", "check"])
@pytest.mark.parametrize(
    "octets, said",
    [
        (b"{", "net-conf.json: not JSON"),
        (b'{"Network":"10.5.0.0/31"}', "net-conf.json: Network is"),
        (b'{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":-1}}', "Backend.VNI is -1"),
        (b'{"Network":"10.5.0.0/16","Backend":{"Type":"vxlna"}}', "it must be one of: alloc, "),
        (b'{"Network":"10.5.0.0/16\xff"}', "net-conf.json: not UTF-8"),
        (b" " * (1 << 20) + b"{}", "net-conf.json: more than 1048576 bytes"),
    ],
)
def test_what_is_no_configuration_is_told_where(
    database: Path, file: Path, capsys: pytest.CaptureFixture[str], command: str, octets: bytes, said: str
) -> None:
    file.write_bytes(octets)
    assert main(["config", command, str(file)]) == 2
    assert said in capsys.readouterr().err
    assert configured(database) == CONFIG


def test_a_file_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", str(tmp_path / "none")]) == 2
    assert "none: cannot be read: No such file" in capsys.readouterr().err


def test_a_check_needs_no_registry(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NANKEEN_REGISTRY", raising=False)
    assert main(["config", "check", str(file)]) == 0
    assert capsys.readouterr().out == "it is right\n"


def test_a_check_against_a_registry_tells_whom_it_would_strand(
    database: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "check", str(file), "--registry", f"sqlite://{database}"]) == 1
    assert "strands 10.5.1.0/24 of node1" in capsys.readouterr().out
    file.write_text(CONFIG)
    assert main(["config", "check", str(file)]) == 0
    assert capsys.readouterr().out == "it is right, and strands no lease\n"


def test_a_slip_is_told(file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NANKEEN_REGISTRY", raising=False)
    file.write_text('{"Network":"10.5.0.0/16","SubnetLenght":26}')
    assert main(["config", "check", str(file)]) == 0
    assert "note: 'SubnetLenght' means nothing and is passed over; SubnetLen is meant?" in capsys.readouterr().out
