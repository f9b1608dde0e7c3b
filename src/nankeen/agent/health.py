"""Pages for probes and collectors, over HTTP/1.1 (RFC 9112): one request a connection, answered at once.

Whoever can reach the port can ask. A request has a size and a time; when there are too many connections, the one that
has dawdled longest gives way to the newest, so that a probe is always heard.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, NamedTuple

from nankeen.agent.status import Status
from nankeen.model.address import IPAddress
from nankeen.model.errors import KernelError

if TYPE_CHECKING:
    from nankeen.agent.metrics import Collector

LONGEST_REQUEST = 8192
"""Bytes of a request's head."""
REQUEST_SECONDS = 5.0
"""For a whole exchange, until the client has closed."""
MOST_CONNECTIONS = 64

PLAIN = "text/plain; charset=utf-8"

_REQUEST = re.compile(rb"([A-Z]+) (?:http://[^/ ]*)?(/[^ ?]*)(?:\?[^ ]*)? HTTP/1\.[01]\r\n")
_log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """What a page says."""

    status: HTTPStatus
    body: bytes
    content_type: str = PLAIN


Page = Callable[[], Answer]


def pages(status: Callable[[], Status], collectors: Sequence[Collector]) -> Mapping[str, Page]:
    """Those of an agent: what flanneld answers, and `/metrics`."""
    return {
        "/healthz": lambda: say(HTTPStatus.OK, "flanneld is running"),
        "/readyz": lambda: _readiness(status()),
        "/metrics": lambda: _metrics(collectors),
    }


def _readiness(status: Status) -> Answer:
    if status.ready:
        return say(HTTPStatus.OK, "flanneld is ready")
    return say(HTTPStatus.SERVICE_UNAVAILABLE, f"flanneld is not ready yet: {status.reason}")


def _metrics(collectors: Sequence[Collector]) -> Answer:
    from nankeen.agent import metrics  # noqa: PLC0415  (its library costs memory)

    return Answer(HTTPStatus.OK, metrics.exposition(collectors), metrics.CONTENT_TYPE)


def say(status: HTTPStatus, text: str = "") -> Answer:
    """A line for a person; the status' own words where there are no others."""
    return Answer(status, (text or status.phrase).encode() + b"\n")


def listen(
    address: IPAddress, port: int, remedy: str = "choose another --healthz-ip or --healthz-port"
) -> socket.socket:
    """A socket that takes connections; `::` is any address of both families. Raises `KernelError`."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    both = address == IPv6Address(0) and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((str(address), port), family=family, dualstack_ipv6=both)
    except OSError as error:
        where = f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"
        reason = f"cannot answer probes there: {error.strerror or error}"
        raise KernelError(reason, where=where, remedy=remedy) from error


async def serve(listener: socket.socket, pages: Mapping[str, Page]) -> None:
    """Until cancelled."""
    conversations = _Conversations(pages)
    server = await asyncio.start_server(conversations.converse, sock=listener, limit=LONGEST_REQUEST)
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        server.close()
        conversations.end()


class _Conversations:
    """Those under way, the oldest first."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._open: dict[asyncio.Task[None], None] = {}

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (a coroutine runs in one)
        self._open[task] = None
        self._make_room()
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                writer.write(await self._reply(reader))
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, EOFError) as error:
            _log.debug("a client of the probes' port has gone: %r", error)
        finally:
            writer.transport.abort()
            self._open.pop(task, None)

    def _make_room(self) -> None:
        while len(self._open) > MOST_CONNECTIONS:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.cancel()

    def end(self) -> None:
        for task in self._open:
            task.cancel()

    async def _reply(self, reader: StreamReader) -> bytes:
        try:
            request = _REQUEST.match(await reader.readuntil(b"\r\n\r\n"))
        except asyncio.LimitOverrunError:
            return _encode(say(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
        if request is None:
            return _encode(say(HTTPStatus.BAD_REQUEST))
        method, path = request[1].decode(), request[2].decode(errors="replace")
        if method not in {"GET", "HEAD"}:
            return _encode(say(HTTPStatus.METHOD_NOT_ALLOWED), "Allow: GET, HEAD\r\n")
        return _encode(self._look_up(path), headless=method == "HEAD")

    def _look_up(self, path: str) -> Answer:
        page = self._pages.get(path)
        if page is None:
            return say(HTTPStatus.NOT_FOUND, f"here are {' '.join(self._pages)}")
        try:
            return page()
        except Exception:  # noqa: BLE001  (a page that fails takes nothing else along)
            _log.exception("the page %s met a defect", path)
            return say(HTTPStatus.INTERNAL_SERVER_ERROR)


def _encode(answer: Answer, header: str = "", *, headless: bool = False) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\nCache-Control: no-store\r\nConnection: close\r\n{header}\r\n"
    )
    return head.encode() + (b"" if headless else answer.body)
