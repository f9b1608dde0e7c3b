"""`nankeen leases`: what an operator reads and types."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

import nankeen
from nankeen.cli import main
from nankeen.model.lease import Lease, Offer, Reach
from nankeen.registry import Registry, Snapshot, open_registry
from nankeen.registry.doorbell import ring
from nankeen.registry.sqlite import create

CONFIG = '{"Network":"10.5.0.0/16","SubnetMax":"10.5.10.0","Backend":{"Type":"vxlan"}}'
VALUE = '{"PublicIP":"192.0.2.9","BackendType":"\\u001b[2Jvxlan"}'


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A registry with two leases, that the environment names."""
    create(tmp_path / "registry.db", CONFIG)
    made = f"sqlite://{tmp_path}/registry.db"
    monkeypatch.setenv("NANKEEN_REGISTRY", made)
    acquire(made, "node1", "192.0.2.1")
    acquire(made, "node2", "192.0.2.2")
    return made


def acquire(address: str, node: str, reached: str) -> Lease:
    async def work(registry: Registry) -> Lease:
        return await registry.acquire(node, "vxlan", [Reach(ip_address(reached))], (), [Offer("host-gw", (None,))])

    registry = open_registry(address)
    try:
        return asyncio.run(work(registry))
    finally:
        registry.close()


def held(address: str) -> Snapshot:
    registry = open_registry(address)
    try:
        return asyncio.run(_snapshot(registry))
    finally:
        registry.close()


async def _snapshot(registry: Registry) -> Snapshot:
    return await registry.snapshot()


def write(address: str, *rows: tuple[object, ...]) -> None:
    """Leases as somebody writes them who has a shell."""
    path = Path(address.removeprefix("sqlite://"))
    with closing(sqlite3.connect(path)) as table, table:
        table.executemany("INSERT INTO lease (node, key, value, expires) VALUES (?, ?, ?, ?)", rows)
    ring(path)


def answer(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> Any:  # noqa: ANN401 (a document)
    capsys.readouterr()
    assert main([*words, "--json"]) == status
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("words", [["leases"], ["leases", "list"]])
def test_leases_are_a_table_and_then_what_is_free(
    address: str, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main([*words, "--registry", address]) == 0
    titles, *rows, _, pool = capsys.readouterr().out.splitlines()
    assert titles.split() == ["NODE", "SUBNETS", "ADDRESS", "BACKEND", "OFFERS", "EXPIRES", "IN"]
    assert [row.split()[:6] for row in rows] == [
        ["node1", "10.5.1.0/24", "192.0.2.1", "vxlan", "host-gw", "23"],
        ["node2", "10.5.2.0/24", "192.0.2.2", "vxlan", "host-gw", "23"],
    ]
    assert pool == "10.5.0.0/16: 2 of 10 subnets held, 8 free"


def test_leases_are_a_document_for_programs(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "leases", "--registry", address)
    assert [each["subnets"] for each in found["leases"]] == [["10.5.1.0/24"], ["10.5.2.0/24"]]
    assert found["pools"] == [{"network": "10.5.0.0/16", "subnets": 10, "free": 8}]
    assert found["rejected"] == found["reserved"] == {}


def test_what_somebody_wrote_of_bad_intent_is_told_and_moves_no_cursor(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(address, ("greedy", "10.5.0.0-16", VALUE, 1e300), ("no\x1b[2Jde", "rust", VALUE, None))
    write(address, *((f"bad{number}", "rust", VALUE, None) for number in range(30)))
    assert main(["leases"]) == 0
    text = capsys.readouterr().out
    assert "greedy: no node can lease 10.5.0.0/16" in text
    assert "node1: 10.5.1.0/24 overlaps 10.5.0.0/16 of greedy" in text
    assert "the pool 10.5.0.0/16 is used up: no node can join" in text
    assert "21 more entries are rejected" in text
    assert all(line.isprintable() and len(line) < 200 for line in text.splitlines())
    assert len(answer(capsys, "leases")["rejected"]) == 31


@pytest.mark.parametrize("expires", [float("inf"), 1e300, -1e300, 0.0, 1e12])
def test_no_time_of_expiry_is_too_wild_to_be_listed(
    address: str, capsys: pytest.CaptureFixture[str], expires: float
) -> None:
    write(address, ("node9", "10.5.9.0-24", VALUE, expires))
    assert main(["leases"]) == 0
    assert main(["leases", "--json"]) == 0
    assert "Traceback" not in "".join(capsys.readouterr())


def test_a_reservation_is_made_shown_and_ended(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leases", "reserve", "node7", "10.5.7.0/24"]) == 0
    assert main(["leases"]) == 0
    assert "reserved for node7, not leased: 10.5.7.0/24" in capsys.readouterr().out
    assert held(address).reservations == {"node7": (ip_network("10.5.7.0/24"),)}
    assert main(["leases", "reserve", "node7", "--end"]) == 0
    assert held(address).reservations == {}


@pytest.mark.parametrize(
    "words, status",
    [
        (["node7"], 2),
        (["node7", "10.5.7.0/24", "--end"], 2),
        (["node7", "10.9.7.0/24"], 2),
        (["node7", "not-a-subnet"], 2),
        (["node7", "10.5.1.0/24"], 1),
        (["node7", "10.5.7.0/24", "10.5.8.0/24"], 2),
    ],
)
def test_what_cannot_be_reserved_is_refused(address: str, words: list[str], status: int) -> None:
    assert main(["leases", "reserve", *words]) == status
    assert held(address).reservations == {}


@pytest.mark.parametrize("word", ["node2", "10.5.2.0/24"])
def test_a_lease_is_released_by_force(address: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leases", "release", word]) == 2
    assert "node2 may be at work: it holds 10.5.2.0/24, which expires in 23 h" in capsys.readouterr().err
    assert set(held(address).leases) == {"node1", "node2"}
    assert main(["leases", "release", word, "--force"]) == 0
    assert set(held(address).leases) == {"node1"}


@pytest.mark.parametrize("says", [True, False])
def test_a_person_is_asked_before_a_lease_is_released(
    address: str, monkeypatch: pytest.MonkeyPatch, *, says: bool
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("click.confirm", lambda _: says)
    assert main(["leases", "release", "node2"]) == (0 if says else 1)
    assert ("node2" in held(address).leases) is not says


def test_a_released_lease_that_is_reserved_is_told_to_stay_so(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leases", "reserve", "node2", "10.5.2.0/24"]) == 0
    assert main(["leases", "release", "node2", "--force"]) == 0
    assert "10.5.2.0/24 stays reserved for it" in capsys.readouterr().out
    assert held(address).reservations == {"node2": (ip_network("10.5.2.0/24"),)}


def test_a_node_that_is_not_there_is_answered_with_one_that_is(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["leases", "release", "nod2", "--force"]) == 2
    assert "did you mean node2?" in capsys.readouterr().err
    assert set(held(address).leases) == {"node1", "node2"}


def test_a_registry_and_a_lab_cannot_both_be_meant(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leases", "--registry", address, "--name", "lab"]) == 2
    assert "--registry together with --name" in capsys.readouterr().err


@contextmanager
def watching(address: str, *options: str) -> Iterator[tuple[subprocess.Popen[str], Callable[[], str]]]:
    """`leases watch` at work, and what reads its next line."""
    words = [sys.executable, "-m", "nankeen", "leases", "watch", "--registry", address, *options]
    environment = {**os.environ, "PYTHONPATH": str(Path(nankeen.__file__).parents[1])}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process, process.stdout.readline
        finally:
            process.kill()


def test_a_watch_tells_of_each_change_in_a_line(address: str) -> None:
    with watching(address, "--json") as (process, line):
        first = json.loads(line())
        assert (first["event"], first["leases"]) == ("watching", 2)
        acquire(address, "node3", "192.0.2.3")
        joined = json.loads(line())
        assert (joined["event"], joined["node"], joined["subnets"]) == ("joined", "node3", ["10.5.3.0/24"])
        acquire(address, "node3", "192.0.2.33")
        assert json.loads(line())["event"] == "moved"
        write(address, ("no\x1b[2Jde", "rust", VALUE, None))
        assert json.loads(line())["event"] == "rejected"
        assert main(["leases", "release", "node3", "--force"]) == 0
        assert json.loads(line())["event"] == "left"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130


def test_a_watch_tells_a_person_the_same_and_moves_no_cursor(address: str) -> None:
    with watching(address) as (_, line):
        assert re.fullmatch(r"\S+Z watching, leases: 2\n", line())
        acquire(address, "node3", "192.0.2.3")
        assert re.fullmatch(r"\S+Z joined +node3 10\.5\.3\.0/24 by vxlan\n", line())
        acquire(address, "node3", "192.0.2.33")
        moved = r"from 10\.5\.3\.0/24 at 192\.0\.2\.3 to 10\.5\.3\.0/24 at 192\.0\.2\.33"
        assert re.fullmatch(rf"\S+Z moved +node3 {moved}\n", line())
        write(address, ("node9", "10.5.9.0-24", VALUE, None))
        assert re.fullmatch(r"\S+Z joined +node9 10\.5\.9\.0/24 by \\x1b\[2Jvxlan\n", line())


def test_a_watch_tells_of_a_renewal_to_who_asks_for_it(address: str) -> None:
    with watching(address, "-v") as (_, line):
        line()
        acquire(address, "node2", "192.0.2.2")
        assert re.fullmatch(r"\S+Z renewed +node2 10\.5\.2\.0/24 by vxlan\n", line())
