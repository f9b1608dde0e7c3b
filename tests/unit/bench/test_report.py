"""What the benchmark makes of its measurements."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner

import bench.__main__
from bench import ROWS
from bench.report import document, quantity, table
from bench.row import Outcome, Reach, Row


def _row(reach: Reach, row_id: str = "P0", results: Any = ((1.0, 1.0),)) -> Row:  # noqa: ANN401  (pairs of numbers)
    return Row(
        row_id, "speed", "Gb/s", "the speed of light", reach, lambda: nullcontext(lambda number: results[number])
    )


@pytest.mark.parametrize(
    "reach, value, ratio, holds",
    [
        (Reach("≥", 0.85), 5, 0.85, True),
        (Reach("≥", 0.85), 5, 0.84, False),
        (Reach("≤", 0.25), 5, 0.25, True),
        (Reach("≤", 0.25), 5, 0.26, False),
        (Reach("≤", 35, "MB"), 35, 9.0, True),
        (Reach("≤", 35, "MB"), 36, 0.1, False),
    ],
)
def test_a_bound_is_on_the_ratio_unless_it_has_a_unit(reach: Reach, value: float, ratio: float, *, holds: bool) -> None:
    assert reach.holds(value, ratio) is holds


def test_the_medians_of_the_rounds_count_and_no_single_bad_round() -> None:
    outcome = Outcome.of(_row(Reach("≥", 0.5)), [(8, 10), (9, 12), (0.1, 100)])
    assert (outcome.value, outcome.against_value) == (8, 12)
    assert outcome.ratio == pytest.approx(2 / 3)
    assert outcome.holds


def test_a_row_may_let_the_worst_round_count() -> None:
    row = replace(_row(Reach("≤", 0, "packets")), of_rounds=max)
    assert not Outcome.of(row, [(0, 100), (1, 100), (0, 100)]).holds
    assert Outcome.of(row, [(0, 100), (0, 100)]).holds


def test_the_document_has_the_fields_that_programs_rely_on() -> None:
    outcome = Outcome(_row(Reach("≥", 0.5)), 8, 10)
    assert document([outcome]) == {
        "rows": [
            {
                "id": "P0",
                "what": "speed",
                "value": 8,
                "unit": "Gb/s",
                "against": "the speed of light",
                "against_value": 10,
                "ratio": 0.8,
                "reach": "≥ 0.5",
                "holds": True,
            }
        ]
    }


def test_the_table_lines_up_its_columns() -> None:
    lines = table([Outcome(_row(Reach("≥", 0.5)), 8, 10), Outcome(_row(Reach("≤", 0.25), "P0.long"), 1234, 10)])
    assert lines.splitlines() == [
        "row      what      nankeen  against                       ratio  to reach  holds",
        "P0       speed      8 Gb/s  the speed of light  10 Gb/s    0.80  ≥ 0.5     yes",
        "P0.long  speed  1,234 Gb/s  the speed of light  10 Gb/s  123.40  ≤ 0.25    no",
    ]


@pytest.mark.parametrize("value, text", [(0.07123, "0.0712 s"), (12.345, "12.3 s"), (56789.0, "56,789 s")])
def test_quantities_have_three_digits_that_mean_something(value: float, text: str) -> None:
    assert quantity(value, "s") == text


def test_every_row_has_a_name_of_its_own() -> None:
    names = [row.id for row in ROWS]
    assert len(set(names)) == len(names)


def test_a_rows_name_stands_for_its_parts_too() -> None:
    row = _row(Reach("≥", 1), "P9.5000")
    assert row.is_named_by("p9")
    assert row.is_named_by("P9.5000")
    assert not row.is_named_by("P")
    assert not row.is_named_by("5000")


def test_a_row_that_is_not_there_is_a_wrong_request() -> None:
    result = CliRunner().invoke(bench.__main__.bench, ["P99"])
    assert result.exit_code == 2
    assert "no row 'P99'; name some of: P1" in result.output


@pytest.mark.parametrize("bound, status", [(0.5, 0), (0.95, 1)])
def test_the_exit_status_says_whether_all_is_reached(
    monkeypatch: pytest.MonkeyPatch, bound: float, status: int
) -> None:
    monkeypatch.setattr(bench.__main__, "ROWS", [_row(Reach("≥", bound), results=[(9, 10), (8, 10), (9, 10)])])
    result = CliRunner().invoke(bench.__main__.bench, ["--rounds", "3", "P0"])
    assert result.exit_code == status
    assert "P0: round 3 of 3: 9 Gb/s against 10 Gb/s" in result.output
