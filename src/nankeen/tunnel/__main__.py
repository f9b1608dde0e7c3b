"""The data path process: `python -P -m nankeen.tunnel --socket PATH`.

It waits to be told what to do, and does it until it is told to stop, or SIGTERM. Who told it may go, and another come.
"""

from __future__ import annotations

import argparse
import gc
import select
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from nankeen.model.errors import NankeenError
from nankeen.tunnel.control import (
    SOCKET,
    Answer,
    Ask,
    Change,
    Configure,
    Done,
    Known,
    Refused,
    Report,
    Request,
    Show,
    Stop,
)
from nankeen.tunnel.listener import Listener
from nankeen.tunnel.path import DataPath


class Process:
    """The loop, and the data path, once there is one."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._poll = select.epoll()
        self._poll.register(listener.fileno(), select.EPOLLIN)
        self._path: DataPath | None = None
        self._running = True

    def run(self) -> None:
        """Until it is told to stop."""
        while self._running:
            handlers = self._path.handlers if self._path else {}
            for descriptor, events in self._poll.poll():
                handler = handlers.get(descriptor)
                if handler is None:
                    self._serve()
                elif events & select.EPOLLERR and self._path and self._path.is_dead(descriptor):
                    self._poll.unregister(descriptor)  # it would be ready for ever, until it is configured anew
                else:
                    handler()

    def _serve(self) -> None:
        for connection, request in self._listener.ready():
            self._listener.answer(connection, self._handle(request))

    def _handle(self, request: Request) -> Answer:
        match request:
            case Configure(settings):
                if self._path is None or not self._path.takes(settings):
                    return self._begin(request)
            case Change():
                if self._path is None or self._path.settings.device != request.device:
                    return Refused(f"there is no data path of {request.device} to change")
                self._path.change(request)
            case Ask():
                return self._path.report() if self._path else Report()
            case Show():
                return Known(self._path.known() if self._path else None)
            case Stop():
                self._running = False
        return Done()

    def _begin(self, request: Configure) -> Answer:
        """A data path with other sockets or another device: the one before has to let go of its own first."""
        if self._path is not None:
            self._path.close()
            self._path = None
        try:
            self._path = DataPath(request.settings)
        except (NankeenError, OSError) as error:
            return Refused(str(error))
        self._path.register(self._poll)
        gc.freeze()  # what stands now stays
        return Done()


def main(arguments: Sequence[str] | None = None) -> int:
    """The process; returns its exit status."""
    parser = argparse.ArgumentParser(prog="nankeen.tunnel", description="The data path of the udp backend.")
    parser.add_argument("--socket", type=Path, default=SOCKET, help="where it is told what to do")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with Listener(parser.parse_args(arguments).socket) as listener:
            Process(listener).run()
    except (NankeenError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201  (its log)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
