"""The supervisor: process 1 of a lab's PID namespace. With it dies every process of the lab (pid_namespaces(7))."""

from __future__ import annotations

import gc
import json
import os
import resource
import selectors
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nankeen.kernel import syscalls
from nankeen.kernel.namespace import NAMED
from nankeen.lab import control, mounts
from nankeen.lab.cluster import Cluster
from nankeen.lab.lab import Lab
from nankeen.lab.record import document, read
from nankeen.lab.topology import Topology
from nankeen.model.errors import NankeenError

LOG = "supervisor.log"


def supervise(directory: Path, topology: Topology, progress: int) -> int:
    """Builds the lab, says so on `progress`, and stays. Returns the exit status of a lab that could not be built."""
    gc.collect()
    gc.freeze()  # forks share what is never looked at again
    _allow_many_files()
    Path("/proc/self/comm").write_text("nankeen-lab")
    try:
        cluster = _enter(read(directory))
        with control.listen(cluster.lab.directory) as server:
            cluster.build(topology, lambda text: _tell(progress, {"progress": text}))
            _tell(progress, {"ready": True})
            os.close(progress)
            _serve(server, cluster)
    except BrokenPipeError:
        return 1  # who wanted the lab has gone before it was ready
    except NankeenError as error:
        _tell(progress, {"problem": error.problem, "where": error.where, "remedy": error.remedy})
    except OSError as error:
        _tell(progress, {"problem": f"{error.strerror}", "where": str(error.filename or ""), "remedy": ""})
    return 1


def _enter(lab: Lab) -> Cluster:
    syscalls.unshare(syscalls.CLONE_NEWNET | syscalls.CLONE_NEWUTS)  # its own, to come back to from others
    kept = [] if lab.rootless else [NAMED, lab.directory.parent]
    mounts.enter_lab_mounts(kept)
    return Cluster(lab)


def _serve(server: socket.socket, cluster: Cluster) -> None:
    """One request after the other, and what has ended in between. Never returns."""
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        cluster.reap()
        while True:
            for key, _ in selector.select():
                if key.fileobj is woken:
                    woken.recv(4096)
                    cluster.reap()
                else:
                    control.answer(server, lambda request: _handle(cluster, request))


def _handle(cluster: Cluster, request: Mapping[str, Any]) -> object:
    match request:
        case {"do": "pod add", "node": node, "containers": int(containers), "asked": dict(asked)}:
            pod = cluster.add_pod(node, containers, asked)
            return {**document(pod), **cluster.ask_each_other(pod.name)}
        case {"do": "differences"}:
            return cluster.differences()
        case {"do": "pod del", "pod": str(name)}:
            cluster.delete_pod(name)
            return name
        case {"do": "agent restart", "node": str(node), "kill": bool(kill)}:
            return cluster.restart_agent(node, kill=kill)
        case _:
            raise ValueError("unknown request")


def _tell(progress: int, event: Mapping[str, object]) -> None:
    os.write(progress, json.dumps(event).encode() + b"\n")


def _allow_many_files() -> None:
    """Each node needs three open namespaces here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
