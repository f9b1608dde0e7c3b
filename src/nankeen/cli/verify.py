"""`nankeen verify`: the pod network model of a lab, proven with real packets."""

from __future__ import annotations

import asyncio
import sys
import textwrap
from collections.abc import Iterable, Iterator

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nankeen.cli.output import json_option, print_json
from nankeen.inspect.inside import inside
from nankeen.inspect.plan import Protocol
from nankeen.inspect.survey import survey
from nankeen.inspect.verdict import Finding, Matter, Report, Rule, Tally
from nankeen.inspect.verify import verify as prove
from nankeen.lab import find_lab
from nankeen.model.address import Family

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

_SHOWN_FINDINGS = 20


@click.command()
@click.option("--name", default="lab", show_default=True, help="The lab.")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Probe N peers of each pod and node, not all.")
@json_option
def verify(name: str, sample: int | None, *, as_json: bool) -> int:
    """Prove the pod network model of a lab with real packets.

    Every pod has one address of its own and reaches every other pod and every node, and every node every pod, without
    NAT; packets of full MTU pass, larger ones are refused in words. Exit status 1 when any of it fails.
    """
    lab = find_lab(name)
    report = inside(lab, lambda: asyncio.run(prove(survey(lab), sample)))
    if as_json:
        print_json(document(report))
    else:
        print_report(report, console())
    return 0 if report.holds else 1


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
        out.print(Text.assemble(("  ✗ ", "red"), (subject, "bold")))
        out.print(textwrap.indent(textwrap.fill(f"expected {expected}; {seen}", out.width - 6), " " * 6))
    if len(groups) > _SHOWN_FINDINGS:
        out.print(f"  … and {len(groups) - _SHOWN_FINDINGS} more: --json names them all")
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
    title = f"lab {report.cluster}: {report.nodes} nodes, {report.pods} pods, {families}"
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
