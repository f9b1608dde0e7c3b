"""Cleaning a node up: looking at what stands there, removing what was decided, and looking again.

What cannot be removed does not stop the rest: it is told with the reason.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from nankeen.agent import status, traces
from nankeen.agent.cleanup import Cleanup, Found, cleanup, is_chain_of_theirs
from nankeen.agent.traces import Places, Traces
from nankeen.kernel.apply import apply
from nankeen.kernel.iptables import Engine, Saved
from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.observe import observe
from nankeen.kernel.ruleset import IptablesTable, Ruleset
from nankeen.model.errors import InputError, KernelError
from nankeen.model.state import State
from nankeen.tunnel import ending
from nankeen.tunnel.client import Client

_NO_IPSEC = frozenset({errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT})


class Failure(NamedTuple):
    """What remains, or could not even be looked at, and why."""

    what: str
    why: str


def survey(places: Places, namespace: Namespace | None = None) -> tuple[Found, list[Failure]]:
    """What stands in a network namespace, the caller's own by default, and in those directories; and the tables of the
    packet filter that cannot be read. Raises `KernelError` where the kernel cannot be talked to.
    """
    failures: list[Failure] = []
    saved: dict[IptablesTable, Saved] = {}
    with Ruleset(namespace) as ruleset:
        tables = ruleset.tables()
        for table in ruleset.iptables():
            try:
                saved[table] = ruleset.read(table)
            except KernelError as error:
                # An administrator's own rules may be more than iptables understands.
                if table.engine is Engine.LEGACY or any(map(is_chain_of_theirs, ruleset.chains(table))):
                    failures.append(Failure(str(table), str(error)))
    data_path = asyncio.run(_find_data_path(places.data_path))
    return Found(_state(namespace), tables, saved, traces.find(places), data_path), failures


def remove(plan: Cleanup, places: Places, namespace: Namespace | None = None) -> list[Failure]:
    """Removes all of it, as far as possible and in order. Raises `KernelError` where the kernel cannot be talked to."""
    failures = list(_remove_files(plan.invitations))
    if plan.data_path is not None:
        failures += _attempt("data path", partial(asyncio.run, _end_data_path(places.data_path)))
    with closing(NetlinkSocket(namespace)) as channel:
        refused = apply(channel, plan.changes, namespace)
    failures += [Failure(str(refusal.change.object), refusal.reason) for refusal in refused]
    failures += _remove_rules(plan, namespace)
    return [*failures, *_remove_files(plan.files)]


def remains(
    places: Places, before: Traces, failures: list[Failure], namespace: Namespace | None = None, *, keep_files: bool
) -> list[Failure]:
    """What a second look finds still there, and what failed. `before` knows what files told that are gone by now.

    Raises `KernelError` where the kernel cannot be talked to.
    """
    found, unread = survey(places, namespace)
    known = replace(found.traces, names=before.names, networks=before.networks, foreign_ifbs=before.foreign_ifbs)
    left = cleanup(replace(found, traces=known), keep_files=keep_files)
    told = dict([*failures, *unread])
    lines = [line for group in left.groups.values() for line in group]
    return [*map(Failure._make, told.items()), *(Failure(line, "it came back") for line in lines if line not in told)]


def running(places: Places) -> str | None:
    """The daemon that keeps this node, in words; None where none is running. Flannel's is told by its name, of those in
    this network namespace.
    """
    if _answers(places.socket):
        return f"an agent answers on {places.socket}"
    try:
        told = status.read(places.status)
    except (InputError, OSError):
        told = None  # what is no status file names no process
    if told is not None and _is_agent(told.pid):
        return f"an agent runs, process {told.pid}"
    found = next(_flanneld(), None)
    return None if found is None else f"flanneld runs, process {found}"


def _state(namespace: Namespace | None) -> State:
    with closing(NetlinkSocket(namespace)) as channel:
        try:
            return observe(channel, policies=True)
        except KernelError as error:
            if error.errno not in _NO_IPSEC:
                raise
            return observe(channel)


async def _find_data_path(socket: Path) -> int | None:
    """The process that listens there."""
    try:
        client = await Client.connect(socket)
    except KernelError:
        return None
    client.close()
    return client.pid


async def _end_data_path(socket: Path) -> None:
    try:
        client = await Client.connect(socket)
    except KernelError:  # it has ended by itself
        return
    await ending.end(client)


def _remove_rules(plan: Cleanup, namespace: Namespace | None) -> Iterator[Failure]:
    with Ruleset(namespace) as ruleset:
        for table in plan.tables:
            yield from _attempt(str(table), partial(ruleset.delete, table))
        for item in plan.rules:
            for failure in _attempt("", partial(ruleset.change, item.table, item.commands)):
                yield from (Failure(f"{item.table} {rule}", failure.why) for rule in item.rules)


def _remove_files(paths: tuple[Path, ...]) -> Iterator[Failure]:
    for path in paths:
        yield from _attempt(str(path), partial(_remove_file, path))


def _attempt(what: str, deed: Callable[[], None]) -> Iterator[Failure]:
    try:
        deed()
    except KernelError as error:
        yield Failure(what, str(error))
    except OSError as error:
        yield Failure(what, error.strerror or str(error))


def _remove_file(path: Path) -> None:
    """A directory with all that is in it; of a symbolic link the link alone. What has gone already is no error."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        return


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        try:
            connection.connect(str(path))
        except BlockingIOError:  # its queue is full: there is one who has yet to take from it
            return True
        except OSError:
            return False
    return True


def _is_agent(pid: int) -> bool:
    """Whether the process of that number is an agent: after a crash, somebody else may have the number."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    called = {b"agent", b"flanneld"} & {*words}
    return pid != os.getpid() and bool(called) and any(b"nankeen" in word for word in words)


def _flanneld() -> Iterator[int]:
    """The numbers of flannel's daemons in this network namespace."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_bytes() == b"flanneld\n" and (process / "ns/net").samefile("/proc/self/ns/net"):
                yield int(process.name)
        except OSError:  # it has ended
            continue
