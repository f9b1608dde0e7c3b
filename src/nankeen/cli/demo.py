"""`nankeen demo`: three nodes, six pods, one packet's way. Built, proven, explained and removed."""

from __future__ import annotations

import click
from rich.console import Console
from rich.text import Text

from nankeen.cli.output import json_option, print_json
from nankeen.cli.verify import console, document, print_report
from nankeen.cli.walk import print_report as print_walk
from nankeen.inspect.demonstration import Demonstration, demonstrate
from nankeen.inspect.walk.document import document as walk_document

NEXT = (
    ("./nk lab up --nodes 5 --pods 10", "a lab that stays"),
    ("./nk lab exec pod1 -- ping -c 3 10.244.2.2", "a packet of your own"),
    ("./nk verify", "the proof again, on your lab"),
    ("./nk walk pod1 pod2 --explain", "the way of a packet again, explained"),
    ("./nk lab down", "and away with it"),
)
"""What to try after the demonstration."""


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
    return {
        "holds": shown.holds,
        "seconds": round(shown.seconds, 3),
        "verify": document(shown.report),
        "walk": walk_document(shown.way),
    }


def _print(shown: Demonstration, out: Console) -> None:
    out.print()
    print_report(shown.report, out)
    out.print()
    print_walk(shown.way, width=out.width)
    out.print(f"\n{_summary(shown)}", style="bold")
    out.print("Next:")
    for command, purpose in NEXT:
        out.print(Text.assemble(f"  {command:<44}", (purpose, "dim")))


def _summary(shown: Demonstration) -> str:
    report = shown.report
    held = "holds" if report.holds else "DOES NOT HOLD"
    return (
        f"{report.nodes} nodes and {report.pods} pods: built, tested, explained and removed in {shown.seconds:.1f} s. "
        f"The pod network model {held}."
    )
