"""The agent's log: one line an event, on standard error, readable by people and by `journalctl`."""

from __future__ import annotations

import logging
import sys
import time

from nankeen.model.printable import printable


class _Formatter(logging.Formatter):
    """`2026-11-23T05:54:26.123Z info  agent: lease 10.244.1.0/24`; INFO is not shouted."""

    converter = staticmethod(time.gmtime)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"

    def format(self, record: logging.LogRecord) -> str:
        record.level = record.levelname.lower()
        record.place = record.name.removeprefix("nankeen.")
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """In one line, whatever somebody else had a part in: no name of a node can write a line of its own."""
        record.message = printable(record.message)
        return super().formatMessage(record)


def start(level: int = logging.INFO) -> None:
    """Sends the log of the whole program to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(level)-7s %(place)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
