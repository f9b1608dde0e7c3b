"""A report as JUnit's XML, which continuous integration reads: a test case for each check.

There is no standard. This is what Jenkins' JUnit plugin and GitLab's unit test reports both read: `testsuites`, a
`testsuite` for each family with its counts, `testcase` with `classname`, `name` and `time`, and `failure` with a
`message` and a text.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from nankeen.inspect.verdict import Matter, Report, Tally
from nankeen.model.address import Family
from nankeen.model.printable import printable

_TOLD = 200
"""Findings of one check that are told one by one."""


def junit(report: Report, ended: float) -> bytes:
    """The document. `ended` is when the verification did, in seconds since 1970."""
    root = Element("testsuites", _counts(report.tallies), name="nankeen verify", time=f"{report.seconds:.3f}")
    for family in report.families:
        _add_suite(root, report, family, ended)
    if not report.tallies:
        _add_nothing(root)
    indent(root)
    document: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _add_suite(root: Element, report: Report, family: Family, ended: float) -> None:
    tallies = [tally for tally in report.tallies if tally.matter.family is family]
    began = datetime.fromtimestamp(ended - report.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    name = printable(f"{report.cluster} {family}")
    suite = SubElement(root, "testsuite", _counts(tallies), name=name, timestamp=began, time=f"{report.seconds:.3f}")
    properties = SubElement(suite, "properties")
    told = {"nodes": report.nodes, "pods": report.pods, "sample": report.coverage}
    for key, value in told.items():
        if value is not None:
            SubElement(properties, "property", name=key, value=str(value))
    for tally in tallies:
        _add_case(suite, report, tally)


def _add_case(suite: Element, report: Report, tally: Tally) -> None:
    case = SubElement(suite, "testcase", classname=f"nankeen.verify.{tally.matter.family}", name=name_of(tally.matter))
    case.set("time", "0")  # checks are made at the same time: none has one of its own
    if tally.failed:
        message = f"{tally.failed} of {tally.failed + tally.proven} failed"
        failure = SubElement(case, "failure", message=message, type=tally.matter.rule.name)
        told = [printable(str(finding)) for finding in report.findings if finding.matter == tally.matter]
        more = [f"… and {len(told) - _TOLD} more"] if len(told) > _TOLD else []
        failure.text = "\n".join(told[:_TOLD] + more)


def _add_nothing(root: Element) -> None:
    """A verification of nothing is no success."""
    suite = SubElement(
        root, "testsuite", {"tests": "1", "failures": "1", "errors": "0", "skipped": "0"}, name="nankeen"
    )
    case = SubElement(suite, "testcase", classname="nankeen.verify", name="there are pods", time="0")
    SubElement(case, "failure", message="nothing was tested: there are no pods", type="NOTHING")
    root.attrib.update(tests="1", failures="1")


def name_of(matter: Matter) -> str:
    """A check's name, such as `pod → pod: reaches, ICMP`."""
    protocol = f", {matter.protocol.value}" if matter.protocol else ""
    return f"{matter.relation}: {matter.rule.value}{protocol}"


def _counts(tallies: Iterable[Tally]) -> dict[str, str]:
    found = list(tallies)
    failures = sum(1 for tally in found if tally.failed)
    return {"tests": str(len(found)), "failures": str(failures), "errors": "0", "skipped": "0"}
