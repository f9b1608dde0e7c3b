"""An account as text: a tree of steps, as wide as it may be. Nothing of it moves a cursor, whatever devices are called.

Colours are the reader's business: each piece of a line says only what it is.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from nankeen.forwarding import Direction, Packet, Passage
from nankeen.forwarding.packet import Ethernet, Ip
from nankeen.inspect.walk.account import Account, Evidence
from nankeen.inspect.walk.decision import Decision
from nankeen.inspect.walk.ending import Outcome
from nankeen.inspect.walk.headers import Row, lifetime, names, rows
from nankeen.inspect.walk.lesson import lesson
from nankeen.inspect.walk.proof import Proven, Verdict
from nankeen.inspect.walk.story import Step, Story
from nankeen.model.printable import printable

NARROWEST = 40
_BOX = 66
"""Width of a drawn packet at least, in columns."""
_COMMAND = 33
"""Width of the column of commands at most."""
_GAP = "   "


class Tone(Enum):
    """What a piece of text is."""

    PLAIN = auto()
    TITLE = auto()
    DIM = auto()
    LINE = auto()
    """The line that decides."""
    PACKET = auto()
    GOOD = auto()
    BAD = auto()


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a line."""

    text: str
    tone: Tone = Tone.PLAIN


Line = tuple[Piece, ...]


def lines(account: Account, width: int, *, explain: bool = False) -> Iterator[Line]:
    """The account, line by line, without their ends; none wider than `width`, nor than `NARROWEST` if that is more."""
    width = max(width, NARROWEST)
    story = account.story
    yield from _wrapped(heading(story), width, Tone.TITLE)
    for number, step in enumerate(story.steps, 1):
        why = lesson(step.part, by_process=story.by_process) if explain else ""
        yield (Piece("│", Tone.DIM),)
        title, where = f"{number}. {step.title}", printable(f"  on {step.host}")
        yield (Piece("├─ ", Tone.DIM), Piece(title, Tone.TITLE), Piece(_cut(where, width - 3 - len(title)), Tone.DIM))
        for line in _step(step, account, width - 6, why):
            yield (Piece("│  ", Tone.DIM), Piece("   "), *line)
    yield (Piece("│", Tone.DIM),)
    yield from _ending(account, width)


def heading(story: Story) -> str:
    """Who sends what to whom."""
    header, *carried = story.packet.headers
    assert isinstance(header, Ip)  # noqa: S101  (a question is an IP packet's)
    what = " ".join(map(str, carried)) or "IP"
    flags = ", DF" if header.dont_fragment and header.version == 4 else ""
    ends = _end(story.source, str(header.source)), _end(story.destination, str(header.destination))
    return printable(f"{' → '.join(ends)}: {what}, {story.packet.size} bytes, {lifetime(header)} {header.ttl}{flags}")


def _end(name: str, address: str) -> str:
    return address if name == address else f"{name} {address}" if address not in name else name


def _step(step: Step, account: Account, width: int, why: str) -> Iterator[Line]:
    if why:
        yield from _wrapped(why, width, Tone.DIM)
    yield from _decisions(step, width)
    yield from _wrapped(f"{step.tells}.", width, Tone.BAD if step is _failing(account.story) else Tone.PLAIN)
    yield from _packet(step, width)
    if account.evidence is not None:
        marks = [mark(account.evidence.proven[place]) for place in step.points]
        yield from _flowed(marks, width)


def _failing(story: Story) -> Step | None:
    return None if story.arrives else story.steps[-1]


def _decisions(step: Step, width: int) -> Iterator[Line]:
    """In two columns where there is room, else one below the other."""
    labels = [_label(decision, step) for decision in step.decisions]
    column = min(max(map(len, labels)), _COMMAND)
    for place, (decision, label) in enumerate(zip(step.decisions, labels, strict=True)):
        tone = Tone.BAD if not decision.line else Tone.LINE if place == step.leading else Tone.PLAIN
        text = printable(decision.line) or "(no such line)"
        if len(label) <= column and column + 2 + len(text) <= width:
            yield (Piece(f"{label:<{column}}  ", Tone.DIM), Piece(text, tone))
        else:
            yield from _wrapped(label, width, Tone.DIM)
            yield from _wrapped(text, width, tone, "  ")


def _label(decision: Decision, step: Step) -> str:
    """Commands of another host say whose they are."""
    where = f"{decision.host}: " if decision.host != step.host else ""
    return printable(f"{where}$ {decision.command}")


def _packet(step: Step, width: int) -> Iterator[Line]:
    """What becomes of the headers; drawn where the packet is wrapped."""
    before, after = names(step.before), names(step.after)
    if before == after:
        return
    yield from _wrapped(f"packet: {' | '.join(before)}  →  {' | '.join(after)}", width, Tone.PACKET)
    wraps = len(after) > len(before) + 1 or (len(after) == len(before) + 1 and step.part.name == "VXLAN")
    if wraps and width >= _BOX:
        for line in drawn(step.after, width):
            yield (Piece(line, Tone.PACKET),)


def drawn(packet: Packet, width: int = _BOX) -> list[str]:
    """The packet as boxes, at most that wide: what is wrapped in one, and what is around it in another."""
    cut = _wrapped_from(packet)
    shown = [*map(_row, rows(packet)), f"payload  {packet.payload:>3} bytes"]
    outer, inner = shown[:cut], shown[cut:]
    edges = 8 if cut else 4
    room = min(max(_BOX - edges, *map(len, inner)), width - edges)
    box = _box(inner, room + 4)
    return _box([*outer, *box], room + 8) if cut else box


def _wrapped_from(packet: Packet) -> int:
    """The place of the first header of the innermost frame or IP packet; 0 where nothing is around it."""
    places = [place for place, header in enumerate(packet.headers) if isinstance(header, Ip)]
    if len(places) < 2:
        return 0
    inner = places[-1]
    return inner - 1 if isinstance(packet.headers[inner - 1], Ethernet) else inner


def _row(row: Row) -> str:
    return f"{row.name:<9}{row.size:>3} bytes  {row.says}"


def _box(content: Sequence[str], width: int) -> list[str]:
    inside = [f"│ {_cut(line, width - 4):<{width - 4}} │" for line in content]
    return [f"┌{'─' * (width - 2)}┐", *inside, f"└{'─' * (width - 2)}┘"]


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


_MARKS = {Verdict.SEEN: "✓", Verdict.DIFFERS: "≠", Verdict.NOT_SEEN: "✗", Verdict.HIDDEN: "?"}


def mark(proven: Proven) -> Piece:
    """A point with what was seen there."""
    tone = {Verdict.SEEN: Tone.GOOD, Verdict.HIDDEN: Tone.DIM}.get(proven.verdict, Tone.BAD)
    after = f" {proven.time} µs" if proven.time is not None else f" {proven.verdict.value}"
    said = "".join(f", {each}" for each in proven.differences)
    return Piece(printable(f"{_MARKS[proven.verdict]} {place(proven.point)}{after}{said}"), tone)


def place(point: Passage) -> str:
    """Where a point is: node1:eth0 out."""
    return f"{point.host}:{printable(point.device)} {'out' if point.direction is Direction.LEAVES else 'in'}"


def _ending(account: Account, width: int) -> Iterator[Line]:
    story, evidence = account.story, account.evidence
    good = account.holds
    first, *others = list(_wrapped(f"{'✓' if good else '✗'} {_verdict(story, evidence)}", width - 3, _tone(good)))
    yield (Piece("└─ ", Tone.DIM), *first)
    more = [*others, *_disproof(story, evidence, width - 3)]
    if story.remedy and (evidence is None or evidence.holds):
        more += _wrapped(f"What to do: {story.remedy}.", width - 3, Tone.PLAIN)
    for line in more:
        yield (Piece("   "), *line)


def _tone(good: bool) -> Tone:  # noqa: FBT001  (it is all there is to say)
    return Tone.GOOD if good else Tone.BAD


def _verdict(story: Story, evidence: Evidence | None) -> str:
    said = story.end[:1].upper() + story.end[1:]
    if evidence is None:
        return f"{said} (predicted; no probe was sent)."
    if not evidence.holds:
        return f"Predicted: {story.end}. The probe did otherwise."
    how = {Outcome.CONFIRMED: "and so it was", Outcome.OPEN: "which no packet contradicts"}[evidence.outcome]
    seen = f" The probe was seen at {evidence.seen} of {len(story.points)} points." if story.points else ""
    return f"{said}, {how}: {evidence.ending}.{seen}"


def _disproof(story: Story, evidence: Evidence | None, width: int) -> Iterator[Line]:
    """Where prediction and reality part, and what happened instead."""
    if evidence is None or evidence.holds:
        return
    if evidence.first is not None:
        point = evidence.proven[evidence.first]
        where = f"The first difference is at {place(story.points[evidence.first])}: {point.verdict.value}."
        yield from _wrapped(where, width, Tone.BAD)
    yield from _wrapped(f"Instead: {evidence.instead}.", width, Tone.BAD)
    for decision in evidence.decisions:
        text = f"{decision.host}: $ {decision.command}: {decision.line}"
        yield from _wrapped(f"One of these came out otherwise: {text}", width, Tone.PLAIN, "  ")


def _flowed(marks: Sequence[Piece], width: int) -> Iterator[Line]:
    """As many in a line as there is room for."""
    line: list[Piece] = []
    used = 0
    for each in marks:
        if line and used + len(each.text) > width:
            yield tuple(line)
            line, used = [], 0
        if len(each.text) > width:
            yield from _wrapped(each.text, width, each.tone, "  ")
            continue
        line += [*([Piece(_GAP)] if line else []), each]
        used += len(each.text) + len(_GAP)
    if line:
        yield tuple(line)


def _wrapped(text: str, width: int, tone: Tone, following: str = "") -> Iterator[Line]:
    for line in textwrap.wrap(printable(text), width, subsequent_indent=following, break_on_hyphens=False):
        yield (Piece(line, tone),)
