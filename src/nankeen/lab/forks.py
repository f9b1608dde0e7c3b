"""Processes of a lab: forks of its supervisor, so that none pays for starting an interpreter (fork(2)).

A fork keeps none of the supervisor's descriptors but those it is given, and writes what it has to say to its log.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from nankeen.model.errors import LabError, NankeenError

Work = Callable[[], int]


def fork(name: str, work: Work, log: Path, keep: Collection[int] = ()) -> int:
    """Starts a process that does `work` and ends with what it returns; returns its number.

    `name` is what `ps` shows (15 bytes of it), `keep` the descriptors that it goes on using.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _become(name, work, log, keep)
    return pid


@dataclass(frozen=True, slots=True)
class Job:
    """A fork that does one thing and answers with one JSON document."""

    pid: int
    answer: int
    """The descriptor that it answers on."""
    what: str
    """What it does, in words: where an error of it happened."""
    log: Path

    @classmethod
    def start(cls, what: str, work: Callable[[], object], log: Path, keep: Collection[int] = ()) -> Job:
        """Starts it. An error that it raises is raised again by `result`."""
        answer, reply = os.pipe()

        def run() -> int:
            with os.fdopen(reply, "w") as file:
                try:
                    json.dump({"answer": work()}, file)
                except NankeenError as error:
                    json.dump({"problem": error.problem, "where": error.where, "remedy": error.remedy}, file)
            return 0

        pid = fork(what, run, log, (reply, *keep))
        os.close(reply)
        return cls(pid, answer, what, log)

    def result(self) -> Any:  # noqa: ANN401 (what JSON can say)
        """Waits for the answer and ends the job. Raises `LabError`."""
        with os.fdopen(self.answer) as file:
            text = file.read()
        os.waitpid(self.pid, 0)
        if not text:
            raise LabError(f"ended without an answer: {last_words(self.log)}", where=self.what)
        answer = json.loads(text)
        if "problem" in answer:
            raise LabError(answer["problem"], where=answer["where"] or self.what, remedy=answer["remedy"])
        return answer["answer"]


def last_words(log: Path) -> str:
    """The last line of a log that says something, for the error about the process that wrote it."""
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    said = (line.strip(" |+-") for line in reversed(lines))  # a group of exceptions is drawn as a tree
    return next((line for line in said if line), "it left no word")


def _become(name: str, work: Work, log: Path, keep: Collection[int]) -> NoReturn:
    status = 1
    try:
        _leave_supervisor(name, log, keep)
        status = work()
    except NankeenError as error:
        print(f"nankeen: {error}", file=sys.stderr)  # noqa: T201 (its log)
    except Exception:  # noqa: BLE001 (the last place where it can be told)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _leave_supervisor(name: str, log: Path, keep: Collection[int]) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    kept = sorted({0, 1, 2, *keep})
    for low, high in zip(kept, [*kept[1:], 1 << 30], strict=True):
        os.closerange(low + 1, high)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    Path("/proc/self/comm").write_text(name[:15])
