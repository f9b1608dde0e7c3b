"""SVG (SVG 1.1, W3C 2011) as far as pictures of walks need it: rectangles, lines, circles, and text that stays text.

Colours follow the reader's preference for light or dark, by CSS; a viewer that knows none of it shows the light ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree as ET

from nankeen.model.printable import printable

_NAMESPACE = "http://www.w3.org/2000/svg"
GLYPH = 0.602
"""Width of a character of a monospaced font, in heights of the font."""
_LIGHT = {
    "paper": "#ffffff", "ink": "#1f2328", "dim": "#59636e", "edge": "#d1d9e0", "host": "#f6f8fa",
    "device": "#ffffff", "way": "#0969da", "good": "#1a7f37", "bad": "#cf222e",
    "link": "#dbe4f0", "ip": "#c8e6e0", "transport": "#fbe3c0", "tunnel": "#e3d6f5", "payload": "#eaeef2",
}  # fmt: skip
_DARK = {
    "paper": "#0d1117", "ink": "#e6edf3", "dim": "#9198a1", "edge": "#3d444d", "host": "#151b23",
    "device": "#0d1117", "way": "#4493f8", "good": "#3fb950", "bad": "#f85149",
    "link": "#22344d", "ip": "#12443c", "transport": "#533912", "tunnel": "#3c2a5c", "payload": "#262c36",
}  # fmt: skip
_FILLED = ("paper", "host", "device", "link", "ip", "transport", "tunnel", "payload")


class Canvas:
    """A picture that grows downwards; lengths are in pixels."""

    def __init__(self, width: int, title: str) -> None:
        self.width = width
        self._root = ET.Element("svg", {"xmlns": _NAMESPACE, "role": "img"})
        ET.SubElement(self._root, "title").text = printable(title)
        ET.SubElement(self._root, "style").text = _style()
        self._paper = ET.SubElement(self._root, "rect", {"class": "paper", "width": "100%", "height": "100%"})

    def rect(self, x: float, y: float, width: float, height: float, kind: str, *, mark: str = "") -> None:
        """A box with round corners; `mark` is what its edge says: way, good or bad."""
        classes = f"{kind} {mark}-edge" if mark else f"{kind} edge"
        self._add("rect", classes, x=x, y=y, width=width, height=height, rx=4)

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str = "way") -> None:
        self._add("line", f"{kind}-line", x1=x1, y1=y1, x2=x2, y2=y2)

    def dot(self, x: float, y: float, text: str, kind: str = "way") -> None:
        """A number in a circle."""
        self._add("circle", f"{kind}-fill", cx=x, cy=y, r=9)
        self.text(x, y + 4, text, "number")

    def text(self, x: float, y: float, text: str, *classes: str) -> None:
        """One line of text; y is its base line."""
        self._add("text", " ".join(classes), x=x, y=y).text = printable(text)

    def finished(self, height: float) -> str:
        """The document, as tall as it came to be."""
        self._root.set("viewBox", f"0 0 {self.width} {_number(height)}")
        self._root.set("width", str(self.width))
        self._root.set("height", _number(height))
        ET.indent(self._root)
        return ET.tostring(self._root, encoding="unicode") + "\n"

    def _add(self, name: str, classes: str, **numbers: float) -> ET.Element:
        attributes = {"class": classes} | {key: _number(value) for key, value in numbers.items()}
        return ET.SubElement(self._root, name, attributes)


def width_of(text: str, size: float) -> float:
    """Of a line in the monospaced font, in pixels."""
    return len(printable(text)) * size * GLYPH


def _number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _style() -> str:
    rules = [
        "text { font: 12px ui-sans-serif, system-ui, sans-serif }",
        ".code { font: 11px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; white-space: pre }",
        ".small { font-size: 9.5px }",
        ".title { font-weight: 600; font-size: 13px }",
        ".heading { font-weight: 600; font-size: 15px }",
        ".number { font-size: 11px; font-weight: 600; text-anchor: middle }",
        ".middle { text-anchor: middle }",
        ".strong { font-weight: 600 }",
        *_colours(_LIGHT),
        "@media (prefers-color-scheme: dark) {",
        *(f"  {rule}" for rule in _colours(_DARK)),
        "}",
    ]
    return "\n" + "\n".join(f"    {rule}" for rule in rules) + "\n  "


def _colours(of: Mapping[str, str]) -> list[str]:
    return [
        f"text {{ fill: {of['ink']} }} .dim {{ fill: {of['dim']} }} .number {{ fill: {of['paper']} }}",
        *(f".{name} {{ fill: {of[name]} }}" for name in _FILLED),
        f".edge {{ stroke: {of['edge']} }}",
        *(
            f".{name}-fill, .{name}-text {{ fill: {of[name]} }} "
            f".{name}-edge {{ stroke: {of[name]}; stroke-width: 2 }} "
            f".{name}-line {{ stroke: {of[name]}; stroke-width: 2 }}"
            for name in ("way", "good", "bad")
        ),
    ]
