"""Work whose process is killed: at everything that it asks of the system, one after the other."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterable
from typing import Any

Call = tuple[object, str]
"""A function that is one, by its owner and its name there."""


def killed_at(number: int, work: Callable[[], object], calls: Iterable[Call]) -> bool:
    """Whether a child that did the work was killed before the `number`-th of the calls; False where it came to its end.

    What the child changes of these functions, and of everything else in memory, ends with it.
    """
    child = os.fork()
    if not child:
        gc.disable()  # what other tests left, gRPC's channels for one, waits for threads that are not here
        status = 1
        try:
            _die_at(number, calls)
            work()
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    assert os.WIFSIGNALED(ended) or os.WEXITSTATUS(ended) == 0
    return os.WIFSIGNALED(ended)


def _die_at(number: int, calls: Iterable[Call]) -> None:
    left = number

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        return counted

    for owner, name in calls:
        setattr(owner, name, deadly(getattr(owner, name)))
