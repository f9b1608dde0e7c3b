"""The port for probes: what it answers, and what hostile clients get."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nankeen.agent import health
from nankeen.agent.health import Page, listen, pages, say, serve
from nankeen.agent.status import Status
from nankeen.model.errors import KernelError

READY = Status("node1", ready=True, reason="", backend="vxlan", subnets=("10.244.1.0/24",), peers=2)


def _broken() -> health.Answer:
    raise ZeroDivisionError


PAGES: Mapping[str, Page] = {"/here": lambda: say(HTTPStatus.OK, "here"), "/broken": _broken}


@asynccontextmanager
async def serving(served: Mapping[str, Page] = PAGES) -> AsyncIterator[int]:
    """A port where the pages are."""
    listener = listen(ip_address("127.0.0.1"), 0)
    task = asyncio.create_task(serve(listener, served))
    try:
        yield listener.getsockname()[1]
    finally:
        task.cancel()
        await asyncio.wait([task])


async def exchange(port: int, request: bytes) -> bytes:
    """Everything that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        writer.write_eof()
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def get(port: int, path: str) -> tuple[int, str]:
    """The status and the text of a page."""
    answer = (await exchange(port, f"GET {path} HTTP/1.1\r\nHost: node\r\n\r\n".encode())).decode()
    head, _, body = answer.partition("\r\n\r\n")
    assert f"Content-Length: {len(body.encode())}\r\n" in head
    return int(head.split()[1]), body


async def test_a_node_that_is_ready_says_what_flanneld_says() -> None:
    async with serving(pages(lambda: READY, [])) as port:
        assert await get(port, "/healthz") == (200, "flanneld is running\n")
        assert await get(port, "/readyz?verbose") == (200, "flanneld is ready\n")


async def test_a_node_that_is_not_ready_says_why() -> None:
    async with serving(pages(lambda: Status("node1", reason="no route"), [])) as port:
        assert await get(port, "/healthz") == (200, "flanneld is running\n")
        assert await get(port, "/readyz") == (503, "flanneld is not ready yet: no route\n")


async def test_head_is_answered_without_the_body() -> None:
    async with serving() as port:
        answer = await exchange(port, b"HEAD /here HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Content-Length: 5\r\n" in answer
        assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "request_line, status",
    [
        ("GET /here HTTP/1.1", 200),
        ("GET /here HTTP/1.0", 200),
        ("GET http://node:8081/here?x=1 HTTP/1.1", 200),
        ("GET /nowhere HTTP/1.1", 404),
        ("GET /../etc/passwd HTTP/1.1", 404),
        ("POST /here HTTP/1.1", 405),
        ("GET /broken HTTP/1.1", 500),
        ("GET here HTTP/1.1", 400),
        ("GET /here HTTP/2.0", 400),
        ("GET /here", 400),
        ("\x16\x03\x01", 400),
        ("GET /" + "x" * 2 * health.LONGEST_REQUEST + " HTTP/1.1", 431),
    ],
)
async def test_each_request_has_its_answer(request_line: str, status: int) -> None:
    async with serving() as port:
        answer = await exchange(port, f"{request_line}\r\nHost: node\r\n\r\n".encode())
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())


@given(st.binary(max_size=300))
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_no_request_ends_the_server(request: bytes) -> None:
    async def attempt() -> None:
        async with serving() as port:
            await exchange(port, request)
            assert (await get(port, "/here"))[0] == 200

    asyncio.run(attempt())


async def test_a_client_that_dawdles_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "REQUEST_SECONDS", 0.05)
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /here HT")
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        writer.close()


async def test_however_many_dawdle_a_probe_is_heard() -> None:
    async with serving() as port:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3 * health.MOST_CONNECTIONS)]
        assert await get(port, "/here") == (200, "here\n")
        async with asyncio.timeout(20):
            assert await idle[0][0].read() == b""  # the oldest gave way
        for _, writer in idle:
            writer.close()


def test_a_port_that_is_taken_is_told() -> None:
    with listen(ip_address("127.0.0.1"), 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(KernelError, match=rf"127.0.0.1:{port}: cannot answer probes there.*--healthz-port"):
            listen(ip_address("127.0.0.1"), port)


async def test_any_address_is_one_of_either_family() -> None:
    with listen(ip_address("::"), 0) as listener:
        task = asyncio.create_task(serve(listener, PAGES))
        assert await get(listener.getsockname()[1], "/here") == (200, "here\n")
        task.cancel()
        await asyncio.wait([task])
