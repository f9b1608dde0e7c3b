"""How outcomes are shown: a table for people, a document for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.row import Outcome

_HEADINGS = ("row", "what", "nankeen", "against", "", "ratio", "to reach", "holds")


def document(outcomes: Iterable[Outcome]) -> dict[str, object]:
    """What `--json` prints."""
    return {"rows": [_fields(outcome) for outcome in outcomes]}


def _fields(outcome: Outcome) -> dict[str, object]:
    row = outcome.row
    return {
        "id": row.id,
        "what": row.what,
        "value": round(outcome.value, 4),
        "unit": row.unit,
        "against": row.against,
        "against_value": round(outcome.against_value, 4),
        "ratio": round(outcome.ratio, 4),
        "reach": str(row.reach),
        "holds": outcome.holds,
    }


def table(outcomes: Sequence[Outcome]) -> str:
    """One line for each row, columns as wide as what stands in them."""
    lines = [_HEADINGS, *(_cells(outcome) for outcome in outcomes)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        [
            cell.rjust(width) if place in (2, 4, 5) else cell.ljust(width)
            for place, cell, width in zip(range(8), line, widths, strict=True)
        ]
        for line in lines
    )
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _cells(outcome: Outcome) -> tuple[str, ...]:
    row = outcome.row
    return (
        row.id,
        row.what,
        quantity(outcome.value, row.unit),
        row.against,
        quantity(outcome.against_value, row.unit),
        f"{outcome.ratio:.2f}",
        str(row.reach),
        "yes" if outcome.holds else "no",
    )


def quantity(value: float, unit: str) -> str:
    """Three significant digits and the unit."""
    return f"{value:.3g} {unit}" if abs(value) < 1000 else f"{value:,.0f} {unit}"
