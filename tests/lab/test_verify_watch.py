"""`nankeen verify --watch` on real labs, root's and a user's: what happens to a lab is seen in the next round.

Every wait is for a line that the watch prints; what never comes ends by the test's own timeout.
"""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.lab.person import Owner, owning


class Watching:
    """A watch that says a document in each line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first round from now on that is as it is wanted."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            found: dict[str, Any] = json.loads(line)
            if "round" in found and wanted(found):
                return found
        raise AssertionError(self.process.communicate()[1])

    def end(self) -> tuple[int, dict[str, Any]]:
        """Its exit status after Ctrl-C, and its last words."""
        self.process.send_signal(signal.SIGINT)
        out, _ = self.process.communicate(timeout=60)
        summary: dict[str, Any] = json.loads(out.splitlines()[-1])["summary"]
        return self.process.returncode, summary


class Watcher(Owner):
    """One who watches."""

    def does(self, *words: str) -> None:
        command, *rest = words
        status, _, err = self.run("lab", command, "--name", self.lab, *rest)
        assert status == 0, err

    def link(self, *words: str) -> None:
        self.does("exec", "node2", "--", "ip", "link", "set", "eth0", *words)

    @contextmanager
    def watching(self, *words: str) -> Iterator[Watching]:
        with self.start("verify", "--name", self.lab, "--watch", "0.2", "--json", *words) as process:
            try:
                yield Watching(process)
            finally:
                process.kill()


@pytest.fixture(scope="module", params=["root", "user"])
def owner(request: pytest.FixtureRequest) -> Iterator[Watcher]:
    someone = Watcher.named(request.param, f"watch-{os.getpid()}-{request.param}")
    with owning(someone):
        yield someone


def cell(found: dict[str, Any], source: str, destination: str) -> dict[str, Any] | None:
    """The first family's cell of a pair."""
    cells = [each for each in found["matrix"] if (each["source"], each["destination"]) == (source, destination)]
    return cells[0] if cells else None


def reaches(found: dict[str, Any], source: str = "pod1", destination: str = "pod2") -> bool:
    seen = cell(found, source, destination)
    return seen is not None and seen["reached"] == seen["pairs"]


def test_a_link_that_is_cut_and_healed_is_seen(owner: Watcher) -> None:
    with owner.watching() as watching:
        first = watching.until(lambda found: bool(found["holds"]))
        path_mtu = cell(first, "pod1", "pod2")
        owner.link("down")
        try:
            cut = watching.until(lambda found: not reaches(found))
        finally:
            owner.link("up")
        healed = watching.until(reaches)
        status, summary = watching.end()
    assert path_mtu is not None
    assert path_mtu["path_mtu"] == 1450
    assert path_mtu["median_seconds"] > 0
    seen = cell(cut, "pod1", "pod2")
    assert seen is not None
    assert (seen["changed"], seen["failing"], seen["lost"] > 0) == (True, ["ICMP", "UDP", "TCP"], True)
    assert "pod1 → pod2" in {trouble["pair"] for trouble in cut["failing"]}
    again = cell(healed, "pod1", "pod2")
    assert again is not None
    assert again["changed"]
    assert status == 1  # it did not hold all the time
    assert summary["failed"] >= 1
    assert summary["changes"] >= 2


def test_a_pod_that_comes_or_goes_is_noticed_and_an_agent_that_restarts_does_not_matter(owner: Watcher) -> None:
    with owner.watching() as watching:
        watching.until(reaches)
        status, _, err = owner.run("lab", "pod", "add", "--name", owner.lab)
        assert status == 0, err
        came = watching.until(lambda found: reaches(found, "pod1", "pod3") and reaches(found, "pod3", "pod1"))
        owner.does("restart", "node1", "--kill")
        after = watching.until(lambda found: found["round"] > came["round"])
        assert reaches(after)
        status, _, err = owner.run("lab", "pod", "del", "--name", owner.lab, "pod3")
        assert status == 0, err
        gone = watching.until(lambda found: found["pods"] == 2 and not found["missing"])
        assert cell(gone, "pod1", "pod3") is None
        watching.until(lambda found: found["holds"])


def _ends_by_its_verdict(watching: Watching) -> None:
    """It is no failure of the watch that a busy machine lost a packet."""
    status, summary = watching.end()
    assert status == (0 if summary["holds"] else 1)


def test_ctrl_c_ends_it_with_a_summary_and_its_verdict(owner: Watcher) -> None:
    with owner.start("verify", "--name", owner.lab, "--watch", "0.1") as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert first.startswith(f"lab {owner.lab}, round 1 at ")
    held = "The pod network model held in every round: " in out
    assert held or "The pod network model did not hold in every round: " in out
    assert (process.returncode, err) == (0 if held else 1, "")


@pytest.mark.parametrize("words", [(), ("--json",)], ids=["text", "json"])
def test_where_nobody_reads_it_any_more_it_ends_without_a_word(owner: Watcher, words: tuple[str, ...]) -> None:
    with owner.start("verify", "--name", owner.lab, "--watch", "0.1", *words) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            process.stdout.close()
            process.wait(timeout=60)
            assert process.stderr is not None
            assert process.stderr.read() == ""
        finally:
            process.kill()


def test_a_directory_that_goes_away_ends_it_with_an_error(owner: Watcher) -> None:
    directory = Path(f"/tmp/{owner.lab}.away")  # noqa: S108  (the lab's owner has to reach it)
    directory.mkdir()
    directory.chmod(0o777)
    file = directory / "nankeen.prom"
    with owner.watching("--metrics", str(file)) as watching:
        watching.until(lambda found: found["round"] >= 2)
        directory.rename(f"{directory}.moved")
        file = Path(f"{directory}.moved") / file.name
        watching.until(lambda found: found["round"] >= 4)  # it is held open, and still written
        assert file.exists()
        file.parent.rename(directory)
        _remove(directory)
        _, err = watching.process.communicate(timeout=60)
    assert watching.process.returncode == 1
    assert err == f"nankeen: {directory / file.name}: cannot be written: no such file or directory\n"


def _remove(directory: Path) -> None:
    """While somebody writes in it."""
    while directory.exists():
        for path in directory.iterdir():
            path.unlink(missing_ok=True)
        with suppress(OSError):
            directory.rmdir()


def test_at_a_terminal_it_is_redrawn_in_place(owner: Watcher) -> None:
    master, terminal = pty.openpty()
    try:
        words = ("verify", "--name", owner.lab, "--watch", "0.1", "--rounds", "3")
        with owner.start(*words, stdout=terminal, stdin=terminal) as process:
            os.close(terminal)
            shown = _read_all(master)
            assert process.wait(timeout=60) in {0, 1}, shown
    finally:
        os.close(master)
    assert re.search(r"round 1 at.*\x1b\[1A.*round 2 at.*\x1b\[1A.*round 3 at", shown, re.DOTALL)
    assert shown.rstrip().endswith("\x1b[?25h")  # the cursor is back


def _read_all(descriptor: int) -> str:
    text = b""
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:  # EIO: nobody has the terminal open any more
            return text.decode()
        if not chunk:
            return text.decode()
        text += chunk


def test_metrics_are_answered_and_written_while_it_watches(owner: Watcher) -> None:
    directory = Path(f"/tmp/{owner.lab}.metrics")  # noqa: S108  (the lab's owner has to reach it)
    directory.mkdir(mode=0o777)
    directory.chmod(0o777)
    file = directory / "nankeen.prom"
    try:
        with owner.watching("--listen", "127.0.0.1:0", "--metrics", str(file)) as watching:
            assert watching.process.stderr is not None
            said = watching.process.stderr.readline()
            watching.until(lambda found: bool(found["holds"]))
            url = said.split()[-1]
            assert url.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  (our own)
                answered = answer.read().decode()
            _ends_by_its_verdict(watching)
        for text in (answered, file.read_text()):
            values = {
                sample.name: sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
                if not sample.labels
            }
            assert (values["nankeen_verify_holds"], values["nankeen_verify_pods"]) == (1, 2)
            assert values["nankeen_verify_rounds_total"] >= 1
        assert list(directory.iterdir()) == [file]
    finally:
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()


def test_a_place_that_is_taken_is_told_before_it_begins(owner: Watcher) -> None:
    with owner.watching("--listen", "127.0.0.1:0") as watching:
        assert watching.process.stderr is not None
        place = watching.process.stderr.readline().split("//")[1].split("/")[0]
        status, _, err = owner.run("verify", "--name", owner.lab, "--watch", "--rounds", "1", "--listen", place)
    assert status == 1
    assert err.startswith(f"nankeen: {place}: cannot ")
    assert "choose another --listen" in err


def test_a_sample_comes_to_every_pair_within_some_rounds(owner: Watcher) -> None:
    with owner.watching("--sample", "1") as watching:
        whole = watching.until(lambda found: len(found["matrix"]) == 2 + 4 + 4)
        _ends_by_its_verdict(watching)
    assert whole["round"] <= 2


def test_junit_is_written_for_ci_and_a_failure_is_named(owner: Watcher) -> None:
    status, out, err = owner.run("verify", "--name", owner.lab, "--junit", "-")
    assert status == 0, err
    assert not list(ET.fromstring(out).iter("failure"))  # noqa: S314  (our own)
    chain = "add table ip t; add chain ip t c { type filter hook forward priority 0; }"
    owner.does("exec", "node1", "--", "nft", f"{chain}; add rule ip t c ip saddr 10.244.1.2 meta length > 1400 drop")
    try:
        status, out, err = owner.run("verify", "--name", owner.lab, "--junit", "-", "--from", "pod1", "--to", "pod2")
    finally:
        owner.does("exec", "node1", "--", "nft", "delete table ip t")
    assert status == 1, err
    failures = list(ET.fromstring(out).iter("failure"))  # noqa: S314  (our own)
    assert {failure.get("type") for failure in failures} == {"FULL_MTU"}
    assert "pod1 → pod2, IPv4 ICMP: " in str(failures[0].text)
    assert str(failures[0].text).endswith("packets of up to 1400 bytes pass")


def test_an_unknown_name_is_answered_with_those_that_come_near(owner: Watcher) -> None:
    for words in ((), ("--watch",)):
        status, _, err = owner.run("verify", "--name", owner.lab, "--from", "pod11", *words)
        assert status == 2
        assert err == "nankeen: pod11: there is no such node or pod; did you mean pod1 or pod2 or node1?\n"


def test_a_lab_that_goes_away_ends_the_watch_with_an_error(owner: Watcher) -> None:
    name = f"gone-{os.getpid()}"
    status, _, err = owner.run("lab", "up", "--name", name, "--nodes", "1", "--pods", "1")
    assert status == 0, err
    try:
        with owner.start("verify", "--name", name, "--watch", "0.1", "--json") as process:
            try:
                Watching(process).until(lambda found: bool(found["holds"]))
                owner.run("lab", "down", "--name", name)
                _, err = process.communicate(timeout=60)
            finally:
                process.kill()
    finally:
        owner.run("lab", "down", "--name", name)
    assert process.returncode == 1
    assert err.startswith(f"nankeen: lab {name}: ")
    assert err.count("\n") == 1
