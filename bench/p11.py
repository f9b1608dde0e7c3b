"""P11: how long a lab of 50 nodes and 50 pods takes to build and to remove, as root and as an ordinary user.

It is held against the shortest thing that could be called a lab: a script of `ip` that makes the same namespaces and
cables and nothing else.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial

from bench.cluster import need_root
from bench.process import NK, run
from bench.row import Measure, Reach, Row

_NODES = 50
_ORDINARY = 65534
"""nobody: a user who may do nothing in particular."""


def _seconds(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


@cache
def _lab_times(round_number: int, *, ordinary: bool) -> tuple[float, float]:
    """Seconds to build a lab and to remove it. Measured once a round, for the two rows that tell of it."""
    name = f"bench-{os.getpid()}-{round_number}"
    command = (*_as(ordinary=ordinary), NK, "lab")
    up = (*command, "up", "--name", name, "--nodes", str(_NODES), "--pods", str(_NODES))
    down = (*command, "down", "--name", name)
    return _seconds(lambda: run(up)), _seconds(lambda: run(down))


def _as(*, ordinary: bool) -> Sequence[str]:
    if not ordinary:
        return ()
    return ("setpriv", f"--reuid={_ORDINARY}", f"--regid={_ORDINARY}", "--clear-groups", "--")


@cache
def _script_times(round_number: int) -> tuple[float, float]:
    """Seconds that the `ip` script needs to build and to remove. Each line is a process, as people write them."""
    prefix = f"b{os.getpid()}-{round_number}"
    return _seconds(lambda: _run_script(_build(prefix))), _seconds(lambda: _run_script(_remove(prefix)))


def _run_script(lines: Iterator[str]) -> None:
    run(("sh", "-e"), given="\n".join(lines))


def _build(prefix: str) -> Iterator[str]:
    switch = f"{prefix}-sw"
    yield f"ip netns add {switch}"
    yield f"ip -n {switch} link add sw type bridge"
    yield f"ip -n {switch} link set sw up"
    for number in range(1, _NODES + 1):
        node, pod = f"{prefix}-n{number}", f"{prefix}-p{number}"
        yield f"ip netns add {node}"
        yield f"ip netns add {pod}"
        yield f"ip -n {switch} link add port{number} master sw type veth peer name eth0 netns {node}"
        yield f"ip -n {switch} link set port{number} up"
        yield f"ip -n {node} address add 192.168.0.{10 + number}/24 dev eth0"
        yield f"ip -n {node} link set eth0 up"
        yield f"ip -n {node} link add veth0 type veth peer name eth0 netns {pod}"
        yield f"ip -n {node} link set veth0 up"
        yield f"ip -n {pod} address add 10.244.{number}.2/24 dev eth0"
        yield f"ip -n {pod} link set eth0 up"


def _remove(prefix: str) -> Iterator[str]:
    for number in range(1, _NODES + 1):
        yield f"ip netns delete {prefix}-n{number}"
        yield f"ip netns delete {prefix}-p{number}"
    yield f"ip netns delete {prefix}-sw"


@contextmanager
def _prepare(*, ordinary: bool, part: int) -> Iterator[Measure]:
    need_root()
    yield lambda number: (_lab_times(number, ordinary=ordinary)[part], _script_times(number)[part])


def _row(row_id: str, who: str, *, ordinary: bool, down: bool) -> Row:
    return Row(
        id=row_id,
        what=f"lab of {_NODES} nodes and {_NODES} pods, {'removed' if down else 'built'} {who}",
        unit="s",
        against="`ip` script, links only",
        reach=Reach("≤", 1 if down else 5, "s"),
        prepare=partial(_prepare, ordinary=ordinary, part=int(down)),
    )


ROWS = (
    _row("P11", "by root", ordinary=False, down=False),
    _row("P11.down", "by root", ordinary=False, down=True),
    _row("P11.user", "by a user", ordinary=True, down=False),
    _row("P11.user-down", "by a user", ordinary=True, down=True),
)
