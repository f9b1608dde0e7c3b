"""A traffic meter that misses nothing: which of the packets between two pods were lost, by number.

Two ends send each other UDP datagrams with sequence numbers, each from a socket in its own network namespace, all
driven by one event loop. What has not come in some time after the last was sent is lost. The meter itself loses none:
its receive buffers hold seconds of traffic, and a sender that was held up goes on from there without making up for it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from nankeen.kernel.namespace import Namespace, entered
from nankeen.model.address import IPAddress

RATE = 1000
"""Packets a second in each direction."""
PATIENCE = 2.0
"""Seconds that the last packets have to arrive."""

_BUFFER = 8 << 20
"""Bytes: some ten thousand small packets, as the kernel counts them."""
_BURST = 20
"""Packets that are sent at once at most, when the machine let nobody send for a while."""
_SEQUENCE = struct.Struct("!Q")
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33  # socket(7); Python has no names for them


@dataclass(frozen=True, slots=True)
class End:
    """Where traffic comes from and goes to."""

    name: str
    namespace: Path
    address: IPAddress


@dataclass(frozen=True, slots=True)
class Loss:
    """Packets lost one after the other in one direction: numbers from 0, both included."""

    source: End
    target: End
    first: int
    last: int
    seconds: float
    """When the first of them was sent, after the beginning."""

    @property
    def packets(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        way = f"{self.source.name} {self.source.address} → {self.target.name} {self.target.address}"
        return f"{way}: {self.packets} lost, {self.first} to {self.last}, {self.seconds:.3f} s after the beginning"


class _Stream:
    """One direction."""

    def __init__(self, source: End, target: End, sender: socket.socket, receiver: socket.socket) -> None:
        self._ends = source, target
        self._sender, self._receiver = sender, receiver
        self._to = receiver.getsockname()
        self._sent: list[float] = []
        self._came: set[int] = set()
        self._news = asyncio.Event()

    @property
    def sent(self) -> int:
        return len(self._sent)

    async def complete(self) -> None:
        """Returns when all that was sent has come."""
        while len(self._came) < len(self._sent):
            self._news.clear()
            await self._news.wait()

    def send(self) -> None:
        """Sends the next packet. One that the node refuses is a lost one."""
        number = len(self._sent)
        self._sent.append(time.monotonic())
        try:
            self._sender.sendto(_SEQUENCE.pack(number), self._to)
        except OSError:
            return  # what is not sent will not come, and is told of by its number

    def receive(self) -> None:
        """Takes what has come."""
        own = self._sender.getsockname()[:2]
        while True:
            try:
                data, source = self._receiver.recvfrom(2048)
            except BlockingIOError:
                return
            if source[:2] == own and len(data) == _SEQUENCE.size:
                self._came.add(_SEQUENCE.unpack(data)[0])
                self._news.set()

    def losses(self, began: float) -> Iterator[Loss]:
        missing = (number for number in range(len(self._sent)) if number not in self._came)
        for _, run in groupby(enumerate(missing), key=lambda pair: pair[1] - pair[0]):
            numbers = [number for _, number in run]
            yield Loss(*self._ends, numbers[0], numbers[-1], self._sent[numbers[0]] - began)


class Meter:
    """Traffic that flows, until it is stopped."""

    def __init__(self, streams: Sequence[_Stream]) -> None:
        self._streams = streams
        self._began = time.monotonic()
        self._tick = asyncio.Event()

    @property
    def sent(self) -> int:
        """Packets sent so far, in all directions together."""
        return sum(stream.sent for stream in self._streams)

    @property
    def losses(self) -> list[Loss]:
        """What has not arrived: to be asked once the traffic has ended."""
        return [loss for stream in self._streams for loss in stream.losses(self._began)]

    @property
    def lost(self) -> int:
        """Packets lost, in all directions together."""
        return sum(loss.packets for loss in self.losses)

    async def passed(self, packets: int) -> None:
        """Returns when that many more have been sent, in all directions together."""
        goal = self.sent + packets
        while self.sent < goal:
            await self._tick.wait()

    async def _flow(self, rate: float) -> None:
        due = time.monotonic()
        while True:
            now = time.monotonic()
            due = max(due, now - _BURST / rate)
            while due <= now:
                for stream in self._streams:
                    stream.send()
                due += 1 / rate
            self._tick.set()
            self._tick.clear()
            await asyncio.sleep(due - now)

    async def _settle(self) -> None:
        """Returns when all has come, or nothing more will."""
        try:
            async with asyncio.timeout(PATIENCE):
                for stream in self._streams:
                    await stream.complete()
        except TimeoutError:
            return


@asynccontextmanager
async def traffic(pairs: Iterable[tuple[End, End]], rate: float = RATE) -> AsyncIterator[Meter]:
    """Traffic between the ends of each pair, both ways, while the block runs; `losses` of it are told afterwards.

    Each direction has that many packets a second. Raises `KernelError` and `OSError`.
    """
    loop = asyncio.get_running_loop()
    with ExitStack() as opened:
        streams: list[_Stream] = []
        for one, other in pairs:
            here, there = (opened.enter_context(_socket(end)) for end in (one, other))
            ways = (_Stream(one, other, here, there), there), (_Stream(other, one, there, here), here)
            for stream, receiver in ways:
                loop.add_reader(receiver, stream.receive)
                opened.callback(loop.remove_reader, receiver)
                streams.append(stream)
        meter = Meter(streams)
        flow = loop.create_task(meter._flow(rate))  # noqa: SLF001  (of one module)
        try:
            yield meter
        finally:
            flow.cancel()
            with suppress(asyncio.CancelledError):
                await flow
            await meter._settle()  # noqa: SLF001


def _socket(end: End) -> socket.socket:
    """A socket at that end, with a port of its own."""
    family = socket.AF_INET if end.address.version == 4 else socket.AF_INET6
    with Namespace.open(end.namespace) as namespace, entered(namespace):
        made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    for option in (_SO_RCVBUFFORCE, _SO_SNDBUFFORCE):
        made.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
    made.bind((str(end.address), 0))
    return made
