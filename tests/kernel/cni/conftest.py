"""The client as installed, a node for its agent, and a runtime."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from nankeen.cni import server
from nankeen.pods.plugin import Plugin
from tests.kernel.cni.runtime import Runtime
from tests.kernel.conftest import Net
from tests.kernel.pods.conftest import NETWORK, node, pod
from tests.unit.cni.conftest import Client, client, compile_client, contents, open_descriptors, short_path

__all__ = ["client", "compile_client", "contents", "node", "open_descriptors", "pod", "runtime", "short_path"]


@pytest.fixture
async def runtime(node: Net, client: Client, tmp_path: Path) -> AsyncIterator[Runtime]:  # noqa: ARG001  (runs there)
    plugin = Plugin(tmp_path / "networks", patience=0, ports=tmp_path / "ports")
    plugin.ready(NETWORK)
    with server.listening(client.socket) as listener:
        task = asyncio.create_task(server.serve(listener, plugin))
        yield Runtime(client, plugin, tmp_path / "networks")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    plugin.close()
