"""A probe under way: what is known so far of its request and of its answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_address

from nankeen.inspect.outcome import Answered, Outcome, Refused, Silent
from nankeen.model.address import IPAddress


class Exchange:
    """One request and its answer, told apart from all others by a nonce in both.

    It is settled when the answer has come back and it is known who received the request, or when it is refused.
    """

    __slots__ = (
        "_arrived", "_asker", "_by", "_delayed", "_on_settled", "_outcome", "_replied", "_sends", "_sent", "_source",
        "_started", "is_settled", "nonce",
    )  # fmt: skip

    def __init__(self, nonce: bytes, asker: str, on_settled: Callable[[Exchange], None]) -> None:
        """`on_settled` is called once, when the exchange is settled."""
        self.nonce = nonce
        self.is_settled = False
        self._asker = asker
        self._on_settled = on_settled
        self._started = time.monotonic()
        self._outcome: Outcome | None = None
        self._delayed: Refused | None = None
        self._replied = False
        self._by: str | None = None
        self._source: IPAddress | None = None
        self._sent = self._arrived = self._sends = 0

    def sending(self) -> None:
        """The request is sent now, for the first time or again."""
        self._sends += 1
        self._sent = time.time_ns()

    def received(self, by: str, source: str) -> None:
        """The request arrived at a party, from that source address."""
        if not self.is_settled:
            self._by, self._source = by, _address(source)
            self._settle_if_whole()

    def replied(self, arrived: int = 0) -> None:
        """The answer came back to the party that asked. `arrived` is when the kernel had it, where it told: nanoseconds
        since 1970.
        """
        self._replied = True
        self._arrived = arrived
        self._settle_if_whole()

    def refused(self, to: str, refused: Refused) -> None:
        """That party was told that a packet of the exchange cannot be delivered: the request, or its own answer."""
        if not self.is_settled:
            self._settle(refused if to == self._asker else replace(refused, answerer=to))

    def delayed(self, refused: Refused) -> None:
        """The request could not be sent just now. That is the outcome if it never is."""
        self._delayed = refused

    def outcome(self) -> Outcome:
        """What is known by now."""
        if self._outcome is not None:
            return self._outcome
        seconds = time.monotonic() - self._started
        if self._replied:
            return Answered(seconds, self._by, self._source, self._round_trip())
        return self._delayed or Silent(seconds, self._by, self._source)

    def _round_trip(self) -> float | None:
        """Of a request that was sent once: else nobody knows which sending was answered."""
        elapsed = self._arrived - self._sent
        return elapsed / 1e9 if self._sends == 1 and self._arrived and elapsed >= 0 else None

    def _settle_if_whole(self) -> None:
        if self._replied and self._by is not None and not self.is_settled:
            self._settle(self.outcome())

    def _settle(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self.is_settled = True
        self._on_settled(self)


Exchanges = dict[bytes, Exchange]
"""Those under way, by nonce. What bears no nonce of theirs is somebody else's, and does not count."""

_address = lru_cache(maxsize=4096)(ip_address)
