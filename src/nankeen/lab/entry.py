"""Going in: from the machine into a lab, and from there into one of its nodes or pods (setns(2))."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nankeen.kernel import syscalls
from nankeen.lab.lab import Lab, LabContainer, LabPod, Namespaces
from nankeen.model.errors import LabError


def enter_lab(lab: Lab) -> None:
    """Moves this process to where the paths of the lab's network namespaces hold, and where it may enter them.

    A root's lab needs nothing. For a user's the process, which must have one thread, enters the lab's user, mount
    and a network namespace of the lab and stays there; it is root inside. Raises `LabError`.
    """
    if lab.rootless:
        _enter_supervisor(
            lab, ["user", "mnt", "net"]
        )  # "net" too: from a member's one may not come back to the machine's


def run_inside(
    lab: Lab,
    namespaces: Namespaces,
    command: Sequence[str],
    container: LabContainer | None = None,
    output: tuple[int, int] = (1, 2),
) -> int:
    """Runs a command in a member's namespaces (and in a container of a pod) and returns its exit status.

    As a shell has it: 127 where the command is not found, 126 where it cannot be executed, 128 + n where signal n
    ended it. `output` is where its standard output and error go. This process is moved for good, as by `enter_lab`.
    Raises `LabError`.
    """
    _enter_supervisor(lab, ["user", "mnt", "pid"] if lab.rootless else ["mnt", "pid"])
    _enter([path for path in (namespaces.network, namespaces.uts, namespaces.ipc) if path])
    if container is not None:
        _enter([Path(f"/proc/{container.pid}/ns/pid"), Path(f"/proc/{container.pid}/ns/mnt")])
    elif namespaces.mount is not None:
        _enter([namespaces.mount])
    child = os.fork()  # only a child is in the new PID namespace
    if child == 0:
        for number, descriptor in enumerate(output, 1):
            os.dup2(descriptor, number)
        _execute(command)
    status = os.waitstatus_to_exitcode(_wait(child))
    return status if status >= 0 else 128 - status


def container_of(pod: LabPod, name: str | None) -> LabContainer:
    """The pod's container of that name; its first one for None. Raises `LabError`."""
    for container in pod.containers:
        if name in (None, container.name):
            return container
    names = ", ".join(container.name for container in pod.containers) or "none"
    raise LabError(f"has no container {name!r}", where=f"pod {pod.name}", remedy=f"there are: {names}")


def _enter_supervisor(lab: Lab, kinds: Sequence[str]) -> None:
    if lab.supervisor is None or not lab.is_alive:
        raise LabError("is not running", where=f"lab {lab.name}")
    _enter([Path(f"/proc/{lab.supervisor.pid}/ns/{kind}") for kind in kinds])


def _enter(paths: Sequence[Path]) -> None:
    """All are opened before the first is entered: entering a mount namespace changes what the paths mean."""
    descriptors: list[int] = []
    try:
        for path in paths:
            descriptors.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))  # noqa: PERF401 (closed also when one fails)
        for descriptor in descriptors:
            syscalls.setns(descriptor)
    except OSError as error:
        where = error.filename or ", ".join(map(str, paths))
        raise LabError(f"cannot enter: {error.strerror}", where=where) from error
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _execute(command: Sequence[str]) -> None:
    try:
        os.execvp(command[0], list(command))  # noqa: S606 (this is what is asked for)
    except OSError as error:
        os.write(2, f"nankeen: {command[0]}: {error.strerror}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def _wait(child: int) -> int:
    """The child's wait status. Signals from the keyboard reach the child by itself: it is in the same process group."""
    while True:
        try:
            return os.waitpid(child, 0)[1]
        except KeyboardInterrupt:
            continue
