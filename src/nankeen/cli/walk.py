"""`nankeen walk`: the way of one packet, predicted from live tables, told step by step, and proven by a probe."""

from __future__ import annotations

import re
import shutil
import sys

import click

from nankeen.cli.outfile import OutFile
from nankeen.cli.output import PROGRAM, json_option, print_json
from nankeen.inspect.inside import inside
from nankeen.inspect.walk.account import Report
from nankeen.inspect.walk.conduct import conduct
from nankeen.inspect.walk.document import document
from nankeen.inspect.walk.request import DEFAULT_SIZE, LARGEST, Protocol, Request
from nankeen.inspect.walk.text import Line, Tone, lines
from nankeen.lab import find_lab
from nankeen.model.address import Family
from nankeen.model.errors import InputError

_STYLES: dict[Tone, dict[str, object]] = {
    Tone.PLAIN: {},
    Tone.TITLE: {"fg": "cyan", "bold": True},
    Tone.DIM: {"dim": True},
    Tone.LINE: {"fg": "green"},
    Tone.PACKET: {"fg": "cyan"},
    Tone.GOOD: {"fg": "green"},
    Tone.BAD: {"fg": "red"},
}
_FAMILIES = {"ipv4": Family.IPV4, "ipv6": Family.IPV6}
_PORT = click.IntRange(1, LARGEST)
_WIDEST = 140
_UNKNOWN_WIDTH = 100
STANDARD_OUTPUT = "-"


@click.command(short_help="One packet's way: predicted, told step by step, proven by a probe.")
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST")
@click.option("--name", default="lab", show_default=True, help="The lab.")
@click.option("--proto", type=click.Choice([each.value for each in Protocol]), help="What it carries.  [default: icmp]")
@click.option("--dport", type=_PORT, help="Destination port.  [default: 80]")
@click.option("--sport", type=_PORT, help="Source port.  [default: one that nobody uses]")
@click.option("--size", type=int, help=f"Bytes of the IP packet, headers included.  [default: {DEFAULT_SIZE}]")
@click.option("--ttl", type=click.IntRange(1, 255), default=64, show_default=True, help="Time to live, or hop limit.")
@click.option("--fragment", is_flag=True, help="Let it be fragmented: without DF.")
@click.option("--family", type=click.Choice(list(_FAMILIES)), help="Which address a name stands for.")
@click.option("--reverse", is_flag=True, help="The way of the answer, too.")
@click.option("--no-probe", is_flag=True, help="Predict only: send nothing.")
@click.option("--explain", is_flag=True, help="Say of each step why its table is asked.")
@click.option("--svg", metavar="FILE", help="Draw a picture, for documents; - is standard output.")
@json_option
def walk(
    source: str,
    destination: str,
    *,
    name: str,
    proto: str | None,
    dport: int | None,
    sport: int | None,
    size: int | None,
    ttl: int,
    family: str | None,
    svg: str | None,
    fragment: bool,
    reverse: bool,
    no_probe: bool,
    explain: bool,
    as_json: bool,
) -> int:
    """The way of one packet from SRC to DST: each step with the line that decides it, and what becomes of the packet.

    SRC and DST are pods or nodes of a lab, or addresses; DST may have a port: 192.168.0.12:8080. The way is predicted
    from the tables of all hosts, then a probe is sent, and looked for at every device. Exit status 1 when the packet
    does not arrive, or does otherwise than was predicted.

    \b
      nankeen walk pod1 pod2 --explain
      nankeen walk pod1 node2:8080 --proto udp --reverse
      nankeen walk node1 10.244.2.2 --size 1450 --no-probe --svg way.svg
    """  # noqa: D301 (the mark is click's: lines are kept)
    request = Request(
        source,
        destination,
        Protocol(proto) if proto else None,
        dport,
        sport,
        size,
        ttl,
        fragment,
        _FAMILIES[family] if family else None,
    )
    if svg == STANDARD_OUTPUT and as_json:
        raise InputError("one thing at a time fits on standard output", where="--svg - --json", remedy="name a file")
    file = OutFile(svg) if svg not in (None, STANDARD_OUTPUT) else None
    lab = find_lab(name)
    report = inside(lab, lambda: conduct(lab, request, reverse=reverse, probe=not no_probe))
    if svg is not None:
        _draw(report, file)
    if as_json:
        print_json({"lab": lab.name, **document(report, explain=explain)})
    elif svg != STANDARD_OUTPUT:
        print_report(report, explain=explain)
    return 0 if report.holds else 1


def print_report(report: Report, *, explain: bool = False, width: int | None = None) -> None:
    """For people: the way there and, where it was asked for, the way back. Colours only on a terminal.

    `width` is in columns, the terminal's by default.
    """
    for number, account in enumerate(report.accounts):
        if number:
            click.echo()
        for line in lines(account, width or _width(), explain=explain):
            click.echo(_styled(line))


def _styled(line: Line) -> str:
    return "".join(click.style(_to_be_typed(piece.text), **_STYLES[piece.tone]) for piece in line).rstrip()  # type: ignore[arg-type]


def _to_be_typed(text: str) -> str:
    """With commands as the reader has to type them; a line may end behind the program's name."""
    return re.sub(r"`nankeen(?= |$)", f"`{PROGRAM}", text)


def _width() -> int:
    """Columns to write in: the terminal's, or else a hundred."""
    if not sys.stdout.isatty():
        return _UNKNOWN_WIDTH
    return min(shutil.get_terminal_size((_UNKNOWN_WIDTH, 0)).columns, _WIDEST)


def _draw(report: Report, file: OutFile | None) -> None:
    """A picture, in a file or (None) on standard output. Raises `InputError` where it cannot be written."""
    from nankeen.inspect.walk.picture import picture

    if file is None:
        click.echo(picture(report), nl=False)
    else:
        file.write(picture(report).encode())
