"""`nankeen verify`: the pod network model of a lab, proven with real packets."""

from __future__ import annotations

import asyncio
import secrets
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nankeen.cli.outfile import OutFile
from nankeen.cli.output import json_option, print_json
from nankeen.cli.types import Address, Seconds, Socket
from nankeen.inspect.inside import inside
from nankeen.inspect.junit import junit as junit_of
from nankeen.inspect.matrix import Grouping
from nankeen.inspect.plan import Protocol
from nankeen.inspect.selection import Selection
from nankeen.inspect.survey import survey
from nankeen.inspect.verdict import Finding, Matter, Report, Rule, Tally
from nankeen.inspect.verify import verify as prove
from nankeen.inspect.watch import Wish
from nankeen.lab import find_lab
from nankeen.model.address import Family
from nankeen.model.errors import InputError
from nankeen.model.printable import printable

DEMANDS: tuple[tuple[str, Rule, str | None], ...] = (
    ("every pod has one address of its own", Rule.ADDRESS, None),
    ("every pod reaches every other pod", Rule.REACH, "pod → pod"),
    ("every node reaches every pod", Rule.REACH, "node → pod"),
    ("every pod reaches every node", Rule.REACH, "pod → node"),
    ("each is seen under its own address: no NAT", Rule.SOURCE, None),
    ("packets of full MTU pass, DF set", Rule.FULL_MTU, None),
    ("larger ones are refused, and told the MTU", Rule.TOO_LARGE, None),
)
"""The rows of the table: what is demanded, of which rule, and for which relation where not for all."""

STANDARD_OUTPUT = "-"
_SHOWN_FINDINGS = 20


@click.command()
@click.option("--name", default="lab", show_default=True, help="The lab.")
@click.option("--from", "sources", multiple=True, metavar="NAME", help="Only what this pod or node asks; repeatable.")
@click.option("--to", "destinations", multiple=True, metavar="NAME", help="Only what it is asked; repeatable.")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Each asks N pods and N nodes, not all.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Draw the same sample again.")
@click.option("--junit", metavar="FILE", help="Write JUnit's XML, for CI; - is standard output.")
@click.option("--metrics", metavar="FILE", help="Write metrics, for node_exporter's textfile collector.")
@click.option(
    "--watch", is_flag=False, flag_value="2", type=Seconds(0.1), metavar="[SECONDS]",
    help="Prove it again and again, every 2 seconds by default, and show a matrix. Ctrl-C ends it.",
)  # fmt: skip
@click.option("--rounds", type=click.IntRange(min=1), metavar="N", help="End the watch after N rounds.")
@click.option("--by", type=click.Choice([each.value for each in Grouping]), help="Rows and columns of the matrix.")
@click.option("--listen", type=Socket(), metavar="ADDR:PORT", help="Answer /metrics there while watching.")
@json_option
def verify(
    name: str,
    *,
    sources: tuple[str, ...],
    destinations: tuple[str, ...],
    sample: int | None,
    seed: int | None,
    junit: str | None,
    metrics: str | None,
    watch: float | None,
    rounds: int | None,
    by: str | None,
    listen: Address | None,
    as_json: bool,
) -> int:
    """Prove the pod network model of a lab with real packets.

    Every pod has one address of its own and reaches every other pod and every node, and every node every pod, without
    NAT; packets of full MTU pass, larger ones are refused in words. Exit status 1 when any of it fails, or with --watch
    failed in any round.

    \b
      nankeen verify --from pod1 --to pod2
      nankeen verify --sample 2 --junit verify.xml
      nankeen verify --watch 5 --listen 127.0.0.1:9469
    """  # noqa: D301 (the mark is click's: lines are kept)
    selection = Selection(frozenset(sources), frozenset(destinations), sample, _seed(sample, seed))
    if watch is None:
        _refuse_without("--watch", {"--rounds": rounds, "--by": by, "--listen": listen})
        return _prove(name, selection, junit, metrics, as_json=as_json)
    if junit is not None:
        raise InputError("a watch has no end that JUnit's XML could tell of", remedy="leave out --junit or --watch")
    wish = Wish(selection, watch, rounds)
    return _watch(name, wish, Grouping(by) if by else None, metrics, listen, as_json=as_json)


def _prove(name: str, selection: Selection, junit: str | None, metrics: str | None, *, as_json: bool) -> int:
    if as_json and junit == STANDARD_OUTPUT:
        raise InputError("--json and --junit - both want standard output", remedy="name a file")
    xml = OutFile(junit) if junit not in (None, STANDARD_OUTPUT) else None
    text = OutFile(metrics) if metrics is not None else None
    lab = find_lab(name)
    report = inside(lab, lambda: asyncio.run(prove(survey(lab), selection)))
    if text:
        text.write(_exposed(report))
    if xml:
        xml.write(junit_of(report, time.time()))
    if as_json:
        print_json(document(report))
    elif junit == STANDARD_OUTPUT:
        click.echo(junit_of(report, time.time()), nl=False)
    else:
        print_report(report, console())
    return 0 if report.holds else 1


def _watch(
    name: str, wish: Wish, by: Grouping | None, metrics: str | None, listen: Address | None, *, as_json: bool
) -> int:
    from nankeen.cli.verifywatch import shown, watched

    text = OutFile(metrics) if metrics is not None else None
    summary = watched(find_lab(name), wish, shown(console(), by, as_json=as_json), text, listen)
    return 0 if summary.holds else 1


def _seed(sample: int | None, seed: int | None) -> int:
    if sample is None:
        _refuse_without("--sample", {"--seed": seed})
    return secrets.randbelow(1_000_000) if seed is None else seed


def _refuse_without(needed: str, given: Mapping[str, object]) -> None:
    for name, value in given.items():
        if value is not None:
            raise InputError(f"{name} needs {needed}", remedy=f"say {needed}, or leave out {name}")


def _exposed(report: Report) -> bytes:
    from nankeen.inspect.exposition import once

    return once(report)


def console() -> Console:
    """Where people read: the terminal, or else 100 columns without colours."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 100)


def document(report: Report) -> dict[str, object]:
    """The report as JSON has it."""
    return {
        "lab": report.cluster,
        "holds": report.holds,
        "nodes": report.nodes,
        "pods": report.pods,
        "families": [str(family) for family in report.families],
        "seconds": round(report.seconds, 3),
        **({"coverage": asdict(report.coverage)} if report.coverage else {}),
        "checks": [
            {**_matter(tally.matter), "proven": tally.proven, "failed": tally.failed} for tally in report.tallies
        ],
        "findings": [
            {
                **_matter(finding.matter),
                "source": finding.source,
                "destination": finding.destination,
                "expected": finding.expected,
                "seen": finding.seen,
            }
            for finding in report.findings
        ],
    }


def print_report(report: Report, out: Console) -> None:
    """The report for people: a table of what was proven, then every finding, then the verdict."""
    out.print(_table(report))
    groups = list(_grouped(report.findings))
    for subject, expected, seen in groups[:_SHOWN_FINDINGS]:
        out.print(Text.assemble(("  ✗ ", "red"), (printable(subject), "bold")))
        out.print(
            Text(textwrap.indent(textwrap.fill(printable(f"expected {expected}; {seen}"), out.width - 6), " " * 6))
        )
    if len(groups) > _SHOWN_FINDINGS:
        out.print(f"  … and {len(groups) - _SHOWN_FINDINGS} more: --json names them all")
    if report.coverage:
        out.print(textwrap.indent(textwrap.fill(f"{report.coverage}.", out.width - 2), "  "))
    out.print(_verdict(report))


def _matter(matter: Matter) -> dict[str, object]:
    return {
        "rule": matter.rule.name.lower(),
        "relation": matter.relation,
        "family": str(matter.family),
        "protocol": matter.protocol.value if matter.protocol else None,
    }


def _table(report: Report) -> Table:
    families = " and ".join(str(family) for family in report.families)
    title = f"lab {printable(report.cluster)}: {report.nodes} nodes, {report.pods} pods, {families}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1), pad_edge=True)
    table.add_column("")
    table.add_column("", no_wrap=True)
    for family in report.families:
        for number, protocol in enumerate(Protocol):
            table.add_column(f"{'' if number else family}\n{protocol.value}", justify="right", header_style="dim")
    for demand, rule, relation in DEMANDS:
        tallies = [
            tally for tally in report.tallies if tally.matter.rule is rule and relation in (None, tally.matter.relation)
        ]
        cells = [_cell(tallies, family, protocol) for family in report.families for protocol in Protocol]
        table.add_row(_mark(tallies), demand, *cells)
    return table


def _mark(tallies: Iterable[Tally]) -> Text:
    found = list(tallies)
    if any(tally.failed for tally in found):
        return Text(" ✗", "bold red")
    return Text(" ✓", "green") if found else Text(" –", "dim")


def _cell(tallies: Iterable[Tally], family: Family, protocol: Protocol) -> Text:
    """How often it was proven, or how often it failed. What has no protocol stands in the first column."""
    shown = (protocol, None) if protocol is Protocol.ICMP else (protocol,)
    found = [tally for tally in tallies if tally.matter.family is family and tally.matter.protocol in shown]
    if not found:
        return Text("")
    proven, failed = sum(tally.proven for tally in found), sum(tally.failed for tally in found)
    return Text(f"{failed} ✗", "red") if failed else Text(str(proven))


def _grouped(findings: Iterable[Finding]) -> Iterator[tuple[str, str, str]]:
    """Findings that differ in nothing but the protocol, as one: subject, expected, seen."""
    groups: dict[tuple[str, Family, str, str], list[str]] = {}
    for finding in findings:
        key = (finding.subject, finding.matter.family, finding.expected, finding.seen)
        groups.setdefault(key, []).extend([finding.matter.protocol.value] if finding.matter.protocol else [])
    for (subject, family, expected, seen), protocols in groups.items():
        yield f"{subject}, {' '.join([str(family), *protocols])}", expected, seen


def _verdict(report: Report) -> Text:
    seconds = f"{report.seconds:.2f} s"
    if report.holds:
        return Text.assemble(("  The pod network model holds: ", "bold green"), f"{report.proven} proofs in {seconds}.")
    if not report.findings:
        return Text("  Nothing was tested: there are no pods.", "bold red")
    failed = f"{len(report.findings)} of {report.proven + len(report.findings)} proofs failed, in {seconds}."
    return Text.assemble(("  The pod network model does not hold: ", "bold red"), failed)
