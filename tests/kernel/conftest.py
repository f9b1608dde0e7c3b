"""Network namespaces for tests that need a kernel. They need root, or a user that may make user namespaces."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from nankeen.kernel import namespace as namespaces
from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.observe import observe
from nankeen.kernel.syscalls import CAP_NET_ADMIN, CAP_SYS_ADMIN, has_capability
from nankeen.model.state import State

_number = itertools.count(1)


@dataclass(frozen=True)
class Net:
    """A network namespace with its name, a netlink socket in it, and the tools that an engineer would look with."""

    name: str
    namespace: Namespace
    socket: NetlinkSocket

    def run(self, command: str) -> str:
        """What a command prints inside; it must succeed."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, *command.split()], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def observe(self, *sysctls: str) -> State:
        return observe(self.socket, sysctls, self.namespace)


@pytest.fixture
def make_net() -> Iterator[Callable[[], Net]]:
    """Makes namespaces, loopback up, and removes them afterwards."""
    if not (has_capability(CAP_SYS_ADMIN) and has_capability(CAP_NET_ADMIN)):
        pytest.skip("needs root: network namespaces are made")
    made: list[Net] = []

    def make() -> Net:
        name = f"nk-test-{os.getpid()}-{next(_number)}"
        namespace = Namespace.open(namespaces.create(name))
        net = Net(name, namespace, NetlinkSocket(namespace))
        made.append(net)
        net.run("ip link set lo up")
        return net

    yield make
    for net in made:
        net.socket.close()
        net.namespace.close()
        namespaces.remove(net.name)


@pytest.fixture
def net(make_net: Callable[[], Net]) -> Net:
    return make_net()
