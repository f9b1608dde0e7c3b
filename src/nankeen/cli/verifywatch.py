"""What `verify --watch` shows: a screen that is redrawn, a block for each round, or a document in each line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from nankeen.agent import health
from nankeen.cli.matrix import drawn
from nankeen.cli.outfile import OutFile
from nankeen.cli.output import json_text, utc
from nankeen.cli.types import Address
from nankeen.inspect.capture.listen import stopped_by_signals
from nankeen.inspect.history import History, Trouble
from nankeen.inspect.matrix import Grouping
from nankeen.inspect.watch import Audience, Round, Summary, Wish
from nankeen.inspect.watchlab import Service, watch_lab
from nankeen.lab import Lab
from nankeen.model.printable import printable

_TROUBLES = 8
"""Pairs that are told one by one."""
_SHOW_CURSOR = "\x1b[?25h"
_AROUND = 3
"""Lines of a screen that are neither the matrix's nor those of troubles."""


def shown(out: Console, by: Grouping | None, *, as_json: bool) -> Audience:
    """Who shows it: to programs, at a terminal, or to whom reads it later."""
    if as_json:
        return Lines(by)
    return Screen(out, by) if out.is_terminal else Blocks(out, by)


def watched(lab: Lab, wish: Wish, audience: Audience, text: OutFile | None, listen: Address | None) -> Summary:
    """Watches the lab until Ctrl-C, or what else the wish has for an end. Raises `NankeenError`."""
    with stopped_by_signals() as stop, ExitStack() as stack:
        service = None
        if text or listen:
            from nankeen.inspect.exposition import Publisher

            publisher = Publisher(text.write if text else None)
            audience = Several([audience, publisher])
            service = stack.enter_context(_service(publisher.page, listen)) if listen else None
        try:
            summary = watch_lab(lab, wish, stop, audience, service)
        finally:
            if sys.stdout.isatty():
                sys.stdout.write(_SHOW_CURSOR)  # the child that hid it may have been ended with its lab
                sys.stdout.flush()
    if summary.unheard:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that Python does not write to it at its end
    return summary


@contextmanager
def _service(page: health.Page, listen: Address) -> Iterator[Service]:
    with health.listen(*listen, "choose another --listen") as listener:
        host, port = listener.getsockname()[:2]
        click.echo(f"metrics at http://{f'[{host}]' if ':' in host else host}:{port}/metrics", err=True)
        yield Service(listener, {"/metrics": page})


class Several:
    """Audiences as one, told in their order."""

    def __init__(self, audiences: Sequence[Audience]) -> None:
        self._audiences = audiences

    def tell(self, found: Round, history: History) -> None:
        for audience in self._audiences:
            audience.tell(found, history)

    def end(self, summary: Summary) -> None:
        for audience in self._audiences:
            audience.end(summary)


class Screen:
    """For people at a terminal: redrawn in place."""

    def __init__(self, out: Console, grouping: Grouping | None) -> None:
        self._out = out
        self._grouping = grouping
        self._live: Live | None = None

    def tell(self, found: Round, history: History) -> None:
        if self._live is None:
            self._live = Live(console=self._out, auto_refresh=False, vertical_overflow="crop")
            self._live.start()
        troubles = history.troubles()
        room = self._out.height - _AROUND - min(len(_alike(troubles)), _TROUBLES + 1) - len(found.missing)
        matrix = drawn(history, self._grouping, self._out.width, room)
        lines = _below(found, troubles)
        title = _title(found, history)
        for line in (title, *lines):
            line.truncate(self._out.width, overflow="ellipsis")
        self._live.update(Group(title, matrix, *lines), refresh=True)

    def end(self, summary: Summary) -> None:
        if self._live is not None:
            self._live.stop()
        self._out.print(_last_words(summary))


class Blocks:
    """For people who read it later: a block for each round."""

    def __init__(self, out: Console, grouping: Grouping | None) -> None:
        self._out = out
        self._grouping = grouping

    def tell(self, found: Round, history: History) -> None:
        matrix: RenderableType = drawn(history, self._grouping, self._out.width)
        self._say(_title(found, history), matrix, *_below(found, history.troubles()), "")

    def end(self, summary: Summary) -> None:
        self._say(_last_words(summary))

    def _say(self, *lines: RenderableType) -> None:
        """Not printed by the console, which would end the program where nobody reads it any more."""
        with self._out.capture() as captured:
            self._out.print(*lines, sep="\n", soft_wrap=True)
        sys.stdout.write(captured.get())
        sys.stdout.flush()


class Lines:
    """For programs: a document in each line, one for each round and one for the end."""

    def __init__(self, grouping: Grouping | None) -> None:
        self._grouping = grouping or Grouping.PODS

    def tell(self, found: Round, history: History) -> None:
        _say(round_document(found, history, self._grouping))

    def end(self, summary: Summary) -> None:
        fields = ("rounds", "failed", "changes", "sent", "lost")
        told = {name: getattr(summary, name) for name in fields}
        _say({"summary": {"holds": summary.holds, **told, "seconds": round(summary.seconds, 3)}})


def round_document(found: Round, history: History, grouping: Grouping) -> dict[str, object]:
    """A round as JSON has it."""
    report = found.report
    return {
        "round": found.number,
        "time": utc(found.began),
        "lab": report.cluster,
        "holds": found.holds,
        "nodes": report.nodes,
        "pods": report.pods,
        "seconds": round(report.seconds, 3),
        "missing": found.missing,
        "failing": [
            {
                "pair": trouble.subject,
                "family": str(trouble.family),
                "protocols": [protocol.value for protocol in trouble.protocols],
                "reason": trouble.reason,
                "since": trouble.since,
            }
            for trouble in history.troubles()
        ],
        "matrix": [
            {
                "source": source,
                "destination": destination,
                "family": str(family),
                "pairs": cell.pairs,
                "reached": cell.reached,
                "failing": [protocol.value for protocol in cell.failing],
                "median_seconds": cell.median,
                "p99_seconds": cell.p99,
                "sent": cell.sent,
                "lost": cell.lost,
                "path_mtu": cell.path_mtu,
                "changed": cell.changed,
            }
            for (family, source, destination), cell in history.matrix(grouping).cells.items()
        ],
    }


def _title(found: Round, history: History) -> Text:
    report, cells = found.report, history.matrix(Grouping.NODES).cells.values()
    pairs, reached = sum(cell.pairs for cell in cells), sum(cell.reached for cell in cells)
    holds = ("holds", "bold green") if found.holds else ("does not hold", "bold red")
    return Text.assemble(
        (f"lab {printable(report.cluster)}", "bold"),
        f", round {found.number} at {utc(found.began)}: {report.nodes} nodes, {report.pods} pods, ",
        f"{reached} of {pairs} pairs; the model ",
        holds,
    )


def _below(found: Round, troubles: Sequence[Trouble]) -> list[Text]:
    lines = [Text(f"  ✗ {printable(name)} cannot be asked: it is not there", "red") for name in found.missing]
    if not found.report.pods:
        lines.append(Text("  nothing is tested: there are no pods", "red"))
    lines += [Text(f"  ✗ {printable(finding)}", "red") for finding in _of_pods(found)]
    alike = _alike(troubles)
    lines += [Text(f"  ✗ {printable(_words(each))}", "red") for each in alike[:_TROUBLES]]
    if len(alike) > _TROUBLES:
        more = sum(len(each) for each in alike[_TROUBLES:])
        lines.append(Text(f"  … and {more} more pairs: --json names them all", "red"))
    return lines


def _of_pods(found: Round) -> Iterable[str]:
    """What is wrong with pods themselves: their addresses."""
    return [str(finding) for finding in found.report.findings if finding.destination is None][:_TROUBLES]


def _alike(troubles: Iterable[Trouble]) -> list[list[Trouble]]:
    """Those together that began at once between the same nodes, and by the same protocols."""
    groups: dict[tuple[object, ...], list[Trouble]] = {}
    for trouble in troubles:
        groups.setdefault((trouble.way, trouble.family, trouble.protocols, trouble.since), []).append(trouble)
    return list(groups.values())


def _words(alike: Sequence[Trouble]) -> str:
    first = alike[0]
    subject = first.subject if len(alike) == 1 else f"{first.way}, {len(alike)} pairs such as {first.subject}"
    protocols = "".join(f" {protocol.value}" for protocol in first.protocols)
    return f"{subject}, {first.family}{protocols}, since round {first.since}: {first.reason}"


def _last_words(summary: Summary) -> Text:
    share = f"{100 * summary.lost / summary.sent:.2g} %" if summary.lost else "none"
    verdict = ("held in every round", "bold green") if summary.holds else ("did not hold in every round", "bold red")
    return Text.assemble(
        "The pod network model ",
        verdict if summary.rounds else ("was not tested", "bold red"),
        f": {summary.rounds} rounds in {summary.seconds:.1f} s, {summary.failed} failed; ",
        f"{summary.changes} changes; {summary.sent} probes, {share} lost.",
    )


def _say(document: dict[str, object]) -> None:
    sys.stdout.write(json_text(document) + "\n")
    sys.stdout.flush()
