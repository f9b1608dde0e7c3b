"""What was made of a flow's packets, remembered for the next one, so that it needs not be read.

A packet is looked up by the octets that all packets of its flow share (`outline`). What is not as the others of a flow
is not found, and read as any packet is: one whose lengths contradict each other, with options of IPv4, or with payload
of which there is something to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from nankeen.inspect.capture.application import opening
from nankeen.inspect.capture.outline import Outline, outline_of
from nankeen.inspect.capture.sight import Sight, View
from nankeen.kernel.ring import Frame
from nankeen.model.packet import Packet, Tcp, Udp

_OUTLINES = 8
"""That are remembered: those of plain and tunnelled packets of both families, by TCP and UDP."""
FLOWS = 4096
"""Of each outline that are remembered, every set of TCP flags for itself."""

Made = TypeVar("Made")


class _Flow(NamedTuple, Generic[Made]):
    made: Made
    start: int
    """Of the payload."""
    opening: re.Pattern[bytes] | None
    """Of payload that is to be read."""


class Flows(Generic[Made]):
    """The flows that pass one point."""

    def __init__(self, view: View, make: Callable[[Outline, Packet], Made]) -> None:
        """`make` is given a packet without its payload; what it makes must hold for the whole flow."""
        self._view, self._make = view, make
        self._known: list[tuple[Outline, dict[tuple[bytes, ...], _Flow[Made]]]] = []

    def recall(self, data: bytes) -> tuple[Made, int, int] | None:
        """What was made of the frame's flow, and from where to where in the frame the packet's payload is.

        None where the flow is not known, or the packet is not like the others.
        """
        for number, (outline, flows) in enumerate(self._known):
            if len(data) < outline.size or (flow := flows.get(outline.shared(data))) is None:
                continue
            if number:
                self._known.insert(0, self._known.pop(number))
            made, start, opening = flow
            end = outline.end(data)
            if end is None or end < start or (opening is not None and opening.match(data, start, end)):
                return None
            return made, start, end
        return None

    def read(self, frame: Frame) -> Sight:
        """The frame read to its end; its flow, if it is of one, is known from now on."""
        sight = self._view.see(frame)
        self._learn(frame.data, sight.packet)
        return sight

    def _learn(self, data: bytes, packet: Packet) -> None:
        last = packet.headers[-1] if packet.headers else None
        if packet.fault is not None or not isinstance(last, Tcp | Udp) or self._may_be_tunnel(last):
            return
        outline = outline_of(packet.headers)
        if outline is None:
            return
        flows = self._flows(outline)
        if len(flows) >= FLOWS:
            flows.clear()
        start = outline.size + (len(last.options) if isinstance(last, Tcp) else 0)
        made = self._make(outline, Packet(packet.headers))
        flows[outline.shared(data)] = _Flow(made, start, opening(last))

    def _may_be_tunnel(self, last: Tcp | Udp) -> bool:
        """Whether the next packet of this flow may have another in it: its payload decides."""
        return isinstance(last, Udp) and last.destination in self._view.ports.udp

    def _flows(self, outline: Outline) -> dict[tuple[bytes, ...], _Flow[Made]]:
        for known, flows in self._known:
            if known is outline:
                return flows
        flows = {}
        self._known = [(outline, flows), *self._known[: _OUTLINES - 1]]
        return flows
