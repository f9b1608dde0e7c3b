"""A real etcd for the tests, on loopback, in a directory of its own; and etcdctl, to look at it as others do."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from nankeen.model.lease import LEASE_SECONDS
from nankeen.registry.etcd import EtcdRegistry
from nankeen.registry.etcd_settings import EtcdSettings

Value = TypeVar("Value")
_QUICK = ("--heartbeat-interval=10", "--election-timeout=100", "--logger=zap", "--log-outputs=stderr")
_PATIENCE = 20_000
"""Milliseconds in which etcd must be there."""


def need_etcd() -> None:
    """Skips the test where there is no etcd."""
    packages = {"etcd": "etcd-server", "etcdctl": "etcd-client"}
    missing = [package for program, package in packages.items() if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}, which this machine has not")


def free_port() -> int:
    """One that was not given out before: whoever got it may not listen yet."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in _given:
            _given.add(port)
            return port


_given: set[int] = set()


@dataclass(slots=True)
class EtcdServer:
    """One server, which can be stopped and started again with what it holds."""

    directory: Path
    options: Sequence[str] = ()
    scheme: str = "http"
    host: str = "127.0.0.1"
    command: Sequence[str] = ()
    """What it is run by, such as `ip netns exec`."""
    client_options: Sequence[str] = ()
    """Of etcdctl."""
    name: str = "default"
    members: Mapping[str, str] = field(default_factory=dict)
    """The whole cluster: where each member hears its peers, by its name. Empty for one that is alone."""
    port: int = field(default_factory=free_port)
    _peer_port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None
    _told: socket.socket | None = None

    @property
    def endpoint(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def peer(self) -> str:
        """Where it would hear its peers."""
        return f"http://127.0.0.1:{self._peer_port}"

    def start(self) -> None:
        """Returns when it is ready."""
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """Returns at once: of a cluster, no member is ready before most of them run."""
        places = (
            f"--name={self.name}",
            f"--data-dir={self.data}",
            f"--listen-client-urls={self.endpoint}",
            f"--advertise-client-urls={self.endpoint}",
            f"--listen-peer-urls={self.peer}",
            f"--initial-advertise-peer-urls={self.peer}",
            f"--initial-cluster={self._cluster}",
        )
        ready = self.directory / "ready"
        ready.unlink(missing_ok=True)
        self._told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._told.bind(str(ready))
        with (self.directory / "log").open("ab") as log:
            environment = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(ready)}  # systemd's way, which etcd knows
            command = [*self.command, "etcd", *places, *_QUICK, *self.options]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def await_ready(self) -> None:
        assert self._process is not None
        assert self._told is not None
        ended = os.pidfd_open(self._process.pid)
        try:
            poll = select.poll()
            poll.register(self._told, select.POLLIN)
            poll.register(ended, select.POLLIN)
            assert [descriptor for descriptor, _ in poll.poll(_PATIENCE)] == [self._told.fileno()], self.last_words
        finally:
            os.close(ended)
            self._told.close()
            self._told = None

    @property
    def _cluster(self) -> str:
        return ",".join(f"{name}={peer}" for name, peer in (self.members or {self.name: self.peer}).items())

    @property
    def last_words(self) -> str:
        return (self.directory / "log").read_text()[-2000:]

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        """Ends it, however it is, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._told is not None:
            self._told.close()
            self._told = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It runs, and does nothing."""
        assert self._process is not None
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def ctl(self, *words: str, text: str | None = None) -> str:
        """What etcdctl prints."""
        command = [*self.command, "etcdctl", f"--endpoints={self.endpoint}", *self.client_options, *words]
        environment = {"PATH": os.environ["PATH"], "ETCDCTL_API": "3"}
        done = subprocess.run(command, env=environment, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def put(self, name: str, value: str, lease: str = "0") -> None:
        self.ctl("put", f"--lease={lease}", name, text=value)

    def grant(self, seconds: int) -> str:
        """An etcd lease, as etcdctl names it."""
        return self.ctl("lease", "grant", str(seconds)).split()[1]

    def read(self, prefix: str) -> dict[str, str]:
        """The values of all keys that begin so."""
        answer = json.loads(self.ctl("get", "--prefix", "--write-out=json", prefix))
        return {b64decode(pair["key"]).decode(): b64decode(pair["value"]).decode() for pair in answer.get("kvs", [])}

    def leases(self, prefix: str) -> dict[str, int]:
        """The etcd lease of each of those keys; 0 for none."""
        answer = json.loads(self.ctl("get", "--prefix", "--write-out=json", prefix))
        return {b64decode(pair["key"]).decode(): pair.get("lease", 0) for pair in answer.get("kvs", [])}

    @property
    def revision(self) -> int:
        revision: int = json.loads(self.ctl("get", "--write-out=json", "nothing"))["header"]["revision"]
        return revision


@contextmanager
def running(server: EtcdServer) -> Iterator[EtcdServer]:
    """That server, until the test ends. Skips where there is no etcd."""
    need_etcd()
    server.directory.mkdir(parents=True, exist_ok=True)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@dataclass(slots=True)
class Directory:
    """A registry in an etcd, by what stands below its prefix."""

    server: EtcdServer
    prefix: str = "/coreos.com/network"
    _clients: list[EtcdRegistry] = field(default_factory=list)

    def settings(self, **changes: Any) -> EtcdSettings:  # noqa: ANN401  (a field of the settings)
        return EtcdSettings(**{"endpoints": (self.server.endpoint,), "prefix": self.prefix, **changes})

    def client(self, *, patience: float = 5.0, lease_seconds: int = LEASE_SECONDS, **changes: Any) -> EtcdRegistry:  # noqa: ANN401
        """Opens it once more, as another agent would."""
        made = EtcdRegistry(self.settings(**changes), patience=patience, lease_seconds=lease_seconds)
        self._clients.append(made)
        return made

    def configure(self, text: str) -> None:
        self.server.put(f"{self.prefix}/config", text)

    @property
    def subnets(self) -> dict[str, str]:
        """The values of flannel's keys, by what follows `subnets/`."""
        return self._below("subnets", self.server.read)

    @property
    def names(self) -> dict[str, str]:
        """The notes, by what follows `nodes/`."""
        return self._below("nodes", self.server.read)

    @property
    def leases(self) -> dict[str, int]:
        """The etcd lease of each of flannel's keys."""
        return self._below("subnets", self.server.leases)

    def _below(self, directory: str, read: Callable[[str], dict[str, Value]]) -> dict[str, Value]:
        start = f"{self.prefix}/{directory}/"
        return {name.removeprefix(start): value for name, value in read(start).items()}

    def flannel(self, key: str, value: str, seconds: int = LEASE_SECONDS) -> None:
        """Writes a lease as flannel does."""
        self.server.put(f"{self.prefix}/subnets/{key}", value, self.server.grant(seconds))

    def reserve(self, key: str, value: str) -> None:
        """Reserves a subnet as flannel's documents have it: a lease that hangs on no etcd lease."""
        self.server.put(f"{self.prefix}/subnets/{key}", value)

    def delete(self, key: str) -> None:
        """Takes away a lease as an administrator does who knows flannel."""
        self.server.ctl("del", f"{self.prefix}/subnets/{key}")

    def close(self) -> None:
        for client in self._clients:
            client.close()
