"""`nankeen capture`: packets at any device of a lab or of this machine, read layer by layer."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from nankeen.cli.output import json_option, print_json
from nankeen.cli.types import Seconds
from nankeen.inspect.capture.capture import Request, Summary
from nankeen.inspect.capture.capture import capture as run
from nankeen.inspect.capture.documents import BETWEEN, Documents
from nankeen.inspect.capture.lines import Lines
from nankeen.inspect.capture.listen import Limits, stopped_by_signals
from nankeen.inspect.capture.order import Captured
from nankeen.inspect.capture.point import hosts, split
from nankeen.inspect.capture.recording import write_whole
from nankeen.inspect.capture.sight import View
from nankeen.inspect.capture.tree import tree
from nankeen.inspect.filter import parse
from nankeen.lab import Lab, find_lab, labs
from nankeen.model.errors import InputError

_SHOWN_POINTS = 8
DEFAULT_LAB = "lab"


@click.command(short_help="Packets at nodes, pods and devices, read layer by layer.")
@click.argument("words", nargs=-1, metavar="[POINT]... [FILTER]...")
@click.option("--name", "lab_name", metavar="TEXT", help="The lab.  [default: lab, if it runs]")
@click.option("--write", metavar="FILE", help="Write a pcapng file, for Wireshark, instead; - is standard output.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many packets.")
@click.option("--seconds", type=Seconds(0), metavar="N", help="End after that time.")
@click.option("-v", "--verbose", is_flag=True, help="Show all headers of each packet; with --write, show packets, too.")
@json_option
def capture(
    words: tuple[str, ...],
    lab_name: str | None,
    write: str | None,
    count: int | None,
    seconds: float | None,
    *,
    verbose: bool,
    as_json: bool,
) -> None:
    """Show the packets that pass, layer by layer, tunnels opened, at several points in order of time.

    A POINT is a node or pod of a lab (node1, pod1), a device there (node1:flannel.1), or one of this machine (eth0).
    Without any, all nodes and pods of the lab are meant, or all devices of this machine.

    A FILTER says which packets: host, net, port, src, dst, tcp, udp, icmp, arp, http, ftp, dns, ipv4, ipv6, joined by
    and, or, not and brackets. What it says holds of a packet or of the one in its tunnel; inner and outer say of which.

    \b
      nankeen capture pod1
      nankeen capture node1:eth0 node2:eth0 inner host pod1 and tcp port 8080
      nankeen capture eth0 --write eth0.pcapng --seconds 10 'udp port 8472'
    """  # noqa: D301 (the mark is click's: lines are kept)
    wishes, text = split(words)
    lab = _lab(lab_name)
    wanted = parse(text, hosts(lab)) if text else None
    request = Request(tuple(wishes), wanted, text, Limits(count, seconds))
    audience = None if write and not verbose else _Json() if as_json else _Text(verbose=verbose)
    with stopped_by_signals() as stop, _opened(write) as file:
        summary = run(request, lab, stop, audience, file)
    if summary.unheard:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that Python does not write to it at its end
    elif as_json and audience is None:
        print_json(_document(summary))
    elif not as_json:
        _print_summary(summary)


class _Text:
    """For people: a line for each packet, or a tree."""

    def __init__(self, *, verbose: bool) -> None:
        self._of = _trees if verbose else lambda views: Lines(views).of

    def begin(self, views: Sequence[View]) -> None:
        self._text = self._of(views)
        names = " ".join(view.point for view in views[:_SHOWN_POINTS])
        more = f" and {len(views) - _SHOWN_POINTS} more" if len(views) > _SHOWN_POINTS else ""
        click.echo(f"listening at {names}{more}; Ctrl-C ends it", err=True)

    def tell(self, batch: Sequence[Captured]) -> None:
        _show(self._text(batch))

    def end(self, summary: Summary) -> None:
        """The summary is told by whoever called."""


def _trees(views: Sequence[View]) -> Callable[[Sequence[Captured]], str]:
    def trees(batch: Sequence[Captured]) -> str:
        return "".join(f"{each}\n" for _, point, frame in batch for each in (*tree(views[point].see(frame)), ""))

    return trees


class _Json:
    """For programs: one document, a packet in each of its lines as they come."""

    def __init__(self) -> None:
        self._before = ""

    def begin(self, views: Sequence[View]) -> None:
        self._documents = Documents(views)
        names = json.dumps([view.point for view in views], ensure_ascii=False)
        _show(f'{{"points": {names}, "packets": [\n')

    def tell(self, batch: Sequence[Captured]) -> None:
        _show(self._before + self._documents.of(batch))
        self._before = BETWEEN

    def end(self, summary: Summary) -> None:
        _show(f"\n], {json.dumps(_document(summary), ensure_ascii=False)[1:]}\n")


def _show(text: str) -> None:
    """On standard output. Python would lose a part of it where it has no buffer (PYTHONUNBUFFERED)."""
    write_whole(sys.stdout.buffer, text.encode(sys.stdout.encoding, sys.stdout.errors or "strict"))


def _lab(name: str | None) -> Lab | None:
    """The lab that was named, or the default one if it runs."""
    if name is not None:
        return find_lab(name)
    return next((lab for lab in labs() if lab.name == DEFAULT_LAB and lab.state == "running"), None)


@contextmanager
def _opened(path: str | None) -> Iterator[BinaryIO | None]:
    """The file, which belongs to this process' mounts, whatever the lab's are."""
    if path in (None, "-"):
        yield sys.stdout.buffer if path else None
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(str(path)).open("wb", buffering=0))
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", where=str(path)) from error
        yield file


def _document(summary: Summary) -> dict[str, object]:
    return {"captured": summary.captured, "skipped": summary.skipped, "went_down": summary.went_down}


def _print_summary(summary: Summary) -> None:
    skipped = f"skipped {summary.skipped}" + (": they came faster than they were told" if summary.skipped else "")
    click.echo(f"{summary.captured} packets captured, {skipped}", err=True)
    for name in summary.went_down:
        click.echo(f"{name} went down meanwhile", err=True)
