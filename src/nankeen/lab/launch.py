"""Bringing a lab up, from outside.

    lab up ──fork──▶ launcher ──[user namespace], PID namespace, fork──▶ supervisor (process 1 of the lab)
       ◀── its number ───────────────┘ ends                                  │
       ── "go", once the record names it ───────────────────────────────────▶│
       ◀── progress, then "ready" or what went wrong ────────────────────────┘

A supervisor that never hears "go" ends, so whatever runs is in a record, and `down` finds it.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from nankeen.kernel import namespace, syscalls
from nankeen.lab import mounts, places, record, supervisor
from nankeen.lab.forks import last_words
from nankeen.lab.lab import Lab
from nankeen.lab.planned import planned
from nankeen.lab.process import Process
from nankeen.lab.teardown import down
from nankeen.lab.topology import Topology
from nankeen.model.errors import LabError

_GO = b"g"


def up(topology: Topology, progress: Callable[[str], None] = lambda _: None) -> Lab:
    """Builds and starts a lab; returns when every agent has its routes and every pod answers. Raises `LabError`.

    What was built is taken down again when building fails or is interrupted.
    """
    lab = _claim(topology)
    try:
        _start(lab, topology, progress)
    except BaseException:
        if lab.directory.is_dir():
            down(record.read(lab.directory))
        raise
    return record.find_lab(lab.name)


def _claim(topology: Topology) -> Lab:
    """Takes the name: makes the lab's directory and first record. Raises `LabError` where it is taken."""
    directory = _make_directory(topology.name)
    lab = planned(topology, directory, rootless=places.is_rootless())
    taken = {member.namespaces.network.name for member in lab.members}.intersection(namespace.names())
    if taken and not lab.rootless:
        directory.rmdir()
        problem = f"the network namespace {min(taken)} exists already"
        raise LabError(problem, where=f"lab {lab.name}", remedy="choose another --name")
    record.save(lab)
    return lab


def _make_directory(name: str) -> Path:
    while True:
        directory = places.prepare_home() / name
        try:
            directory.mkdir(mode=0o700)
        except FileNotFoundError:
            continue  # the last lab but this one has just gone, and the home of all with it
        except FileExistsError:
            remedy = f"take it down: `nankeen lab down --name {name}`, or choose another --name"
            raise LabError("exists already", where=f"lab {name}", remedy=remedy) from None
        return directory


def _start(lab: Lab, topology: Topology, progress: Callable[[str], None]) -> None:
    if not lab.rootless:
        mounts.prepare_machine()
    number, tell_number = os.pipe()
    hear_go, go = os.pipe()
    events, tell_events = os.pipe()
    launcher = os.fork()
    if launcher == 0:
        _launch(lab, topology, tell_number, hear_go, tell_events)
    for descriptor in (tell_number, hear_go, tell_events):
        os.close(descriptor)
    with os.fdopen(number) as told, os.fdopen(go, "wb", buffering=0) as switch, os.fdopen(events) as lines:
        pid = _checked(told.read(), lab)["supervisor"]
        os.waitpid(launcher, 0)
        record.save(replace(lab, supervisor=Process.of(pid)))
        switch.write(_GO)
        for line in lines:
            event = _checked(line, lab)
            if "ready" in event:
                return
            progress(event["progress"])
    _checked("", lab)


def _checked(line: str, lab: Lab) -> dict[str, Any]:
    """An event. Raises `LabError` where it tells of a problem, or there is none because who should tell has ended."""
    if not line:
        raise LabError(f"its supervisor ended: {last_words(lab.directory / supervisor.LOG)}", where=f"lab {lab.name}")
    event: dict[str, Any] = json.loads(line)
    if "problem" in event:
        raise LabError(event["problem"], where=event["where"], remedy=event["remedy"])
    return event


def _launch(lab: Lab, topology: Topology, tell_number: int, hear_go: int, tell_events: int) -> NoReturn:
    """The launcher: makes the namespaces that only a child can be the first process of."""
    try:
        os.setsid()  # the keyboard's signals are for `lab up`, which takes down what it began
        _let_go(lab.directory / supervisor.LOG, (tell_number, hear_go, tell_events))
        if lab.rootless:
            _enter_user_namespace()
        syscalls.unshare(syscalls.CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            os.close(tell_number)
            _supervise(lab.directory, topology, hear_go, tell_events)
        os.write(tell_number, json.dumps({"supervisor": pid}).encode())
    except OSError as error:
        os.write(tell_number, json.dumps(_refusal(lab, error)).encode())
    finally:
        os._exit(0)


def _supervise(directory: Path, topology: Topology, hear_go: int, tell_events: int) -> NoReturn:
    status = 1
    try:
        if os.read(hear_go, 1) == _GO:
            os.close(hear_go)
            status = supervisor.supervise(directory, topology, tell_events)
    except Exception:  # noqa: BLE001 (its log is the last place where it can be told)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _let_go(log: Path, keep: tuple[int, ...]) -> None:
    """Keeps nothing of what `lab up` had open: not its terminal, nor a pipe that somebody reads to the end."""
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    kept = sorted({2, *keep})
    for low, high in zip(kept, [*kept[1:], 1 << 30], strict=True):
        os.closerange(low + 1, high)
    os.chdir("/")
    os.umask(0o022)


def _enter_user_namespace() -> None:
    """A user namespace in which this user is root (user_namespaces(7)): a single ID is mapped, which needs no help."""
    user, group = os.getuid(), os.getgid()
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def _refusal(lab: Lab, error: OSError) -> dict[str, str]:
    problem = f"this machine does not let us make namespaces: {error.strerror}"
    remedy = "run as root"
    if lab.rootless and error.errno in (errno.EPERM, errno.EACCES, errno.ENOSPC):
        remedy = (
            "run as root, or allow user namespaces: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
            "kernel.apparmor_restrict_unprivileged_userns"
        )
    return {"problem": problem, "where": f"lab {lab.name}", "remedy": remedy}
