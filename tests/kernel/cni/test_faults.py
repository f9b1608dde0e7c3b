"""Faults: whatever happens, the answer is one of the specification, in time, and the next ADD works."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nankeen.cni import server
from nankeen.cni.request import parse_request
from nankeen.cni.server import _answer
from nankeen.kernel import namespace as namespaces
from nankeen.kernel import syscalls, sysctl
from nankeen.kernel.netlink.netfilter import NetfilterSocket
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.program import find
from nankeen.pods import podfilter
from nankeen.pods.plugin import Plugin
from tests.crash import killed_at
from tests.kernel.cni.runtime import Runtime, veths
from tests.kernel.conftest import Net
from tests.kernel.pods.conftest import NETWORK, ping
from tests.unit.cni.conftest import Client
from tests.unit.cni.test_config import JSON, KEYS

CODES = {1, 2, 3, 4, 5, 6, 7, 8, 11, 50, 51, 100, 101, 102, 103, 104}
"""What may be answered; 999 would be a defect."""


def environment(verb: str, pod: Net) -> dict[str, str]:
    return {"CNI_COMMAND": verb, "CNI_CONTAINERID": pod.name, "CNI_NETNS": "/run/netns/x", "CNI_IFNAME": "eth0"}


def ready(data: Path) -> Plugin:
    plugin = Plugin(data / "networks", patience=0, ports=data / "ports")
    plugin.ready(NETWORK)
    return plugin


def serve(verb: str, pod: Net, data: Path, config: Mapping[str, Any] | None = None) -> None:
    """One request to an agent that has just been started."""
    document = {"cniVersion": "1.0.0", "name": "cbr0", "type": "nankeen", **(config or {})}
    request = parse_request(environment(verb, pod), json.dumps(document).encode())

    async def ask() -> None:
        with closing(ready(data)) as plugin:
            await plugin(request, pod.namespace.descriptor)

    asyncio.run(ask())


def reserved(data: Path) -> set[str]:
    directory = data / "networks" / "cbr0"
    return {path.name for path in directory.iterdir() if path.name[0] in "1f"} if directory.is_dir() else set()


BARE: Mapping[str, Any] = {}
ALL: Mapping[str, Any] = {
    "macspoofchk": True, "ipMasq": True,
    "runtimeConfig": {
        "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": kind} for kind in ("tcp", "udp")],
        "bandwidth": {"ingressRate": 10**7, "ingressBurst": 10**6, "egressRate": 10**7, "egressBurst": 10**6},
    },
}  # fmt: skip
WISHES = pytest.mark.parametrize(
    "config",
    [
        pytest.param(BARE, id="bare"),
        pytest.param(
            ALL, id="all", marks=pytest.mark.skipif(find("nft") is None, reason="the program nft is not installed")
        ),
    ],
)
"""A pod that asks for nothing, and one that asks for all that leaves traces outside of it."""


def left(node: Net, data: Path, config: Mapping[str, Any]) -> tuple[object, ...]:
    """Whatever a pod could leave on the node: devices, addresses, ports, elements of the packet filter's maps."""
    ports = [path.name for path in data.glob("ports/*.json")]
    rules = node.run("nft --stateless list ruleset").splitlines() if config else []
    named = [line for line in rules if re.search(r"elements|chain veth|10\.5\.34\.\d+\b(?!/)", line)]
    devices = {line.split("@")[0].split()[0] for line in node.run("ip -brief link").splitlines()}
    return devices, reserved(data), ports, named


CALLS = [
    (NetlinkSocket, "_send"), (NetfilterSocket, "_send"), (sysctl, "write"), (podfilter, "run"),
    (os, "link"), (os, "unlink"), (os, "replace"),
]  # fmt: skip
"""What an agent tells the kernel, and how it puts files in place."""


@WISHES
@pytest.mark.parametrize("again", [True, False])
def test_an_agent_killed_anywhere_in_an_add_is_made_good_by_the_next(
    node: Net, make_net: Callable[[], Net], tmp_path: Path, config: Mapping[str, Any], *, again: bool
) -> None:
    number, killed = 0, True
    step = 2 if config else 1  # a pod that asks for all has many places to be killed at, each of which takes its time
    before = _standing(node, make_net(), tmp_path, config)
    while killed:
        number += step
        pod = make_net()
        killed = killed_at(number, partial(serve, "ADD", pod, tmp_path, config), CALLS)
        if again:
            serve("ADD", pod, tmp_path, config)
            assert ping(pod, "10.5.34.1")
            assert len(reserved(tmp_path)) == 2
        serve("DEL", pod, tmp_path, config)
        assert left(node, tmp_path, config) == before
    assert number > 8


@WISHES
def test_an_agent_killed_anywhere_in_a_del_is_made_good_by_the_next(
    node: Net, make_net: Callable[[], Net], tmp_path: Path, config: Mapping[str, Any]
) -> None:
    number, killed = 0, True
    before = _standing(node, make_net(), tmp_path, config)
    while killed:
        number += 1
        pod = make_net()
        serve("ADD", pod, tmp_path, config)
        killed = killed_at(number, partial(serve, "DEL", pod, tmp_path, config), CALLS)
        serve("DEL", pod, tmp_path, config)
        assert left(node, tmp_path, config) == before
    assert number > 2


def _standing(node: Net, pod: Net, data: Path, config: Mapping[str, Any]) -> tuple[object, ...]:
    """What stands when a first pod has come and gone: tables of the packet filter stay once they are made."""
    serve("ADD", pod, data, config)
    serve("DEL", pod, data, config)
    return left(node, data, config)


@pytest.fixture(params=["size=64k", "nr_inodes=12"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system that is soon full, of octets or of files."""
    path = tmp_path / "disk"
    path.mkdir()
    syscalls.mount("tmpfs", str(path), "tmpfs", 0, request.param)
    try:
        yield path
    finally:
        syscalls.umount(str(path))


def fill(disk: Path) -> list[Path]:
    """Files that leave no room."""
    files: list[Path] = []
    with suppress(OSError):
        while True:
            files.append(disk / f"filling-{len(files)}")
            files[-1].write_bytes(b"x" * 4096)
    return files


@WISHES
def test_a_full_disk_is_told_and_leaves_nothing(
    node: Net, make_net: Callable[[], Net], small_disk: Path, config: Mapping[str, Any]
) -> None:
    standing, refused = make_net(), make_net()
    other = {**config, "runtimeConfig": {}}
    serve("ADD", standing, small_disk, other)
    before = left(node, small_disk, config)
    files = fill(small_disk)
    with pytest.raises(OSError, match="No space left on device") as caught:
        serve("ADD", refused, small_disk, config)
    assert caught.value.errno == errno.ENOSPC
    assert left(node, small_disk, config)[:3] == before[:3]
    serve("DEL", refused, small_disk, config)
    serve("DEL", standing, small_disk, other)
    assert (veths(node), reserved(small_disk)) == ([], set())
    for file in files:
        file.unlink(missing_ok=True)
    serve("ADD", refused, small_disk, config)
    assert ping(refused, "10.5.34.1")


def test_a_disk_with_no_room_for_a_pods_ports_is_told_and_leaves_nothing(
    node: Net, pod: Net, small_disk: Path, tmp_path: Path
) -> None:
    before = left(node, tmp_path, BARE)
    (tmp_path / "ports").symlink_to(small_disk)
    fill(small_disk)
    with pytest.raises(OSError, match="No space left on device"):
        serve("ADD", pod, tmp_path, ALL)
    assert left(node, tmp_path, BARE) == before
    serve("DEL", pod, tmp_path, ALL)
    serve("ADD", pod, tmp_path)
    assert ping(pod, "10.5.34.1")


@pytest.mark.usefixtures("node")
def test_on_a_full_disk_flannels_file_is_told_of_too(pod: Net, small_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "env").write_text(
        "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    )
    fill(small_disk)
    config = {"type": "flannel", "subnetFile": str(tmp_path / "env"), "dataDir": str(small_disk / "flannel")}
    with pytest.raises(OSError, match="No space left on device"):
        serve("ADD", pod, tmp_path, config)
    serve("DEL", pod, tmp_path, config)


pythonic = pytest.mark.parametrize("contents", ["python"], indirect=True)
"""Which of the twins asks makes no difference here."""


@pythonic
async def test_a_namespace_that_vanishes_half_way_harms_nobody(
    runtime: Runtime, node: Net, make_net: Callable[[], Net]
) -> None:
    pod, next_one = make_net(), make_net()
    runtime.addresses.mkdir(parents=True)
    with (runtime.addresses / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        adding = asyncio.create_task(runtime.execute("ADD", pod))
        while not runtime.plugin._turns._users:  # noqa: ASYNC110  (the request has come when it has a turn)
            await asyncio.sleep(0.001)
        namespaces.remove(pod.name)
    done = await adding
    assert done.status == 0 or json.loads(done.output)["code"] in CODES
    await runtime.delete(pod)
    assert (veths(node), runtime.reserved()) == ([], set())
    await runtime.add(next_one)


@pythonic
async def test_one_network_whose_store_is_locked_holds_up_no_other(
    runtime: Runtime, make_net: Callable[[], Net]
) -> None:
    stuck, other = make_net(), make_net()
    runtime.addresses.mkdir(parents=True)
    with (runtime.addresses / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        adding = asyncio.create_task(runtime.execute("ADD", stuck))
        while not runtime.plugin._turns._users:  # noqa: ASYNC110  (as above)
            await asyncio.sleep(0.001)
        await runtime.add(other, {"name": "second"})
        await runtime.succeed("STATUS", None)
        assert not adding.done()
    assert (await adding).status == 0


@pytest.mark.usefixtures("node")
async def test_a_delegate_that_does_not_end_is_ended(pod: Net, client: Client, tmp_path: Path) -> None:
    (tmp_path / "forever").write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 1000\n")
    (tmp_path / "forever").chmod(0o755)
    (tmp_path / "env").write_text(
        "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    )
    config = {
        "cniVersion": "1.0.0", "name": "cbr0", "type": "flannel", "delegate": {"type": "forever"},
        "subnetFile": str(tmp_path / "env"), "dataDir": str(tmp_path / "flannel"),
    }  # fmt: skip
    with server.listening(client.socket) as listener, closing(ready(tmp_path)) as plugin:
        task = asyncio.create_task(server.serve(listener, plugin, handle_seconds=1))
        done = await client.run(json.dumps(config).encode(), **environment("ADD", pod), CNI_PATH=str(tmp_path))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert (done.status, json.loads(done.output)["code"]) == (1, 11)
    assert not is_running(tmp_path / "pid")


def is_running(file: Path) -> bool:
    """Whether the process is there whose number the file has."""
    return Path("/proc", file.read_text().strip()).exists()


VERBS = st.sampled_from(["ADD", "ADD", "DEL", "CHECK", "GC", "STATUS"])
ASKED = st.dictionaries(st.sampled_from([*KEYS, "type", "delegate", "prevResult", "cni.dev/valid-attachments"]), JSON)
OPTIONS = st.fixed_dictionaries(
    {"type": st.sampled_from(["nankeen", "flannel"])},
    optional={
        "mtu": st.sampled_from([68, 576, 1280, 1500, 65535]),
        "vlan": st.sampled_from([0, 7]),
        "bridge": st.sampled_from(["cni0", "br1", "lo"]),
        "ipam": st.fixed_dictionaries(
            {},
            optional={
                "ranges": st.sampled_from([[[{"subnet": "10.9.0.0/29"}]], [[{"subnet": "fd09::/125"}]]]),
                "routes": st.sampled_from([[{"dst": "192.0.2.0/24"}], [{"dst": "fd0a::/64"}]]),
            },
        ),
        "runtimeConfig": st.sampled_from([{"mac": "02:00:00:00:00:01"}, {"ips": ["10.5.34.3"]}]),
        "prevResult": st.sampled_from([{}, {"ips": [{"address": "10.5.34.2/24"}]}]),
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(st.tuples(VERBS, ASKED | OPTIONS), min_size=1, max_size=3))
def test_whatever_is_asked_is_answered_and_the_next_add_works(
    node: Net, pod: Net, tmp_path: Path, asked: list[tuple[str, dict[str, Any]]]
) -> None:
    async def ask() -> None:
        with closing(ready(tmp_path)) as plugin:
            for verb, config in asked:
                document = {"cniVersion": "1.1.0", "name": "cbr0", **config}
                request = b"".join(f"{name}={value}\0".encode() for name, value in environment(verb, pod).items())
                data = request + b"\0" + json.dumps(document).encode()
                answer = await _answer(data, [pod.namespace.descriptor], plugin, 10)
                assert not answer.status or json.loads(answer.output)["code"] in CODES
                removal = data.replace(f"CNI_COMMAND={verb}".encode(), b"CNI_COMMAND=DEL", 1)
                await _answer(removal, [pod.namespace.descriptor], plugin, 10)

    asyncio.run(ask())
    serve("ADD", pod, tmp_path)
    serve("DEL", pod, tmp_path)
    assert veths(node) == []
