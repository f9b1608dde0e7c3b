"""Ending a data path: it is asked to, and where it does not answer, or does not go, it is killed."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress

from nankeen.model.errors import KernelError
from nankeen.tunnel.client import Client

_SECONDS = 5.0
"""From its answer to its end."""


async def end(client: Client) -> None:
    """Returns when the process behind a connection is no more, and closes it. Raises `KernelError` where it stays."""
    try:
        with suppress(KernelError):  # one that does not answer is killed
            await client.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS):
                await client.ended()
                await _ended(client.process)
                return
        await _kill(client.process, client.pid)
    finally:
        client.close()


async def _kill(descriptor: int | None, pid: int) -> None:
    if descriptor is None:
        raise KernelError("it does not end, and cannot be seen from here", where=f"data path, process {pid}")
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    await _ended(descriptor)


async def _ended(descriptor: int | None) -> None:
    """Waits until the process behind a pidfd has ended: it is readable then (pidfd_open(2))."""
    if descriptor is None:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
