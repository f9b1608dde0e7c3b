"""A report as programs read it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from nankeen.inspect.walk.account import Account, Evidence, Report
from nankeen.inspect.walk.difference import Difference
from nankeen.inspect.walk.document import document
from nankeen.inspect.walk.ending import Outcome
from nankeen.inspect.walk.journey import back, predict
from nankeen.inspect.walk.proof import Proven, Verdict
from nankeen.inspect.walk.request import Request, question
from nankeen.inspect.walk.story import tell
from tests.unit.inspect.walk.paper import surroundings

AROUND = surroundings()
JOURNEY = predict(AROUND.world, question(Request("pod1", "pod2"), AROUND))
STORY = tell(JOURNEY, AROUND)


def read(report: Report, *, explain: bool = False) -> dict[str, Any]:
    """The document, by way of JSON."""
    found = json.loads(json.dumps(document(report, explain=explain)))
    assert isinstance(found, dict)
    return found


def test_a_step_has_its_decisions_and_the_packet_before_and_after() -> None:
    found = read(Report(Account(STORY)))
    assert found["holds"]
    there = found["there"]
    assert (there["source"], there["destination"], there["arrives"]) == ("pod1", "pod2", True)
    assert there["packet"] == {
        "size": 84,
        "headers": [
            {"name": "IPv4", "size": 20, "says": "10.244.1.5 → 10.244.2.5 ttl 64 DF"},
            {"name": "ICMP", "size": 8, "says": "echo request"},
        ],
        "payload": 56,
    }
    step = there["steps"][1]
    assert step["title"] == "Host route"
    assert step["decisions"][step["decision"]] == {
        "host": "node1",
        "command": "ip route",
        "line": "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
    }
    assert [header["name"] for header in step["before"]["headers"]] == ["Ethernet", "IPv4", "ICMP"]
    assert "proof" not in there
    assert "explanation" not in step


def test_the_points_of_a_step_are_places_in_the_list_of_all() -> None:
    there = read(Report(Account(STORY)))["there"]
    last = there["points"][there["steps"][-1]["points"][-1]]
    assert (last["host"], last["device"], last["direction"]) == ("pod2", "eth0", "enters")


def test_a_learner_finds_the_explanation_with_the_step() -> None:
    assert "VTEP" in read(Report(Account(STORY)), explain=True)["there"]["steps"][2]["explanation"]


def test_the_proof_has_a_verdict_for_each_point() -> None:
    differing = Proven(STORY.points[1], Verdict.DIFFERS, None, 7, (Difference("TTL", "64", "63"),))
    proven = (Proven(STORY.points[0], Verdict.SEEN, None, 3), differing)
    evidence = Evidence(proven, False, Outcome.OPEN, "silence", "TTL 63", 1, (STORY.steps[1].decision,))
    found = read(Report(Account(STORY, evidence)))
    assert not found["holds"]
    assert found["there"]["proof"] == {
        "holds": False,
        "outcome": "not contradicted",
        "ending": "silence",
        "points": [
            {"verdict": "seen as predicted", "microseconds": 3, "differences": []},
            {
                "verdict": "seen, and differs",
                "microseconds": 7,
                "differences": [{"field": "TTL", "predicted": "64", "seen": "63"}],
            },
        ],
        "first": 1,
        "instead": "TTL 63",
        "decisions": [
            {"host": "node1", "command": "ip route", "line": "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink"}
        ],
    }


def test_the_way_back_stands_beside_the_way_there() -> None:
    answer = back(AROUND.world, JOURNEY)
    assert answer is not None
    found = read(Report(Account(STORY), Account(tell(answer, AROUND))))
    assert (found["back"]["source"], found["back"]["destination"]) == ("pod2", "pod1")


def test_one_way_that_does_not_hold_is_enough_for_the_whole() -> None:
    lost = Account(replace(STORY, arrives=False))
    assert not read(Report(Account(STORY), lost))["holds"]
    assert not read(Report(lost))["holds"]
