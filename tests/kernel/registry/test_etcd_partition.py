"""A node whose way to etcd is cut: silently, as a broken network does it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

import nankeen
from tests.kernel.registry import watching
from tests.unit.registry.conftest import CONFIG
from tests.unit.registry.etcdserver import Directory, EtcdServer, running

if TYPE_CHECKING:
    from tests.kernel.conftest import Net

SOURCE = Path(nankeen.__file__).parents[1]


def lease(number: int) -> str:
    return f'{{"PublicIP":"10.99.0.{number}","PublicIPv6":null,"BackendType":"vxlan"}}'


@pytest.fixture
def far(make_net: Callable[[], Net]) -> tuple[Net, Net]:
    """Where etcd is, and where a node is."""
    server, node = make_net(), make_net()
    server.run(f"ip link add eth0 type veth peer name eth0 netns {node.name}")
    for number, net in enumerate((server, node), 1):
        net.run(f"ip address add 10.0.0.{number}/24 dev eth0")
        net.run("ip link set eth0 up")
    return server, node


@pytest.fixture
def directory(far: tuple[Net, Net], tmp_path: Path) -> Iterator[Directory]:
    server = EtcdServer(
        tmp_path / "etcd",
        options=["--grpc-keepalive-min-time=10ms"],
        host="10.0.0.1",
        command=("ip", "netns", "exec", far[0].name),
    )
    with running(server):
        made = Directory(server)
        made.configure(CONFIG)
        yield made


@contextmanager
def listener(node: Net, directory: Directory) -> Iterator[IO[str]]:
    """What somebody on that node hears of the registry."""
    address = f"10.0.0.1:{directory.server.port}{directory.prefix}"
    command = ["ip", "netns", "exec", node.name, sys.executable, str(watching.__file__), address, "0.5"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.kill()


def heard(lines: IO[str], wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The next thing heard that is what is wanted."""
    for line in lines:
        document: dict[str, Any] = json.loads(line)
        if wanted(document):
            return document
    raise AssertionError("it has ended")


def test_a_node_that_is_cut_off_notices_and_sees_what_it_missed_when_the_way_is_free(
    far: tuple[Net, Net], directory: Directory
) -> None:
    _, node = far
    directory.flannel("10.5.1.0-24", lease(1))
    with listener(node, directory) as lines:
        assert heard(lines, lambda it: "leases" in it) == {"leases": ["10.99.0.1"]}
        node.run("nft add table inet cut")
        node.run("nft add chain inet cut input { type filter hook input priority 0 ; policy drop ; }")
        told = heard(lines, lambda it: "error" in it)["error"]
        assert told.startswith("etcd 10.0.0.1:")
        assert "cannot be reached" in told or "does not answer" in told
        directory.delete("10.5.1.0-24")
        directory.flannel("10.5.1.0-24", lease(2))
        directory.flannel("10.5.3.0-24", lease(3))
        node.run("nft delete table inet cut")
        assert heard(lines, lambda it: "leases" in it) == {"leases": ["10.99.0.2", "10.99.0.3"]}
