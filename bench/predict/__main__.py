"""`python -m bench.predict [--cases 10000] [--seed 1] [--arena NAME]…`: predicts packets, sends them, and compares.

Exit status 0 when every prediction came true, 1 when one did not. Needs root.
"""

from __future__ import annotations

import sys
import time
from collections import Counter

import click

from bench.predict.arena import ARENAS
from bench.predict.trial import Tally, trials
from nankeen.cli.output import json_option, print_error, print_json
from nankeen.model.errors import NankeenError


@click.command()
@click.option("--cases", type=click.IntRange(min=1), default=10_000, show_default=True, help="How many packets.")
@click.option("--seed", type=int, default=1, show_default=True, help="What the chances follow from.")
@click.option("--per-round", type=click.IntRange(min=1), default=100, show_default=True, help="Packets for one damage.")
@click.option("--arena", "names", multiple=True, help="Only those whose name has this in it.")
@json_option
def predict(cases: int, seed: int, per_round: int, names: tuple[str, ...], *, as_json: bool) -> None:
    """Holds predictions against reality in damaged labs."""
    chosen = [arena for arena in ARENAS if not names or any(name in arena.name for name in names)]
    tally, began, told = Tally(), time.monotonic(), 0
    try:
        for tally in trials(chosen, seed, cases, per_round):
            for found in tally.mismatches[told:]:
                click.echo(str(found), err=True)
            told = len(tally.mismatches)
    except NankeenError as error:
        print_error(error, as_json=as_json)
        sys.exit(1)
    if as_json:
        print_json(_document(tally))
    else:
        click.echo(_table(tally, time.monotonic() - began))
    sys.exit(1 if tally.mismatches else 0)


def _sums(tally: Tally, place: int) -> Counter[str]:
    sums: Counter[str] = Counter()
    for key, count in tally.cases.items():
        sums[key[place]] += count
    return sums


def _table(tally: Tally, seconds: float) -> str:
    lines = [f"{tally.count} cases in {seconds:.0f} s, {len(tally.mismatches)} mismatches"]
    for title, place in (("lab", 0), ("damage", 1), ("predicted", 2)):
        lines += [f"{title if not row else '':10} {name:40} {count:6}"
                  for row, (name, count) in enumerate(sorted(_sums(tally, place).items()))]  # fmt: skip
    for title, found in (("unknown", tally.unknown), ("not done", tally.refused), ("built anew", tally.rebuilt)):
        lines += [f"{title:10} {count:6}  {why}" for why, count in found.most_common(20)]
    return "\n".join(lines)


def _document(tally: Tally) -> dict[str, object]:
    names = ("labs", "damages", "predicted")
    sums = {name: dict(sorted(_sums(tally, place).items())) for place, name in enumerate(names)}
    told = [str(found) for found in tally.mismatches]
    return {
        "cases": tally.count,
        "mismatches": told,
        **sums,
        "unknown": tally.unknown,
        "not done": tally.refused,
        "built anew": tally.rebuilt,
    }


if __name__ == "__main__":
    predict(prog_name="python -m bench.predict")
