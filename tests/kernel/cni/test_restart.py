"""What a runtime finds while no agent runs, however the last one ended."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.kernel.agent.conftest import Node, node
from tests.kernel.cni.test_agent import ask, installed

__all__ = ["node"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_an_agent_that_ended_leaves_its_invitation_and_requests_wait_for_the_next(
    node: Node, number: int
) -> None:
    await node.start()
    socket = node.directory / "run/cni.sock"
    await node.stop(number)
    assert socket.exists() == (number == signal.SIGKILL)
    assert installed(node) == ["10-nankeen.conflist", "nankeen"]
    waiting = asyncio.create_task(ask(node, "DEL"))
    status, error = await ask(node, "STATUS")  # which waits for nobody
    assert (status, error["code"]) == (1, 50)
    assert not waiting.done()
    await node.start()
    assert await waiting == (0, None)
    assert await ask(node, "STATUS") == (0, None)
