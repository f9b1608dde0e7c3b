"""A matrix as it is drawn."""

from __future__ import annotations

from functools import cache
from io import StringIO

import pytest
from rich.console import Console

from nankeen.cli.matrix import drawn
from nankeen.inspect.history import History
from nankeen.inspect.matrix import Grouping
from nankeen.inspect.outcome import Silent
from nankeen.inspect.party import Cluster, Party
from tests.unit.inspect.parties import cluster, node, pod
from tests.unit.inspect.test_history import Observed

PAIR = cluster(pod(1, on=1), pod(2, on=2), node(1), node(2))
LOST = Silent(1.0)


def text(history: History, grouping: Grouping | None = None, width: int = 100, height: int | None = None) -> list[str]:
    out = StringIO()
    Console(file=out, width=1000).print(drawn(history, grouping, width, height))
    return [line.rstrip() for line in out.getvalue().splitlines()]


@cache
def large(nodes: int) -> History:
    seen = Observed()
    parties: list[Party] = [pod(number + 1, on=number + 1) for number in range(nodes)]
    seen.round(cluster(*parties, *(node(number + 1) for number in range(nodes))))
    return seen.history


def test_a_small_one_has_latency_and_path_mtu_of_every_pair() -> None:
    seen = Observed()
    seen.round(PAIR)
    assert text(seen.history) == [
        "  IPv4           pod1       pod2      node1      node2",
        "  pod1              ·  1.00/1.00  1.00/1.00  1.00/1.00",
        "                            1450       1450       1450",
        "  pod2      1.00/1.00          ·  1.00/1.00  1.00/1.00",
        "                 1450                  1450       1450",
        "  node1     1.00/1.00  1.00/1.00          ·          ·",
        "                 1450       1450",
        "  node2     1.00/1.00  1.00/1.00          ·          ·",
        "                 1450       1450",
        "  median/p99 of a round trip in ms; below it loss, and the path MTU; ✗ fails, * changed, · not asked",
    ]


def test_what_fails_is_told_by_protocol_with_its_loss_and_a_mark_where_it_changed() -> None:
    seen = Observed()
    seen.round(PAIR)
    seen.round(PAIR, TCP=("pod1 → pod2", LOST), mtu=("pod2 → pod1", LOST))
    lines = text(seen.history)
    assert lines[1].split() == ["pod1", "·", "*✗", "TCP", "1.00/1.00", "1.00/1.00"]
    assert lines[2].split() == ["17%", "1450", "1450", "1450"]
    assert lines[3].split()[1] == "*1.00/1.00"
    assert lines[4].split()[0] == "1400✗"


def test_where_pods_find_no_room_they_are_folded_by_node() -> None:
    seen = Observed()
    seen.round(PAIR, UDP=("pod1 → pod2", LOST))
    lines = text(seen.history, width=40)
    assert lines[0].split() == ["IPv4", "node1", "node2"]
    assert lines[1].split() == ["node1", "1.00/1.00", "✗", "2/3"]


@pytest.mark.parametrize("width, cell", [(40, "● "), (29, "●")], ids=["marks", "dense"])
def test_where_nodes_find_no_room_either_there_are_marks(width: int, cell: str) -> None:
    lines = text(large(12), width=width)
    assert lines[2] == ("   1 node1  " + cell * 12).rstrip()
    assert len(lines) == 2 + 12 + 1


def test_a_terminal_of_few_lines_is_no_room_either() -> None:
    assert len(text(large(12), width=200, height=20)) == 2 + 12 + 1


def test_what_finds_no_room_at_all_is_said_to() -> None:
    assert text(large(12), width=20) == ["  12 nodes: more than there is room for"]


def test_who_asks_for_pods_is_not_given_nodes() -> None:
    seen = Observed()
    seen.round(PAIR)
    assert [line.split()[1] for line in text(seen.history, Grouping.PODS, width=30)[1:5]] == [
        "pod1", "pod2", "node1", "node2",
    ]  # fmt: skip


def test_marks_tell_some_from_none_and_what_is_only_too_small() -> None:
    seen = Observed()
    seen.round(PAIR)
    seen.round(PAIR, UDP=("node1 → pod2", LOST), mtu=("pod2 → pod1", LOST))
    lines = text(seen.history, Grouping.NODES, width=20)
    assert [line[10:] for line in lines[1:3]] == ["● ◐*", "▾*●"]


def test_a_name_of_bad_intent_does_not_reach_the_terminal() -> None:
    hostile = Party(
        "\x1b[2J\n" * 9, *[getattr(pod(1), field) for field in ("kind", "namespace", "assigned", "addresses")]
    )
    seen = Observed()
    seen.round(Cluster("paper", (hostile, pod(2))))
    for width in (100, 30):
        assert all(line.isprintable() for line in text(seen.history, width=width))


@pytest.mark.parametrize("nodes", [1, 9, 10, 25])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_longer_than_there_is_room(nodes: int, width: int) -> None:
    history = large(nodes)
    assert all(len(line) <= width for line in text(history, width=width)[:-1])
