"""What was made of a flow's packets, remembered for the next one, so that it needs not be read.

A packet is looked up by the octets that all packets of its flow share (`outline`). What is not as the others of a flow
is not found, and read as any packet is: one whose lengths contradict each other, with options of IPv4, or with payload
of which there is something to say. A flow is remembered from its second packet on, because many have but one, and to
make something for a whole flow takes longer than for one packet.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from nankeen.inspect.capture.application import opening
from nankeen.inspect.capture.outline import Outline, end_of, outline_of
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


_Flows = dict[tuple[bytes, ...], _Flow[Made] | None]
"""None for one of which one packet was seen."""
_Known = tuple[Outline, _Flows[Made]]


class Flows(Generic[Made]):
    """The flows that pass one point."""

    def __init__(self, view: View, make: Callable[[Outline, Packet], Made]) -> None:
        """`make` is given a packet without its payload; what it makes must hold for the whole flow."""
        self._view, self._make = view, make
        self._known: list[_Known[Made]] = []
        """The outline of the last packet first: the next one's is mostly the same."""

    def recall(self, data: bytes) -> tuple[Made, int, int] | None:
        """What was made of the frame's flow, and from where to where in the frame the packet's payload is.

        None where the flow is not known, or the packet is not like the others.
        """
        for known in self._known:
            outline, flows = known
            if len(data) < outline.size or (flow := flows.get(outline.shared(data))) is None:
                continue
            if known is not self._known[0]:
                self._put_first(known)
            made, start, opening = flow
            end = end_of(outline.starts, outline.lengths(data), len(data))
            if end is None or end < start or (opening is not None and opening.match(data, start, end)):
                return None
            return made, start, end
        return None

    def read(self, frame: Frame) -> Sight:
        """The frame read to its end; if it is the second one of a flow, that is known from now on."""
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
        flows, shared = self._flows(outline), outline.shared(data)
        if shared not in flows:
            if len(flows) >= FLOWS:
                flows.clear()
            flows[shared] = None
        elif flows[shared] is None:
            start = outline.size + (len(last.options) if isinstance(last, Tcp) else 0)
            flows[shared] = _Flow(self._make(outline, Packet(packet.headers)), start, opening(last))

    def _may_be_tunnel(self, last: Tcp | Udp) -> bool:
        """Whether the next packet of this flow may have another in it: its payload decides."""
        return isinstance(last, Udp) and last.destination in self._view.ports.udp

    def _flows(self, outline: Outline) -> _Flows[Made]:
        for known, flows in self._known:
            if known is outline:
                return flows
        self._known = [(outline, {}), *self._known[: _OUTLINES - 1]]
        return self._known[0][1]

    def _put_first(self, known: _Known[Made]) -> None:
        self._known.remove(known)
        self._known.insert(0, known)
