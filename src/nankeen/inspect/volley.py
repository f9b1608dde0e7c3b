"""Probes under way at once, a bounded number: each is sent again after a wait, until it is settled or given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from nankeen.inspect.exchange import Exchange
from nankeen.inspect.outcome import Observation
from nankeen.inspect.plan import Probe, Protocol


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast, and how patiently."""

    waits: tuple[float, ...]
    """Seconds after which a probe is sent again, and after the last of them given up."""
    window: int = 2048
    """Probes under way at once."""
    eager: int = 512
    """Of those, the ones in their first wait: sending all at once would overflow queues. Where nothing answers, the
    others go on waiting meanwhile."""
    once: bool = False
    """Whether a probe is not sent again after all: what is lost is to be seen as lost."""


@dataclass(slots=True)
class _Flight:
    """A probe under way."""

    number: int
    probe: Probe
    exchange: Exchange
    timer: asyncio.TimerHandle
    waits: int = 0
    """How many are over. In the first it is one of the eager ones."""


Send = Callable[[Probe, Exchange], None]
"""Sends a probe, which may settle the exchange at once."""
Open = Callable[[Probe, Callable[[Exchange], None]], Exchange]
"""Begins an exchange: from now on answers to it are heard."""
Close = Callable[[Exchange], None]
"""Ends it."""


class Volley:
    """Made in a running event loop, for one use."""

    def __init__(self, probes: Iterable[Probe], pace: Pace, open_: Open, send: Send, close: Close) -> None:
        self._loop = asyncio.get_running_loop()
        self._todo: Iterator[tuple[int, Probe]] = enumerate(probes)
        self._pace = pace
        self._open, self._send, self._close = open_, send, close
        self._flying: dict[bytes, _Flight] = {}
        self._eager = 0
        self._observations: dict[int, Observation] = {}
        self._is_launching = False
        self._over: asyncio.Future[None] = self._loop.create_future()

    async def fly(self) -> list[Observation]:
        """What became of each probe, in their order."""
        try:
            self._launch_more()
            await self._over
        finally:
            for flight in self._flying.values():
                flight.timer.cancel()
                self._close(flight.exchange)
        return [self._observations[number] for number in sorted(self._observations)]

    def _launch_more(self) -> None:
        """As many as there is room for. What settles while it is sent makes room for the next in this same loop."""
        if self._is_launching or self._over.done():
            return
        self._is_launching = True
        try:
            while self._eager < self._pace.eager and len(self._flying) < self._pace.window:
                self._launch(*next(self._todo))
        except StopIteration:
            if not self._flying:
                self._over.set_result(None)
        except Exception as error:  # noqa: BLE001  (whoever awaits the volley is to know, not only the event loop)
            self._over.set_exception(error)
        self._is_launching = False

    def _launch(self, number: int, probe: Probe) -> None:
        exchange = self._open(probe, self._land)
        timer = self._loop.call_later(self._pace.waits[0], self._wait_is_over, exchange.nonce)
        self._flying[exchange.nonce] = _Flight(number, probe, exchange, timer)
        self._eager += 1
        self._send(probe, exchange)

    def _wait_is_over(self, nonce: bytes) -> None:
        flight = self._flying[nonce]
        flight.waits += 1
        if flight.waits == 1:
            self._eager -= 1
        if flight.waits == len(self._pace.waits):
            self._land(flight.exchange)
            return
        flight.timer = self._loop.call_later(self._pace.waits[flight.waits], self._wait_is_over, nonce)
        if not self._pace.once and flight.probe.protocol is not Protocol.TCP:  # that sends again by itself
            self._send(flight.probe, flight.exchange)
        self._launch_more()

    def _land(self, exchange: Exchange) -> None:
        flight = self._flying.pop(exchange.nonce)
        flight.timer.cancel()
        if flight.waits == 0:
            self._eager -= 1
        self._close(exchange)
        self._observations[flight.number] = Observation(flight.probe, exchange.outcome())
        self._launch_more()
