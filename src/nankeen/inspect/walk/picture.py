"""A report as a picture for documents: hosts with their devices, the way through them, and the steps with the packet.

    pod1   node1                          node2                 pod2
    eth0 ─ veth ─ cni0 ─ flannel.1        flannel.1 ─ cni0 ─ veth ─ eth0
                          └ eth0 ═ underlay ═ eth0 ┘

Where the packet is wrapped, its way is drawn lower. The same report is always the same picture.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from nankeen.forwarding import Packet
from nankeen.inspect.walk.account import Account, Report
from nankeen.inspect.walk.canvas import GLYPH, Canvas, width_of
from nankeen.inspect.walk.headers import Row, rows
from nankeen.inspect.walk.part import depth
from nankeen.inspect.walk.proof import Verdict
from nankeen.inspect.walk.story import Step, Story
from nankeen.inspect.walk.text import heading

_MARGIN = 20.0
_NARROWEST = 960
_DEVICE, _DEVICE_HEIGHT, _GAP = 76.0, 26.0, 22.0
"""A device's box, and the room between two."""
_LEVEL = 52.0
"""How much lower a wrapped packet travels."""
_HOST_TITLE = 34.0
_CODE, _SMALL = 11.0, 9.5
"""Heights of fonts."""
_STACK = 58.0
"""Height of a drawn header."""
_LAYERS = {"Ethernet": "link", "ARP": "link", "IPv4": "ip", "IPv6": "ip", "VXLAN": "tunnel", "WireGuard": "tunnel"}


def picture(report: Report) -> str:
    """The report as an SVG document."""
    maps = [_Map.of(account) for account in report.accounts]
    width = max(_NARROWEST, *(int(each.width + 2 * _MARGIN) + 1 for each in maps))
    canvas = Canvas(width, heading(report.there.story))
    y = _MARGIN
    for account, found in zip(report.accounts, maps, strict=True):
        y = _draw(canvas, account, found, y) + _MARGIN
    return canvas.finished(y)


def _draw(canvas: Canvas, account: Account, found: _Map, y: float) -> float:
    """One way; returns where it ends."""
    canvas.text(_MARGIN, y + 12, heading(account.story), "heading")
    y = found.draw(canvas, y + 28)
    before: Packet | None = account.story.packet
    for number, step in enumerate(account.story.steps, 1):
        fails = not account.story.arrives and step is account.story.steps[-1]
        y = _draw_step(canvas, number, step, before, y, fails=fails)
        before = step.after
    return _draw_end(canvas, account, y)


@dataclass(frozen=True, slots=True)
class _Place:
    """A device on the map."""

    host: str
    device: str
    x: float
    level: int
    marks: tuple[str, ...] = ()
    """What was seen there, in short."""
    good: bool = True


@dataclass(frozen=True, slots=True)
class _Map:
    """Hosts as boxes, devices in them, and the way."""

    story: Story
    places: tuple[_Place, ...]
    way: tuple[int, ...]
    """For each point of the story, its place."""

    @classmethod
    def of(cls, account: Account) -> _Map:
        places: list[_Place] = []
        way: list[int] = []
        x = _MARGIN
        for number, point in enumerate(account.story.points):
            found = _last_of(places, point.host, point.device)
            if found is None:
                if places:
                    x += _DEVICE + (_GAP if places[-1].host == point.host else 2 * _GAP)
                found = len(places)
                places.append(_Place(point.host, point.device, x, depth(point.packet) - 1))
            places[found] = _marked(places[found], account, number)
            way.append(found)
        return cls(account.story, tuple(places), tuple(way))

    @property
    def width(self) -> float:
        return self.places[-1].x + _DEVICE + _GAP if self.places else 0.0

    @property
    def levels(self) -> int:
        return max((place.level for place in self.places), default=0)

    def draw(self, canvas: Canvas, y: float) -> float:
        """Draws it from y downwards; returns where it ends."""
        if not self.places:
            return y
        height = _HOST_TITLE + self.levels * _LEVEL + _DEVICE_HEIGHT + 28
        for first, last in self._hosts():
            left, right = self.places[first], self.places[last]
            canvas.rect(left.x - _GAP / 2, y, right.x + _DEVICE - left.x + _GAP, height, "host")
            canvas.text(left.x, y + 16, left.host, "title")
        self._draw_way(canvas, y)
        for place in self.places:
            self._draw_device(canvas, place, y)
        self._draw_numbers(canvas, y)
        return y + height + 24

    def _hosts(self) -> list[tuple[int, int]]:
        """Runs of places with one host: of each the first and the last."""
        runs: list[tuple[int, int]] = []
        for number, place in enumerate(self.places):
            if runs and self.places[runs[-1][0]].host == place.host:
                runs[-1] = runs[-1][0], number
            else:
                runs.append((number, number))
        return runs

    def _draw_way(self, canvas: Canvas, y: float) -> None:
        for one, other in zip(self.way, self.way[1:], strict=False):
            if one == other:
                continue
            left, right = self.places[one], self.places[other]
            forward = right.x > left.x
            start, end = left.x + (_DEVICE if forward else 0), right.x + (0 if forward else _DEVICE)
            canvas.line(start, _middle(left, y), end, _middle(right, y))

    def _draw_device(self, canvas: Canvas, place: _Place, y: float) -> None:
        mark = ("good" if place.good else "bad") if place.marks else "way"
        top = _middle(place, y) - _DEVICE_HEIGHT / 2
        canvas.rect(place.x, top, _DEVICE, _DEVICE_HEIGHT, "device", mark=mark)
        size = "small" if width_of(place.device, _CODE) > _DEVICE else "plain"
        canvas.text(place.x + _DEVICE / 2, top + 17, _cut(place.device, 13), "code", "middle", size)
        if place.marks:
            canvas.text(place.x, top + _DEVICE_HEIGHT + 12, " ".join(place.marks), "small", f"{mark}-text")

    def _draw_numbers(self, canvas: Canvas, y: float) -> None:
        """Each step's number where it begins; that of a step without a device between two."""
        for number, step in enumerate(self.story.steps, 1):
            if step.points:
                place = self.places[self.way[step.points[0]]]
                canvas.dot(place.x, _middle(place, y) - _DEVICE_HEIGHT / 2, str(number))
                continue
            passed = [point for each in self.story.steps[: number - 1] for point in each.points]
            place = self.places[self.way[passed[-1]]] if passed else self.places[0]
            x = place.x + _DEVICE + _GAP / 2 if passed else place.x - _GAP / 2
            canvas.dot(x, _middle(place, y), str(number))


def _last_of(places: list[_Place], host: str, device: str) -> int | None:
    """The place of a device that the packet has just been at, or is at again."""
    found = (number for number, place in enumerate(places) if (place.host, place.device) == (host, device))
    return next(found, None)


def _marked(place: _Place, account: Account, point: int) -> _Place:
    if account.evidence is None:
        return place
    proven = account.evidence.proven[point]
    good = proven.verdict in (Verdict.SEEN, Verdict.HIDDEN)
    text = f"{'✓' if good else '✗'} {proven.time} µs" if proven.time is not None else "✗ not seen"
    return _Place(place.host, place.device, place.x, place.level, (*place.marks, text)[-1:], place.good and good)


def _middle(place: _Place, y: float) -> float:
    return y + _HOST_TITLE + place.level * _LEVEL + _DEVICE_HEIGHT / 2


def _draw_step(canvas: Canvas, number: int, step: Step, before: Packet | None, y: float, *, fails: bool) -> float:
    """A step: its title, the line that decides, what it means, and the packet after it."""
    left = _MARGIN + 28
    canvas.dot(_MARGIN + 9, y + 2, str(number), "bad" if fails else "way")
    canvas.text(left, y + 6, step.title, "title")
    canvas.text(left + width_of(step.title, 13.5) + 6, y + 6, f"on {step.host}", "dim")
    y = _draw_decision(canvas, step, left, y + 24, fails=fails)
    for text in textwrap.wrap(f"{step.tells}.", int((canvas.width - left - _MARGIN) / 6.2)):
        canvas.text(left, y, text, "bad-text" if fails else "dim")
        y += 16
    return _draw_stack(canvas, step.after, before, left, y - 4) + 24


def _draw_decision(canvas: Canvas, step: Step, x: float, y: float, *, fails: bool) -> float:
    """The command, and behind it the line that it shows."""
    command, line = f"$ {step.decision.command}", step.decision.line or "(no such line)"
    canvas.text(x, y, command, "code", "dim")
    begins = x + width_of(command, _CODE) + 2 * _CODE
    for text in textwrap.wrap(line, int((canvas.width - begins - _MARGIN) / (_CODE * GLYPH))):
        canvas.text(begins, y, text, "code", "bad-text" if fails else "strong")
        y += 16
    return y


def _draw_stack(canvas: Canvas, packet: Packet, before: Packet | None, x: float, y: float) -> float:
    """The headers from left to right, the outermost first. New ones have a coloured edge."""
    known = len(before.headers) if before is not None else 0
    new = max(len(packet.headers) - known, 0)
    for number, row in enumerate(rows(packet)):
        lines = _said(row)
        width = max(width_of(text, _SMALL) for text in (f"{row.name} {row.size}", *lines)) + 12
        if x + width > canvas.width - _MARGIN:
            x, y = _MARGIN + 28, y + _STACK + 4
        canvas.rect(x, y, width, _STACK, _LAYERS.get(row.name, "transport"), mark="way" if number < new else "")
        canvas.text(x + 6, y + 14, f"{row.name} {row.size}", "code", "small", "strong")
        for place, text in enumerate(lines):
            canvas.text(x + 6, y + 28 + 12 * place, text, "code", "small")
        x += width + 2
    text = f"{packet.payload} bytes"
    canvas.rect(x, y, width_of(text, _SMALL) + 12, _STACK, "payload")
    canvas.text(x + 6, y + 14, text, "code", "small")
    return y + _STACK


def _said(row: Row) -> list[str]:
    """What a header says, in short lines."""
    source, arrow, rest = row.says.partition(" → ")
    if not arrow:
        return textwrap.wrap(row.says, 18)[:3]
    destination, _, more = rest.partition(" ")
    return [source, f"→ {destination}", *textwrap.wrap(more, 22)[:1]]


def _draw_end(canvas: Canvas, account: Account, y: float) -> float:
    story, evidence = account.story, account.evidence
    kind = "good-text" if account.holds else "bad-text"
    said = [f"{'✓' if account.holds else '✗'} {story.end[:1].upper()}{story.end[1:]}."]
    if evidence is not None and not evidence.holds:
        said = [f"✗ Predicted: {story.end}. Instead: {evidence.instead}."]
    if story.remedy:
        said.append(f"What to do: {story.remedy}.")
    for text in said:
        for line in textwrap.wrap(text, int((canvas.width - 2 * _MARGIN) / 6.6)):
            canvas.text(_MARGIN, y, line, "title" if kind != "dim" else "plain", kind)
            y += 18
        kind = "dim"
    return y


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
