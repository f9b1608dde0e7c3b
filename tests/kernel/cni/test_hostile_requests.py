"""Anything on standard input and in the environment, through both executables, to an agent that serves pods.

The answer is one of the specification, or a result; it comes in time; then a pod is attached as if nothing had been.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nankeen.cni import server
from nankeen.pods.plugin import Plugin
from tests.kernel.cni.runtime import Runtime, veths
from tests.kernel.cni.test_faults import CODES
from tests.kernel.conftest import Net
from tests.kernel.pods.conftest import NETWORK
from tests.unit.cni.conftest import Client, Executed
from tests.unit.cni.test_config import JSON, KEYS

SECONDS = 20
"""Within which there is an answer, on a machine that has much else to do."""
NAMES = st.sampled_from(
    ["c1", "..", "../../x", "/etc/passwd", "a\nb", "", "x" * 300, "\u0663", "é", "-", "%s%n", "${IFS}"]
)
NAMESPACES = st.sampled_from(
    ["", "/", "/dev/null", "/dev/zero", "/proc/self/ns/mnt", "/proc/self/ns/net", "/proc/self/fd/0",
     "/run/netns/gone", "relative", "/etc/passwd", "/dev/log", "x" * 5000]
)  # fmt: skip
VARIABLES = {
    "CNI_COMMAND": st.sampled_from(["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "add", "ADD ", "\x7f"]),
    "CNI_CONTAINERID": NAMES,
    "CNI_IFNAME": NAMES | st.sampled_from(["eth0", "lo", "eth%d", "cni0", "x" * 16]),
    "CNI_NETNS": NAMESPACES,
    "CNI_ARGS": st.sampled_from(["", ";", "=", "IP=0.0.0.0", "IP=::", "MAC=ff:ff:ff:ff:ff:ff", "a=b;" * 20_000])
    | NAMES,
    "CNI_PATH": st.sampled_from(["", ":", "/:/:/", "../bin", "/proc/self/cwd", "/bin:" * 5000]) | NAMES,
    "CNI_UNHEARD_OF": st.binary(max_size=20).map(lambda octets: os.fsdecode(octets.replace(b"\0", b""))),
}
CONFIGS = st.dictionaries(st.sampled_from([*KEYS, "type", "delegate", "prevResult", "runtimeConfig"]), JSON)
STDIN = st.one_of(
    st.binary(max_size=60),
    CONFIGS.map(lambda config: json.dumps({"cniVersion": "1.1.0", "name": "cbr0", **config}).encode()),
    st.sampled_from([
        b"[" * 500_000, b'{"a":' * 100_000, b"x" * (10 << 20), b'{"name": "cbr0", "mtu": 1' + b"0" * 100_000 + b"}",
        b'{"name": "cbr0", "name": "../x"}', b"\xef\xbb\xbf{}", b'{"name": "\\ud800"}', b"null", b"NaN",
        b'{"name": "cbr0", "mtu": 1e999}',
    ]),
)  # fmt: skip


@asynccontextmanager
async def serving(client: Client, data: Path) -> AsyncIterator[Runtime]:
    """An agent that was just started, and a runtime that means well."""
    plugin = Plugin(data / "networks", patience=0, ports=data / "ports")
    plugin.ready(NETWORK)
    with server.listening(client.socket) as listener:
        task = asyncio.create_task(server.serve(listener, plugin))
        try:
            yield Runtime(client, plugin, data / "networks")
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            plugin.close()


def is_by_the_specification(done: Executed) -> bool:
    """An error document of a known code; or success, with a result or with nothing."""
    if done.status == 0:
        return not done.output or "cniVersion" in json.loads(done.output)
    error = json.loads(done.output)
    return error["code"] in CODES and isinstance(error["msg"], str) and not done.errors


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(environment=st.fixed_dictionaries({}, optional=VARIABLES), stdin=STDIN)
def test_whatever_a_runtime_says_is_answered_in_time_and_the_next_pod_is_attached(
    client: Client, node: Net, pod: Net, tmp_path: Path, environment: Mapping[str, str], stdin: bytes
) -> None:
    asked = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_PATH": "/opt/cni/bin"}
    asked |= {"CNI_NETNS": f"/run/netns/{pod.name}", **environment}

    async def ask() -> None:
        async with serving(client, tmp_path) as runtime:
            async with asyncio.timeout(SECONDS):
                done = await client.run(stdin, **asked)
            assert is_by_the_specification(done), done
            await client.run(stdin, **(asked | {"CNI_COMMAND": "DEL"}))
            await runtime.add(pod)
            await runtime.delete(pod)

    asyncio.run(ask())
    assert veths(node) == []


KILLED = [b"", b"CNI_COMMAND=ADD\0", b"CNI_COMMAND=ADD\0\0", b'CNI_COMMAND=ADD\0\0{"name": "cb', b"\0" * 70_000]


@pytest.mark.parametrize("sent", KILLED)
@pytest.mark.parametrize("contents", ["python"], indirect=True)
async def test_a_runtime_that_breaks_off_harms_nobody(runtime: Runtime, pod: Net, sent: bytes) -> None:
    for _ in range(5):
        _, writer = await asyncio.open_unix_connection(str(runtime.client.socket))
        writer.write(sent)
        writer.transport.abort()
    await runtime.add(pod)
    await runtime.delete(pod)
