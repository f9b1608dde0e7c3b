"""What commands print: for people on standard output, for programs with `--json`, errors on standard error.

With `--json` standard output holds one JSON document and nothing else, also when the command fails:
`{"error": {"kind", "problem", "where", "remedy"}}`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import click

from nankeen.model.errors import NankeenError

PROGRAM = os.environ.get("NANKEEN_PROGRAM") or "nankeen"
"""What a person types to get here: `./nk` from a checkout says so. Hints and remedies are to be copied as they are."""

_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What JSON need not escape, though terminals obey it, or UTF-8 has no octets for it."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for programs.")
"""The option that every command takes; it arrives as the argument `as_json`."""


def print_json(document: object) -> None:
    """One JSON document. What JSON does not know (addresses, paths) is printed as its `str()`."""
    click.echo(json_text(document, indent=2))


def json_text(document: object, indent: int | None = None) -> str:
    """The document as text in which nothing acts upon a terminal, and which can be written as UTF-8."""
    text = json.dumps(document, indent=indent, ensure_ascii=False, default=str)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def utc(seconds: float) -> str:
    """A time since 1970 as RFC 3339 has it; a number where that is no time that a calendar knows."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def print_table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Columns of equal width, left-aligned."""
    lines = [titles, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_error(error: NankeenError, *, as_json: bool) -> None:
    """The one place where an error is shown: one line for people, and a document for programs that asked for one."""
    if as_json:
        fields = {"problem": error.problem, "where": error.where, "remedy": error.remedy}
        print_json({"error": {"kind": type(error).__name__, **fields}})
    click.echo(f"nankeen: {error}".replace("`nankeen ", f"`{PROGRAM} "), err=True)


def wants_json(words: Sequence[str]) -> bool:
    """Whether the command line asks for JSON: told from its words, because it may be the words that are wrong.

    What follows `--` is for another program.
    """
    ours = words[: words.index("--")] if "--" in words else words
    return "--json" in ours
