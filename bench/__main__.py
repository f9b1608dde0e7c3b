"""`./nk bench [ROW…] [--rounds 5] [--json]`: measures the rows named, or all, and prints what came out.

Exit status 0 when every row reaches what it is to reach, 1 when one does not, 2 when the request was wrong.
"""

from __future__ import annotations

import compileall
import sys
from collections.abc import Sequence

import click

from bench import ROWS
from bench.process import ROOT
from bench.report import document, quantity, table
from bench.row import Outcome, Row
from nankeen.cli.output import json_option, print_error, print_json
from nankeen.model.errors import InputError, NankeenError


@click.command()
@click.argument("names", nargs=-1, metavar="[ROW]...")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="How often each is measured.")
@json_option
def bench(names: tuple[str, ...], rounds: int, *, as_json: bool) -> None:
    """Measures nankeen against what it is held against, in the same run."""
    compileall.compile_dir(ROOT / "src", quiet=1)  # else each process would compile what was edited since the last time
    try:
        outcomes = [_measured(row, rounds) for row in _named(names)]
    except NankeenError as error:
        print_error(error, as_json=as_json)
        sys.exit(2 if isinstance(error, InputError) else 1)
    if as_json:
        print_json(document(outcomes))
    else:
        click.echo(table(outcomes))
    sys.exit(0 if all(outcome.holds for outcome in outcomes) else 1)


def _named(names: Sequence[str]) -> list[Row]:
    for name in names:
        if not any(row.is_named_by(name) for row in ROWS):
            raise InputError(f"no row {name!r}", remedy=f"name some of: {' '.join(row.id for row in ROWS)}")
    return [row for row in ROWS if not names or any(row.is_named_by(name) for name in names)]


def _measured(row: Row, rounds: int) -> Outcome:
    """All rounds of one row; what each gave is told on standard error as it comes."""
    click.echo(f"{row.id}: {row.what}", err=True)
    results = []
    with row.prepare() as measure:
        for number in range(rounds):
            value, against_value = measure(number)
            results.append((value, against_value))
            told = f"{quantity(value, row.unit)} against {quantity(against_value, row.unit)}"
            click.echo(f"{row.id}: round {number + 1} of {rounds}: {told}", err=True)
    return Outcome.of(row, results)


if __name__ == "__main__":
    bench(prog_name="./nk bench")
