"""A report as JSON has it (docs/walk.md has the shape)."""

from __future__ import annotations

from nankeen.forwarding import Packet
from nankeen.inspect.walk.account import Account, Evidence, Report
from nankeen.inspect.walk.decision import Decision
from nankeen.inspect.walk.headers import rows
from nankeen.inspect.walk.lesson import lesson
from nankeen.inspect.walk.proof import Proven
from nankeen.inspect.walk.story import Step, Story

Document = dict[str, object]


def document(report: Report, *, explain: bool = False) -> Document:
    """The way there and, where it was asked for and there is one, the way back."""
    found: Document = {"holds": report.holds, "there": account_document(report.there, explain=explain)}
    if report.back is not None:
        found["back"] = account_document(report.back, explain=explain)
    return found


def account_document(account: Account, *, explain: bool = False) -> Document:
    """One way."""
    story = account.story
    found: Document = {
        "source": story.source,
        "destination": story.destination,
        "packet": _packet(story.packet),
        "arrives": story.arrives,
        "end": story.end,
        "remedy": story.remedy,
        "steps": [_step(step, story, explain=explain) for step in story.steps],
        "points": [
            {
                "host": point.host,
                "device": point.device,
                "direction": point.direction.value,
                "packet": _packet(point.packet),
            }
            for point in story.points
        ],
    }
    if account.evidence is not None:
        found["proof"] = _proof(account.evidence)
    return found


def _step(step: Step, story: Story, *, explain: bool) -> Document:
    found: Document = {
        "title": step.title,
        "host": step.host,
        "decisions": [_decision(decision) for decision in step.decisions],
        "decision": step.leading,
        "tells": step.tells,
        "before": _packet(step.before),
        "after": _packet(step.after),
        "points": list(step.points),
    }
    if explain:
        found["explanation"] = lesson(step.part, by_process=story.by_process)
    return found


def _decision(decision: Decision) -> Document:
    return {"host": decision.host, "command": decision.command, "line": decision.line or None}


def _packet(packet: Packet) -> Document:
    return {
        "size": packet.size,
        "headers": [{"name": row.name, "size": row.size, "says": row.says} for row in rows(packet)],
        "payload": packet.payload,
    }


def _proof(evidence: Evidence) -> Document:
    return {
        "holds": evidence.holds,
        "outcome": evidence.outcome.value,
        "ending": evidence.ending,
        "points": [_proven(each) for each in evidence.proven],
        "first": evidence.first,
        "instead": evidence.instead or None,
        "decisions": [_decision(decision) for decision in evidence.decisions],
    }


def _proven(proven: Proven) -> Document:
    return {
        "verdict": proven.verdict.value,
        "microseconds": proven.time,
        "differences": [
            {"field": each.field, "predicted": each.predicted, "seen": each.seen} for each in proven.differences
        ],
    }
