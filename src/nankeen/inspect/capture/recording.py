"""A capture written to a file as it goes: whole packets only, so that it can be opened at any time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import BinaryIO

from nankeen.inspect.capture import pcapng
from nankeen.inspect.capture.order import Captured
from nankeen.inspect.capture.point import Point
from nankeen.kernel.tap import Tap
from nankeen.model.errors import KernelError


class Recording:
    """A section of a file, with an interface for each point."""

    def __init__(self, file: BinaryIO, points: Sequence[Point], taps: Sequence[Tap], words: str = "") -> None:
        """Begins it; `words` are the filter's. Raises `KernelError` where the file cannot be written.

        A file without a buffer is best: it has nothing to write when it is closed after an error.
        """
        self._file, self._taps = file, taps
        interfaces = [
            pcapng.Interface(point.name, tap.link, _place(point), words)
            for point, tap in zip(points, taps, strict=True)
        ]
        comment = f"captured with filter: {words}" if words else "captured without a filter"
        write_whole(file, pcapng.head(interfaces, comment))

    def write(self, batch: Sequence[Captured]) -> None:
        """Adds packets. Raises `KernelError`, and `BrokenPipeError` where nobody reads it any more."""
        write_whole(self._file, b"".join([pcapng.packet(point, frame) for _, point, frame in batch]))

    def end(self) -> None:
        """Adds how many packets found no room. Raises as `write` does."""
        now = time.time_ns()
        skipped = (pcapng.statistics(number, now, tap.dropped) for number, tap in enumerate(self._taps))
        write_whole(self._file, b"".join(skipped))


def write_whole(file: BinaryIO, data: bytes) -> None:
    """Writes all of it, also where a file without a buffer takes only a part at once, as a pipe does on a signal.

    Raises `KernelError`, and `BrokenPipeError` where nobody reads it any more.
    """
    try:
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]
        file.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        problem = f"cannot be written: {error.strerror}"
        raise KernelError(problem, where=str(getattr(file, "name", "the file")), errno=error.errno or 0) from error


def _place(point: Point) -> str:
    return f"{point.device} in {point.namespace}" if point.namespace else f"{point.device} of this machine"
