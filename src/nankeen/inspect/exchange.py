"""A probe under way: what is known so far of its request and of its answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_address

from nankeen.inspect.outcome import Answered, Outcome, Refused, Silent
from nankeen.model.address import IPAddress


class Exchange:
    """One request and its answer, told apart from all others by a nonce in both.

    It is settled when the answer has come back and it is known who received the request, or when it is refused.
    """

    __slots__ = ("_asker", "_by", "_delayed", "_outcome", "_replied", "_source", "_started", "nonce", "settled")

    def __init__(self, nonce: bytes, asker: str) -> None:
        loop = asyncio.get_running_loop()
        self.nonce = nonce
        self._asker = asker
        self.settled: asyncio.Future[None] = loop.create_future()
        self._started = loop.time()
        self._outcome: Outcome | None = None
        self._delayed: Refused | None = None
        self._replied = False
        self._by: str | None = None
        self._source: IPAddress | None = None

    def received(self, by: str, source: str) -> None:
        """The request arrived at a party, from that source address."""
        if not self.settled.done():
            self._by, self._source = by, ip_address(source)
            self._settle_if_whole()

    def replied(self) -> None:
        """The answer came back to the party that asked."""
        self._replied = True
        self._settle_if_whole()

    def refused(self, to: str, refused: Refused) -> None:
        """That party was told that a packet of the exchange cannot be delivered: the request, or its own answer."""
        if not self.settled.done():
            self._outcome = refused if to == self._asker else replace(refused, answerer=to)
            self.settled.set_result(None)

    def delayed(self, refused: Refused) -> None:
        """The request could not be sent just now. That is the outcome if it never is."""
        self._delayed = refused

    def outcome(self) -> Outcome:
        """What is known by now."""
        if self._outcome is not None:
            return self._outcome
        seconds = asyncio.get_running_loop().time() - self._started
        if self._replied:
            return Answered(seconds, self._by, self._source)
        return self._delayed or Silent(seconds, self._by, self._source)

    def _settle_if_whole(self) -> None:
        if self._replied and self._by is not None and not self.settled.done():
            self._outcome = self.outcome()
            self.settled.set_result(None)


Exchanges = dict[bytes, Exchange]
"""Those under way, by nonce. What bears no nonce of theirs is somebody else's, and does not count."""
