"""Reports as JUnit's XML."""

from __future__ import annotations

from ipaddress import ip_address
from xml.etree import ElementTree as ET

from nankeen.inspect.junit import junit
from nankeen.inspect.outcome import Answered, Observation, Silent
from nankeen.inspect.party import Cluster
from nankeen.inspect.plan import Aim, Pair, Probe, Protocol
from nankeen.inspect.verdict import Report, report
from tests.unit.inspect.parties import cluster, pod

PAIR = Pair(pod(1), pod(2), ip_address("10.244.1.2"))
PROBE = Probe(PAIR, Aim.REACH, Protocol.ICMP)
GOOD = Observation(PROBE, Answered(0.001, "pod2", ip_address("10.244.1.1")))
BAD = Observation(PROBE, Silent(3.5))


def read(found: Report) -> ET.Element:
    return ET.fromstring(junit(found, 1_700_000_000.0))  # noqa: S314  (our own)


def made(*seen: Observation, whole: Cluster | None = None) -> Report:
    return report(whole or cluster(pod(1), pod(2)), seen, 1.5)


def test_each_check_is_a_test_case_of_its_familys_suite() -> None:
    root = read(made(GOOD))
    [suite] = root.findall("testsuite")
    assert suite.get("name") == "paper IPv4"
    assert [case.get("name") for case in suite.findall("testcase")] == [
        "pod: every pod has one address of its own",
        "pod → pod: reaches, ICMP",
        "pod → pod: is seen under its own address (no NAT), ICMP",
    ]
    assert {case.get("classname") for case in suite.findall("testcase")} == {"nankeen.verify.IPv4"}
    assert (suite.get("timestamp"), suite.get("time")) == ("2023-11-14T22:13:18", "1.500")


def test_the_counts_are_those_of_the_cases() -> None:
    root = read(made(GOOD, BAD))
    for element in (root, *root.findall("testsuite")):
        assert element.get("tests") == str(len(list(element.iter("testcase")))) == "3"
        assert element.get("failures") == str(len(list(element.iter("failure")))) == "1"
        assert (element.get("errors"), element.get("skipped")) == ("0", "0")


def test_a_failure_says_how_many_and_names_each_finding() -> None:
    [failure] = read(made(GOOD, BAD)).iter("failure")
    assert (failure.get("type"), failure.get("message")) == ("REACH", "1 of 2 failed")
    assert failure.text == "pod1 → pod2, IPv4 ICMP: expected an answer; no answer in 3.5 s"


def test_of_very_many_findings_the_rest_is_counted() -> None:
    [failure] = read(made(*[BAD] * 250)).iter("failure")
    assert failure.text is not None
    assert failure.text.endswith("\n… and 50 more")


def test_names_of_bad_intent_leave_a_document_that_can_be_read() -> None:
    hostile = Cluster("\x00<&]]>\x1b[2J", (pod(1), pod(2)))
    [suite] = read(made(BAD, whole=hostile)).findall("testsuite")
    assert suite.get("name") == "\\x00<&]]>\\x1b[2J IPv4"


def test_a_verification_of_nothing_fails() -> None:
    root = read(made(whole=cluster()))
    assert (root.get("tests"), root.get("failures")) == ("1", "1")
    [failure] = root.iter("failure")
    assert failure.get("message") == "nothing was tested: there are no pods"
