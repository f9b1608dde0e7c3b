"""What `nankeen walk` prints: colours only on a terminal, and commands that can be typed as they are."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from nankeen.cli import walk as walk_module
from nankeen.cli.walk import print_report, walk
from nankeen.inspect.walk.account import Account, Report
from nankeen.inspect.walk.journey import predict
from nankeen.inspect.walk.request import Request, question
from nankeen.inspect.walk.story import tell
from tests.unit.forwarding.cluster import node, without
from tests.unit.forwarding.lines import host
from tests.unit.inspect.walk.paper import example, surroundings


def shown(report: Report, *, color: bool = False, width: int = 100) -> str:
    @click.command()
    def command() -> None:
        print_report(report, width=width)

    return CliRunner().invoke(command, color=color).output


def lost() -> Report:
    there = surroundings(node1=host("node1", without(node(1), "10.244.2.0/24 via")))
    return Report(Account(tell(predict(there.world, question(Request("pod1", "pod2"), there)), there)))


def test_colours_are_for_terminals() -> None:
    assert "\x1b[" not in shown(example())
    assert "\x1b[36m\x1b[1m2. Host route\x1b[0m" in shown(example(), color=True)


def test_the_way_back_stands_below_the_way_there() -> None:
    both = Report(example().there, lost().there)
    assert shown(both).count("├─ 1. Container route  on pod1") == 2


@pytest.mark.parametrize("width", [44, 60, 100])
def test_what_is_to_be_typed_is_named_as_the_reader_calls_it(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    assert "`nankeen lab status`" in " ".join(shown(lost(), width=width).split())
    monkeypatch.setattr(walk_module, "PROGRAM", "./nk")
    text = " ".join(shown(lost(), width=width).split())
    assert "`./nk lab status`" in text
    assert "nankeen" not in text


@pytest.mark.parametrize("words, problem", [
    (["pod1"], "Missing argument 'DST'"),
    (["pod1", "pod2", "--proto", "gre"], "'gre' is not one of"),
    (["pod1", "pod2", "--dport", "65536"], "65536 is not in the range"),
    (["pod1", "pod2", "--sport", "x"], "'x' is not a valid integer"),
    (["pod1", "pod2", "--ttl", "0"], "0 is not in the range"),
    (["pod1", "pod2", "--family", "ipx"], "'ipx' is not one of"),
])  # fmt: skip
def test_a_wrong_word_is_refused_before_a_lab_is_looked_for(words: list[str], problem: str) -> None:
    result = CliRunner().invoke(walk, words)
    assert result.exit_code == 2
    assert problem in result.output
