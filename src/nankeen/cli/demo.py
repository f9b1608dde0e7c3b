"""`nankeen demo`: three nodes, six pods, one packet's way. Built, proven, explained and removed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import takewhile

import click
from rich.console import Console
from rich.text import Text

from nankeen.cli.output import json_option, print_json
from nankeen.cli.verify import console, document, print_report
from nankeen.inspect.demonstration import DESTINATION, SOURCE, Demonstration, demonstrate
from nankeen.inspect.story import Header, Step

NEXT = (
    ("./nk lab up --nodes 5 --pods 10", "a lab that stays"),
    ("./nk lab exec pod1 -- ping -c 3 10.244.2.2", "a packet of your own"),
    ("./nk verify", "the proof again, on your lab"),
    ("./nk lab down", "and away with it"),
)
"""What to try after the demonstration."""

_BOX = 66
"""Width of the drawn packet, in columns."""


@click.command()
@json_option
def demo(*, as_json: bool) -> int:
    """Three nodes, six pods, one packet's way: built, proven, explained, removed.

    Needs nothing and leaves nothing, as root or not. Exit status 1 when the pod network model does not hold.
    """
    if as_json:
        shown = demonstrate()
        print_json(_document(shown))
    else:
        out = console()
        shown = demonstrate(lambda text: out.print(f"  {text}", style="dim"))
        _print(shown, out)
    return 0 if shown.holds else 1


def _document(shown: Demonstration) -> dict[str, object]:
    steps = [asdict(step) for step in shown.steps]
    return {"holds": shown.holds, "seconds": round(shown.seconds, 3), "verify": document(shown.report), "steps": steps}


def _print(shown: Demonstration, out: Console) -> None:
    out.print()
    print_report(shown.report, out)
    out.print(f"\nThe way of one packet, {SOURCE} → {DESTINATION}", style="bold")
    for number, step in enumerate(shown.steps, 1):
        _print_step(number, step, out)
    out.print(f"\n{_summary(shown)}", style="bold")
    out.print("Next:")
    for command, purpose in NEXT:
        out.print(Text.assemble(f"  {command:<44}", (purpose, "dim")))


def _print_step(number: int, step: Step, out: Console) -> None:
    out.print(Text.assemble("\n", (f"  {number}. {step.title}", "bold cyan"), (f"  on {step.host}", "dim")))
    out.print(Text(f"     $ {step.command}", "dim"))
    out.print(Text(_indented(step.line, out), "green") if step.line else Text("     (no such line)", "red"))
    out.print(_indented(f"{step.tells}.", out))
    for line in _packet(step.headers):
        out.print(Text(f"       {line}", "cyan"))


def _indented(text: str, out: Console) -> str:
    return textwrap.fill(text, min(out.width, 100), initial_indent=" " * 5, subsequent_indent=" " * 5)


def _packet(headers: Sequence[Header]) -> list[str]:
    """The packet drawn: the inner frame in a box, and what is around it in another."""
    if not headers:
        return []
    outer = list(takewhile(lambda header: header.name != "Ethernet", headers))
    inner = headers[len(outer) :]
    width = _BOX if outer else _BOX - 4
    frame = _box([*map(_header, inner), "payload"], _BOX - 4)
    return _box([*map(_header, outer), *frame], width) if outer else frame


def _header(header: Header) -> str:
    return f"{header.name:<9}{header.size:>3} bytes  {header.says}"


def _box(lines: Iterable[str], width: int) -> list[str]:
    return [f"┌{'─' * (width - 2)}┐", *(f"│ {line:<{width - 4}} │" for line in lines), f"└{'─' * (width - 2)}┘"]


def _summary(shown: Demonstration) -> str:
    report = shown.report
    held = "holds" if report.holds else "DOES NOT HOLD"
    return (
        f"{report.nodes} nodes and {report.pods} pods: built, tested, explained and removed in {shown.seconds:.1f} s. "
        f"The pod network model {held}."
    )
