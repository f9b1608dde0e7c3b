"""A capture from beginning to end: points are found and listened at, and what passes is told and written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from nankeen.inspect.capture.listen import Limits, Stop, listen
from nankeen.inspect.capture.order import Captured
from nankeen.inspect.capture.point import Point, Wish, find
from nankeen.inspect.capture.recording import Recording
from nankeen.inspect.capture.sight import View
from nankeen.inspect.filter import Expression, compile_filter
from nankeen.inspect.inside import inside
from nankeen.kernel.namespace import Namespace
from nankeen.kernel.tap import RING, Filter, Tap
from nankeen.lab import Lab
from nankeen.model.errors import KernelError
from nankeen.model.packet import TunnelPorts

ALL_RINGS = 128 << 20
"""Octets that the rings of all points may hold together."""
_TOLD_AT_ONCE = 64
"""Packets. What is made of them fits a processor's cache; of a thousand as JSON it would not."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be captured."""

    wishes: tuple[Wish, ...] = ()
    wanted: Expression | None = None
    words: str = ""
    """Of the filter, as they were given."""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of a capture."""

    captured: int
    skipped: int
    """Packets that were wanted and found no room: they came faster than they were told."""
    went_down: tuple[str, ...] = ()
    """Points whose device went down, or away, meanwhile."""
    unheard: bool = False
    """Whether nobody reads any more what is told."""


class Audience(Protocol):
    """Who is told."""

    def begin(self, views: Sequence[View]) -> None:
        """Where it will be listened: the points in the order of their numbers."""

    def tell(self, batch: Sequence[Captured]) -> None:
        """What passed, in order. Raises `BrokenPipeError` where nobody reads it any more."""

    def end(self, summary: Summary) -> None:
        """There will be no more."""


def capture(
    request: Request, lab: Lab | None, stop: Stop, audience: Audience | None, file: BinaryIO | None = None
) -> Summary:
    """Listens until it is enough, tells the audience and writes the file.

    In a lab a child process does that, which shares both. Raises `NankeenError`.
    """
    if lab is None:
        return _attend(request, None, stop, audience, file)

    def in_child() -> Summary:
        stop.hear_only()
        return _attend(request, lab, stop, audience, file)

    return inside(lab, in_child)


def _attend(request: Request, lab: Lab | None, stop: Stop, audience: Audience | None, file: BinaryIO | None) -> Summary:
    points, ports = find(request.wishes, lab)
    with opened(points, request.wanted, ports) as taps:
        captured, unheard = 0, False

        def summary() -> Summary:
            down = tuple(point.name for point, tap in zip(points, taps, strict=True) if tap.went_down)
            return Summary(captured, sum(tap.dropped for tap in taps), down, unheard)

        try:
            recording = Recording(file, points, taps, request.words) if file else None
            if audience:
                audience.begin([View(point.name, tap.link, ports) for point, tap in zip(points, taps, strict=True)])
            for batch in listen(taps, stop, request.limits):
                captured += len(batch)
                if recording:
                    recording.write(batch)
                if audience:
                    for piece in pieces(batch):
                        audience.tell(piece)
            if recording:
                recording.end()
            if audience:
                audience.end(summary())
        except BrokenPipeError:
            unheard = True
        return summary()


def pieces(batch: Sequence[Captured]) -> Iterator[Sequence[Captured]]:
    """Of a size that is best told at once."""
    for start in range(0, len(batch), _TOLD_AT_ONCE):
        yield batch[start : start + _TOLD_AT_ONCE]


@contextmanager
def opened(points: Sequence[Point], wanted: Expression | None, ports: TunnelPorts) -> Iterator[list[Tap]]:
    """A tap at each point, that hears what is wanted. Raises `KernelError` and `InputError`."""
    size = min(RING, ALL_RINGS // max(len(points), 1))
    program: Filter | None = None
    if wanted is not None:
        asked = wanted
        program = lambda link: compile_filter(asked, link, ports)  # noqa: E731 (a name for what may be None)
    with ExitStack() as stack:
        yield [stack.enter_context(_tap(point, program, size)) for point in points]


def _tap(point: Point, program: Filter | None, size: int) -> Tap:
    try:
        if point.namespace is None:
            return Tap(None, point.device, program, size=size)
        with Namespace.open(point.namespace) as namespace:
            return Tap(namespace, point.device, program, size=size)
    except KernelError as error:
        raise KernelError(error.problem, where=point.name, remedy=error.remedy, errno=error.errno) from error
