"""One packet as a tree of its headers, by the layers of the OSI model; what is in a tunnel stands further right."""

from __future__ import annotations

from collections.abc import Iterator

from nankeen.inspect.capture import words
from nankeen.inspect.capture.line import clock
from nankeen.inspect.capture.sight import Sight
from nankeen.model.packet import Packet

_STEP = "    "


def tree(sight: Sight) -> Iterator[str]:
    """The lines: where and when, then each header with all that it says, what is broken, and what is left."""
    frame = sight.frame
    kept = "" if len(frame.data) == frame.length else f", of which {len(frame.data)} are here"
    yield f"{clock(frame.time)}  {sight.point}  {frame.direction.value}  {frame.length} bytes{kept}"
    yield from _headers(sight.packet, _STEP, whole=True)
    depth = _STEP * len(sight.packet.levels)
    if sight.application is not None:
        yield f"{depth}L7  {sight.application.protocol:<9} {sight.application.text}"
    if sight.quoted is not None:
        yield f"{depth}about this packet:"
        yield from _headers(sight.quoted, depth + _STEP, whole=False)
    elif sight.packet.payload:
        yield f"{depth}    {len(sight.packet.payload)} bytes of payload"


def _headers(packet: Packet, indent: str, *, whole: bool) -> Iterator[str]:
    depth = 0
    for depth, level in enumerate(packet.levels):
        for header in level:
            yield _row(indent + _STEP * depth, words.layer_of(header), words.name_of(header), words.in_full(header))
    if packet.fault is not None and whole:
        layer, name = words.fault_name(packet.fault.layer)
        yield _row(indent + _STEP * depth, layer, name, f"malformed: {packet.fault.problem}")


def _row(indent: str, layer: str, name: str, text: str) -> str:
    return f"{indent}{layer}  {name:<9} {text}"
