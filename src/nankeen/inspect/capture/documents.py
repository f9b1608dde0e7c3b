"""The documents of many packets, as `document` has each of them, at a rate that a busy device asks for.

What is the same for all packets of a flow is written once, with holes for what varies.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

from nankeen.inspect.capture.document import contents, document, passage, stamp
from nankeen.inspect.capture.flow import Flows
from nankeen.inspect.capture.order import Captured
from nankeen.inspect.capture.outline import Outline, Unpack
from nankeen.inspect.capture.sight import View
from nankeen.kernel.ring import Frame
from nankeen.model.packet import Packet, Tcp

BETWEEN = ",\n"
"""Between the documents."""

_NUMBER, _TEXT = "\0{}", "\1{}"
"""What stands for a number, or any value as JSON has it, and for a text, with its place among the values. Nothing that
headers tell has a control character, or a %."""
_HOLE = re.compile(r'"\\u0000(\d+)"|\\u0001(\d+)')
"""As JSON has them."""
_TIME, _POINT, _DIRECTION, _LENGTH, _OPTIONS, _PAYLOAD, _FIELDS = range(7)
"""The places of the values; from the last one on, what varies in an outline."""


class Documents:
    """Of the packets that pass several points."""

    def __init__(self, views: Sequence[View]) -> None:
        self._points = [_Point(view) for view in views]

    def of(self, batch: Iterable[Captured]) -> str:
        """A document for each packet."""
        points = self._points
        return BETWEEN.join([points[point].document(frame) for _, point, frame in batch])


@dataclass(frozen=True, slots=True)
class _Form:
    """What is written for every packet of a flow."""

    text: str
    """With a %s for each hole."""
    point: str
    """Its name as JSON has it. It is not in the text, because others chose it."""
    pick: Callable[[Sequence[object]], object]
    """Of all values, those for the holes in their order."""
    headers: int
    """Octets, TCP's options apart."""
    fields: Unpack

    def fill(self, frame: Frame, start: int, end: int) -> str:
        """For a frame whose payload lies there."""
        time, _, direction, data, length = frame
        options = data[self.headers : start].hex()
        told = (stamp(time), self.point, direction.value, length, options, end - start)
        text: str = self.text % self.pick(told + self.fields(data))
        return text


class _Point:
    def __init__(self, view: View) -> None:
        self._name = json.dumps(view.point, ensure_ascii=False)
        self._flows = Flows(view, self._form)

    def document(self, frame: Frame) -> str:
        recalled = self._flows.recall(frame.data)
        if recalled is None:
            return json.dumps(document(self._flows.read(frame)), ensure_ascii=False)
        form, start, end = recalled
        return form.fill(frame, start, end)

    def _form(self, outline: Outline, packet: Packet) -> _Form:
        time, way = _TEXT.format(_TIME), _TEXT.format(_DIRECTION)
        whole = passage(time, _NUMBER.format(_POINT), way, _NUMBER.format(_LENGTH))
        whole |= contents(_with_holes(outline, packet)) | {"payload": _NUMBER.format(_PAYLOAD)}
        text = json.dumps(whole, ensure_ascii=False)
        places = [int(number or place) for number, place in _HOLE.findall(text)]
        return _Form(_HOLE.sub("%s", text), self._name, itemgetter(*places), outline.size, outline.values)


def _with_holes(outline: Outline, packet: Packet) -> Packet:
    headers: list[Any] = list(packet.headers)
    for place, field in enumerate(outline.varying, _FIELDS):
        headers[field.header] = replace(headers[field.header], **{field.name: _NUMBER.format(place)})
    if isinstance(packet.headers[-1], Tcp):
        headers[-1] = replace(headers[-1], options=_TEXT.format(_OPTIONS))
    return Packet(tuple(headers))
