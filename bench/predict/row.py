"""Predictions that do not come true: 200 random packets a round, each round in another kind of lab."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from bench.predict.arena import ARENAS
from bench.predict.trial import trials
from bench.row import Measure, Reach, Row

_CASES, _PER_ROUND = 200, 25


@contextmanager
def _prepare() -> Iterator[Measure]:
    yield _round


def _round(number: int) -> tuple[float, float]:
    *_, tally = trials([ARENAS[number % len(ARENAS)]], number, _CASES, _PER_ROUND)
    for found in tally.mismatches:
        click.echo(str(found), err=True)
    return len(tally.mismatches), tally.count - tally.unknown.total()


ROWS = (
    Row(
        id="predict",
        what="packets in damaged labs that fared otherwise than predicted",
        unit="packets",
        against="all that were predicted",
        reach=Reach("≤", 0, "packets"),
        prepare=_prepare,
        of_rounds=max,
    ),
)
