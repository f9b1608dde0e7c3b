r"""containerd on a node of a lab: a real container runtime, which finds the node's agent as it would on any machine.

It is asked in Kubernetes' own words, as a kubelet does (`rpc.proto`). Its messages are made anew from the checkout:

    .venv/bin/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. tests/lab/cri/rpc.proto
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

import grpc
import pytest

from tests.lab.cri import rpc_pb2 as rpc
from tests.lab.cri.image import archive

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from nankeen.lab import Lab
    from nankeen.model.address import IPAddress

IMAGE = "nankeen.test/pause:1"
BUSYBOX = Path("/usr/bin/busybox")
CGROUPS = Path("/sys/fs/cgroup")
_SECONDS = 60
_number = count(1)
_Answer = TypeVar("_Answer", bound="Message")

_CONFIG = """\
version = 2
root = "{directory}/root"
state = "{directory}/state"
[grpc]
address = "{directory}/sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{directory}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
disable_apparmor = true
disable_tcp_service = true
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
conf_dir = "{configurations}"
"""


@dataclass(frozen=True)
class Sandbox:
    """A pod sandbox that runs."""

    id: str
    addresses: tuple[IPAddress, ...]


@dataclass
class Containerd:
    """containerd on one node; its files are in a directory of its own."""

    lab: Lab
    node: str
    directory: Path
    configurations: Path
    """Where it looks for network configurations, as the node sees it."""
    process: subprocess.Popen[bytes] | None = None
    channel: grpc.Channel = field(init=False)

    @property
    def cgroup(self) -> str:
        """What its pods are in."""
        return f"/nankeen-{self.directory.name}"

    def start(self) -> None:
        """Returns when it answers."""
        config = _CONFIG.format(directory=self.directory, image=IMAGE, configurations=self.configurations)
        (self.directory / "config.toml").write_text(config)
        with (self.directory / "log").open("ab") as log:
            script = f"exec containerd --config {self.directory}/config.toml"
            self.process = subprocess.Popen(alone_on(self.lab, self.node, script), stdout=log, stderr=log)
        self.channel = grpc.insecure_channel(f"unix:{self.directory / 'sock'}")
        self.ready()

    def kill(self) -> None:
        """Ends it and all of its pods at once, as a machine that loses its power does."""
        if self.process is not None:
            self.channel.close()
            self.process.kill()
            self.process.wait()
            self.process = None

    def ready(self) -> dict[str, bool]:
        """Whether the runtime and its network are."""
        status = self._call("Status", rpc.StatusRequest(), rpc.StatusResponse).status
        return {condition.type: condition.status for condition in status.conditions}

    def load(self) -> None:
        """Gives it the image of pods' pause containers."""
        file = self.directory / "image.tar"
        file.write_bytes(archive(IMAGE, BUSYBOX))
        self._ctr("images", "import", str(file))

    def run(self, *ports: rpc.PortMapping, annotations: Mapping[str, str] = MappingProxyType({})) -> Sandbox:
        """Starts a sandbox, with its network."""
        name = f"pod{next(_number)}"
        metadata = rpc.PodSandboxMetadata(name=name, uid=f"{name}-uid", namespace="default")
        config = rpc.PodSandboxConfig(
            metadata=metadata,
            hostname=name,
            log_directory=str(self.directory / "logs"),
            port_mappings=ports,
            annotations=annotations,
            linux=rpc.LinuxPodSandboxConfig(cgroup_parent=self.cgroup),
        )
        asked = rpc.RunPodSandboxRequest(config=config)
        sandbox = self._call("RunPodSandbox", asked, rpc.RunPodSandboxResponse).pod_sandbox_id
        return Sandbox(sandbox, self._addresses(sandbox))

    def _addresses(self, sandbox: str) -> tuple[IPAddress, ...]:
        asked = rpc.PodSandboxStatusRequest(pod_sandbox_id=sandbox)
        network = self._call("PodSandboxStatus", asked, rpc.PodSandboxStatusResponse).status.network
        return tuple(ip_address(text) for text in (network.ip, *(more.ip for more in network.additional_ips)))

    def stop(self, sandbox: Sandbox) -> None:
        """Ends a sandbox, and what its network gave it."""
        asked = rpc.StopPodSandboxRequest(pod_sandbox_id=sandbox.id)
        self._call("StopPodSandbox", asked, rpc.StopPodSandboxResponse)

    def remove(self, sandbox: Sandbox) -> None:
        """Ends a sandbox and forgets it."""
        self.stop(sandbox)
        asked = rpc.RemovePodSandboxRequest(pod_sandbox_id=sandbox.id)
        self._call("RemovePodSandbox", asked, rpc.RemovePodSandboxResponse)

    def execute(self, sandbox: Sandbox, *command: str) -> str:
        """What a command of busybox prints inside a sandbox; it must succeed."""
        inside = ("--exec-id", f"e{next(_number)}", "--fifo-dir", str(self.directory / "fifo"), sandbox.id)
        return self._ctr("tasks", "exec", *inside, "/bin/busybox", *command)

    def _ctr(self, *words: str) -> str:
        command = ["ctr", "--address", str(self.directory / "sock"), "--namespace", "k8s.io", *words]
        done = subprocess.run(command, capture_output=True, check=False, text=True)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def _call(self, method: str, asked: Message, answer: type[_Answer]) -> _Answer:
        call: Callable[..., _Answer] = self.channel.unary_unary(
            f"/runtime.v1.RuntimeService/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return call(asked, timeout=_SECONDS, wait_for_ready=True)


def alone_on(lab: Lab, node: str, script: str) -> list[str]:
    """The command that runs a script in a node's namespaces, in a PID namespace of which nothing outlives it.

    A node's /sys shows its own devices, and lies over that of the machine, which has the cgroups.
    """
    assert lab.supervisor is not None
    namespaces = lab.node(node).namespaces
    inside = ["nsenter", f"--mount=/proc/{lab.supervisor.pid}/root{namespaces.mount}", f"--net={namespaces.network}"]
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return [*inside, *alone, "sh", "-ec", f"umount /sys; {script}"]


def need(*programs: str) -> None:
    """Skips a test where a program is missing, or the machine cannot hold containers."""
    missing = [name for name in (*programs, "runc", "nsenter", "unshare", str(BUSYBOX)) if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not on this machine: {', '.join(missing)} (Debian: containerd podman runc busybox-static)")
    if b"/ld-linux" in BUSYBOX.read_bytes()[:4096]:
        pytest.skip(f"{BUSYBOX} needs libraries, that an image has not (Debian: busybox-static)")
    if not os.access(CGROUPS, os.W_OK) or not any(CGROUPS.iterdir()):
        pytest.skip(f"runc needs cgroups that one may write to, at {CGROUPS}")


@contextmanager
def containerd(lab: Lab, node: str, configurations: Path = Path("/etc/cni/net.d")) -> Iterator[Containerd]:
    """containerd at work on a node, with its image; it and its pods end afterwards. Skips where the machine cannot."""
    need("containerd", "containerd-shim-runc-v2", "ctr")
    with tempfile.TemporaryDirectory(prefix="nk-") as directory:
        runtime = Containerd(lab, node, Path(directory), configurations)
        try:
            runtime.start()
            runtime.load()
            yield runtime
        finally:
            runtime.kill()
            remove_cgroups(runtime.cgroup)


def remove_cgroups(name: str) -> None:
    """Pods that were killed leave empty cgroups, in each hierarchy there is (cgroups(7))."""
    for top in (CGROUPS, *CGROUPS.iterdir()):
        for path, _, _ in os.walk(top / name.lstrip("/"), topdown=False):
            with suppress(OSError):  # a hierarchy that does not let it go keeps no process and no device
                Path(path).rmdir()
