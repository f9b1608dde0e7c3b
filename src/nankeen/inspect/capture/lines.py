"""The lines of many packets, as `line` has each of them, at a rate that a busy device asks for.

A line is a time, a place, what the packet is, and a length. Where and what are the same for all packets of a flow, so
they are made once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nankeen.inspect.capture.flow import Flows
from nankeen.inspect.capture.line import clock, line, place, told
from nankeen.inspect.capture.order import Captured
from nankeen.inspect.capture.outline import Outline
from nankeen.inspect.capture.sight import View
from nankeen.kernel.ring import Direction, Frame
from nankeen.model.packet import Packet

_IN = Direction.IN


class Lines:
    """Of the packets that pass several points."""

    def __init__(self, views: Sequence[View]) -> None:
        width = max((len(view.point) for view in views), default=0)
        self._points = [_Point(view, width) for view in views]

    def of(self, batch: Iterable[Captured]) -> str:
        """A line for each packet, with its end."""
        points = self._points
        return "".join([points[point].line(frame) for _, point, frame in batch])


class _Point:
    def __init__(self, view: View, width: int) -> None:
        self._width = width
        self._in, self._out = (place(view.point, direction, width) for direction in (Direction.IN, Direction.OUT))
        self._flows = Flows(view, _what)

    def line(self, frame: Frame) -> str:
        time, _, direction, data, length = frame
        recalled = self._flows.recall(data)
        if recalled is None:
            return f"{line(self._flows.read(frame), self._width)}\n"
        where = self._in if direction is _IN else self._out
        return f"{clock(time)}{where}{recalled[0]} ({length} bytes)\n"


def _what(_: Outline, packet: Packet) -> str:
    return told(packet)
