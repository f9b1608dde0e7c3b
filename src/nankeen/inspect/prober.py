"""Sending the probes: one single-threaded process with sockets in every namespace, many probes under way at once."""

from __future__ import annotations

import asyncio
import os
import resource
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import Self

from nankeen.inspect.exchange import Exchange, Exchanges
from nankeen.inspect.outcome import Observation
from nankeen.inspect.party import Cluster
from nankeen.inspect.plan import Probe, Protocol
from nankeen.inspect.station import Station
from nankeen.kernel.namespace import Namespace
from nankeen.model.address import Family

WAITS = (0.25, 0.75, 1.0, 1.5)
"""Seconds after which a probe is sent again, and at last given up: a full queue on the way may lose one, and a router
needs three seconds to find that a neighbour does not answer (RFC 4861 §10)."""
_WINDOW = 2048
"""Probes under way at once."""
_EAGER = 512
"""Of those, the ones in their first wait: sending all at once would overflow queues. Where nothing answers, the
others go on waiting meanwhile."""

_TOKEN_LENGTH = 8
_NUMBER = struct.Struct("!I")


class Prober:
    """Stations for every party of a cluster. Use it as an asynchronous context manager."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._token = os.urandom(_TOKEN_LENGTH)
        self._sent = 0
        self._eager = asyncio.Semaphore(_EAGER)
        self._exchanges: Exchanges = {}
        self._stations: dict[tuple[str, Family], Station] = {}
        self._stack = ExitStack()

    async def __aenter__(self) -> Self:
        """Opens the stations. Raises `KernelError` where a namespace has gone or does not let us."""
        _allow_many_descriptors()
        with ExitStack() as stack:
            for party in self._cluster.parties:
                namespace = stack.enter_context(Namespace.open(party.namespace))
                for family in self._cluster.families:
                    if party.address(family) is not None:
                        station = Station(party, family, namespace, self._exchanges)
                        stack.callback(station.close)
                        self._stations[party.name, family] = station
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stack.close()

    async def run(self, probes: Iterable[Probe]) -> list[Observation]:
        """Sends the probes, a bounded number at a time, and tells what became of each, in their order."""
        observations: dict[int, Observation] = {}
        todo = enumerate(probes)
        async with asyncio.TaskGroup() as group:
            for _ in range(_WINDOW):
                group.create_task(self._work(todo, observations))
        return [observations[number] for number in sorted(observations)]

    async def _work(self, todo: Iterator[tuple[int, Probe]], observations: dict[int, Observation]) -> None:
        for number, probe in todo:  # all workers take from the same
            observations[number] = await self._observe(probe)

    async def _observe(self, probe: Probe) -> Observation:
        async with self._first_wait():
            exchange = Exchange(self._next_nonce(), probe.pair.source.name)
            self._exchanges[exchange.nonce] = exchange
            try:
                await self._ask(exchange, probe)
                return Observation(probe, exchange.outcome())
            finally:
                del self._exchanges[exchange.nonce]

    @asynccontextmanager
    async def _first_wait(self) -> AsyncIterator[None]:
        """Takes one of the eager probes' places, and gives it back after the block or after the first wait."""
        await self._eager.acquire()
        held = ExitStack()
        held.callback(self._eager.release)
        timer = asyncio.get_running_loop().call_later(WAITS[0], held.close)
        try:
            yield
        finally:
            timer.cancel()
            held.close()

    async def _ask(self, exchange: Exchange, probe: Probe) -> None:
        pair = probe.pair
        asker = self._stations[pair.source.name, pair.family]
        answerer = self._stations[pair.destination.name, pair.family]
        match probe.protocol:
            case Protocol.ICMP:
                await _repeat(exchange, lambda: asker.send_echo(exchange, pair.address, probe.size))
            case Protocol.UDP:
                await _repeat(exchange, lambda: asker.send_datagram(exchange, pair.address, answerer.udp_port))
            case Protocol.TCP:
                await _within_deadline(asker.connect(exchange, pair.address, answerer.tcp_port))

    def _next_nonce(self) -> bytes:
        self._sent += 1
        return self._token + _NUMBER.pack(self._sent)


async def _repeat(exchange: Exchange, send: Callable[[], None]) -> None:
    """Sends, and sends again after each wait, until the exchange is settled or the last wait is over."""
    for wait in WAITS:
        send()
        await asyncio.wait([exchange.settled], timeout=wait)
        if exchange.settled.done():
            return


async def _within_deadline(connection: Awaitable[None]) -> None:
    """TCP sends again by itself: it is given the same time."""
    try:
        async with asyncio.timeout(sum(WAITS)):
            await connection
    except TimeoutError:
        return  # the exchange stays unsettled, and says so


def _allow_many_descriptors() -> None:
    """Raises the soft limit of open files to the hard one: every party has four sockets in each family."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
