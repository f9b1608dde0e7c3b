"""A matrix of who reaches whom, drawn for a terminal: in full where there is room, else in single marks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum

from rich.console import Group, RenderableType
from rich.text import Text

from nankeen.inspect.history import History
from nankeen.inspect.matrix import Cell, Grouping, Matrix
from nankeen.inspect.plan import Protocol
from nankeen.model.address import Family
from nankeen.model.printable import printable

_LONGEST = 16
"""Characters of a name."""


class Style(Enum):
    """How much of a cell is shown."""

    FULL = "median/p99 of a round trip in ms; below it loss, and the path MTU; ✗ fails, * changed, · not asked"
    MARKS = "● all reach, ◐ some, ✗ none, ▾ full packets do not pass, * changed, · not asked"
    DENSE = "● all reach, ◐ some, ✗ none, ▾ full packets do not pass, + now all, ! changed, · not asked"

    @property
    def width(self) -> int:
        """Characters of a cell, at least."""
        return {Style.FULL: 10, Style.MARKS: 2, Style.DENSE: 1}[self]


def drawn(history: History, grouping: Grouping | None, width: int, height: int | None = None) -> RenderableType:
    """The matrix of every family, as large as there is room for, in so many columns and lines (None: as many as it
    needs). Without a grouping it is by pods if that fits, and else by nodes.
    """
    for candidate, style in _candidates(grouping):
        matrix = history.matrix(candidate)
        if _width(matrix, style) <= width and (height is None or _height(matrix, style) <= height):
            return Group(*_drawing(matrix, style))
    return Text(f"  {len(matrix.names)} {matrix.grouping.value}: more than there is room for", "dim")


def _candidates(grouping: Grouping | None) -> list[tuple[Grouping, Style]]:
    if grouping is not None:
        return [(grouping, style) for style in Style]
    return [(Grouping.PODS, Style.FULL), *((Grouping.NODES, style) for style in Style)]


def _width(matrix: Matrix, style: Style) -> int:
    cell = _cell_width(matrix) + 1 if style is Style.FULL else style.width
    return _head_width(matrix) + cell * len(matrix.names)


def _height(matrix: Matrix, style: Style) -> int:
    is_full = style is Style.FULL
    lines = len(matrix.names) * (2 if is_full else 1) + (1 if is_full else len(str(len(matrix.names))))
    return lines * len(matrix.families) + 1


def _drawing(matrix: Matrix, style: Style) -> Iterator[Text]:
    for family in matrix.families:
        yield from _full(matrix, family) if style is Style.FULL else _marks(matrix, family, style)
    yield Text(f"  {style.value}", "dim")


def _full(matrix: Matrix, family: Family) -> Iterator[Text]:
    width, head = _cell_width(matrix), _head_width(matrix)
    names = [_short(name) for name in matrix.names]
    titles = "".join(f" {name:>{width}}" for name in names)
    yield Text.assemble((f"  {family}".ljust(head), "bold"), (titles, "bold"))
    for source, name in zip(matrix.names, names, strict=True):
        cells = [matrix.cells.get((family, source, destination)) for destination in matrix.names]
        yield Text.assemble((f"  {name}".ljust(head), "bold"), *_line(map(_first, cells), cells, width))
        second = Text.assemble(" " * head, *_line(map(_second, cells), cells, width))
        second.rstrip()
        yield second


def _line(texts: Iterable[str], cells: Iterable[Cell | None], width: int) -> Iterator[tuple[str, str]]:
    for text, cell in zip(texts, cells, strict=True):
        yield " ", ""
        yield text.rjust(width), _style(cell)


def _first(cell: Cell | None) -> str:
    """What matters most of a cell: how it fails, or how fast it is."""
    if cell is None:
        return "·"
    mark = "*" if cell.changed else ""
    if cell.failing and cell.pairs > 1:
        return f"{mark}✗ {cell.reached}/{cell.pairs}"
    if cell.failing:
        which = "" if len(cell.failing) == len(Protocol) else " ".join(each.value for each in cell.failing)
        return f"{mark}✗ {which}".rstrip()
    if cell.median is None or cell.p99 is None:
        return f"{mark}✓"
    return f"{mark}{_milliseconds(cell.median)}/{_milliseconds(cell.p99)}"


def _second(cell: Cell | None) -> str:
    if cell is None:
        return ""
    loss = f"{max(round(100 * cell.loss), 1)}%" if cell.lost else ""
    mtu = "" if cell.path_mtu is None else f"{cell.path_mtu}{'✗' if cell.is_short else ''}"
    return f"{loss} {mtu or ('✗' if cell.is_short else '')}".strip()


def _marks(matrix: Matrix, family: Family, style: Style) -> Iterator[Text]:
    head = _head_width(matrix)
    numbers = [str(number + 1) for number in range(len(matrix.names))]
    digits = len(numbers[-1]) if numbers else 0
    for place in range(digits):
        title = f"  {family}" if place == 0 else ""
        line = "".join(number.rjust(digits)[place].ljust(style.width) for number in numbers)
        yield Text.assemble((title.ljust(head), "bold"), (line, "dim"))
    for number, source in zip(numbers, matrix.names, strict=True):
        cells = [matrix.cells.get((family, source, destination)) for destination in matrix.names]
        marks = [(_dense(cell) if style is Style.DENSE else _mark(cell), _style(cell)) for cell in cells]
        yield Text.assemble((f"{number.rjust(digits + 2)} {_short(source)}".ljust(head), "bold"), *marks)


def _dense(cell: Cell | None) -> str:
    if cell is not None and cell.changed:
        return "+" if cell.holds else "!"
    return _mark(cell)[0]


def _mark(cell: Cell | None) -> str:
    if cell is None:
        return "· "
    if cell.holds:
        mark = "●"
    elif cell.failing:
        mark = "◐" if cell.reached else "✗"
    else:
        mark = "▾"
    return mark + ("*" if cell.changed else " ")


def _style(cell: Cell | None) -> str:
    if cell is None:
        return "dim"
    colour = "green" if cell.holds and not cell.lost else "yellow" if cell.holds else "red"
    return f"{colour} reverse" if cell.changed else colour


def _milliseconds(seconds: float) -> str:
    value = seconds * 1000
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _head_width(matrix: Matrix) -> int:
    digits = len(str(len(matrix.names)))
    return digits + 4 + max(3, *(len(_short(name)) for name in matrix.names), 0)


def _cell_width(matrix: Matrix) -> int:
    return max([Style.FULL.width, *(len(_short(name)) for name in matrix.names)])


def _short(name: str) -> str:
    shown = printable(name)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
