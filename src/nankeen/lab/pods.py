"""A lab's pods: a pause process that holds a pod's namespaces, and the containers that join it.

A container answers on a TCP port of its own with one line of JSON: its name, the address it was reached at, and the
address of who asked.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from nankeen.kernel import namespace, syscalls
from nankeen.lab import mounts
from nankeen.lab.forks import fork, last_words
from nankeen.lab.lab import LabContainer, LabPod, Namespaces
from nankeen.model.errors import LabError

FIRST_PORT = 8080
_SANDBOX = syscalls.CLONE_NEWNET | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS


def start_sandboxes(pods: Iterable[LabPod], logs: Path) -> list[LabPod]:
    """Starts the pause processes of pods and names their network namespaces. Raises `LabError`."""
    started = [(pod, *_start_pause(pod.name, logs / f"{pod.name}.log")) for pod in pods]
    return [_sandbox(pod, pid, ready, logs / f"{pod.name}.log") for pod, pid, ready in started]


@dataclass(frozen=True, slots=True)
class Starting:
    """A container that was started and will tell when it answers."""

    container: LabContainer
    ready: int
    """The descriptor that it tells it on."""
    log: Path


def start_containers(pod: LabPod, number: int, logs: Path) -> list[Starting]:
    """Starts containers `c1…` in a pod."""
    log = logs / f"{pod.name}.log"
    return [_start_container(pod, f"c{i}", FIRST_PORT + i - 1, log) for i in range(1, number + 1)]


def await_start(starting: Starting) -> LabContainer:
    """The container, as soon as it answers. Raises `LabError`."""
    _await(starting.ready, f"container {starting.container.name}", starting.log)
    return starting.container


def stop(pod: LabPod) -> None:
    """Ends the processes of a pod and takes the name of its network namespace away."""
    pauses = [_pause(pod)] if pod.namespaces.ipc else []
    for pid in (*(container.pid for container in pod.containers), *pauses):
        _end(pid)
    namespace.remove(pod.namespaces.network.name)


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return  # it ended before, and was reaped


def _start_pause(name: str, log: Path) -> tuple[int, int]:
    ready, tell = os.pipe()

    def work() -> int:
        syscalls.unshare(_SANDBOX)
        socket.sethostname(name)
        os.write(tell, b".")
        os.close(tell)
        while True:
            signal.pause()

    pid = fork(name, work, log, keep=(tell,))
    os.close(tell)
    return pid, ready


def _sandbox(pod: LabPod, pid: int, ready: int, log: Path) -> LabPod:
    _await(ready, f"pod {pod.name}", log)
    path = pod.namespaces.network
    path.touch(mode=0o444, exist_ok=False)
    namespace.bind(path, pid)
    process = Path(f"/proc/{pid}/ns")
    namespaces = Namespaces(path, uts=process / "uts", ipc=process / "ipc")
    return replace(pod, namespaces=namespaces, sandbox=os.urandom(32).hex())


def _pause(pod: LabPod) -> int:
    if pod.namespaces.ipc is None:
        raise LabError("has no pause process", where=f"pod {pod.name}")
    return int(pod.namespaces.ipc.parts[2])


def _start_container(pod: LabPod, name: str, port: int, log: Path) -> Starting:
    ready, tell = os.pipe()
    ours = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    joined = [os.open(f"/proc/{_pause(pod)}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("net", "ipc", "uts")]

    def work() -> int:
        for descriptor in joined:
            syscalls.setns(descriptor)
            os.close(descriptor)
        mounts.enter_container_mounts()
        with _listen(port) as server:
            os.write(tell, b".")
            os.close(tell)
            _serve(server, f"{pod.name}/{name}")

    try:
        syscalls.unshare(syscalls.CLONE_NEWPID)  # for the next child, which becomes its first process
        pid = fork(f"{pod.name}/{name}", work, log, keep=(tell, *joined))
        syscalls.setns(ours, syscalls.CLONE_NEWPID)
    finally:
        for descriptor in (tell, ours, *joined):
            os.close(descriptor)
    return Starting(LabContainer(name, pid, port), ready, log)


def _await(ready: int, what: str, log: Path) -> None:
    try:
        if not os.read(ready, 1):
            raise LabError(f"does not start: {last_words(log)}", where=what, remedy=f"see {log}")
    finally:
        os.close(ready)


def _listen(port: int) -> socket.socket:
    if not socket.has_dualstack_ipv6():
        return socket.create_server(("", port), backlog=128)
    return socket.create_server(("", port), family=socket.AF_INET6, backlog=128, dualstack_ipv6=True)


def _serve(server: socket.socket, name: str) -> NoReturn:
    """Answers for ever. Who hangs up early harms nobody."""
    while True:
        connection, client = server.accept()
        with connection:
            answer = {"container": name, "address": _plain(connection.getsockname()[0]), "client": _plain(client[0])}
            try:
                connection.sendall(json.dumps(answer).encode() + b"\n")
            except (BrokenPipeError, ConnectionResetError):
                continue


def _plain(address: str) -> str:
    """An IPv4 address as such, also where the socket speaks both families (RFC 4291 §2.5.5.2)."""
    return address.removeprefix("::ffff:")
