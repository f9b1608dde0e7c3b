"""Sending the probes: one single-threaded process with sockets in every namespace, many probes under way at once."""

from __future__ import annotations

import os
import resource
import struct
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Self

from nankeen.inspect.exchange import Exchange, Exchanges
from nankeen.inspect.outcome import Observation
from nankeen.inspect.party import Party
from nankeen.inspect.plan import Probe, Protocol
from nankeen.inspect.station import Connection, Station
from nankeen.inspect.volley import Pace, Volley
from nankeen.model.address import Family
from nankeen.model.errors import KernelError

PATIENT = Pace(waits=(0.25, 0.75, 1.0, 1.5))
"""For a proof: a full queue on the way may lose a probe, and a router needs three seconds to find that a neighbour does
not answer (RFC 4861 §10)."""

_TOKEN_LENGTH = 8
_NUMBER = struct.Struct("!I")
_Key = tuple[str, Family]


class Prober:
    """Stations for the parties that it was told of. Use it as a context manager in a running event loop."""

    def __init__(self) -> None:
        self._token = os.urandom(_TOKEN_LENGTH)
        self._sent = 0
        self._exchanges: Exchanges = {}
        self._connections: dict[bytes, Connection] = {}
        self._stations: dict[_Key, Station] = {}
        self._parties: dict[str, Party] = {}

    def __enter__(self) -> Self:
        _allow_many_descriptors()
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._parties):
            self._leave(name)

    def attend(self, parties: Iterable[Party]) -> list[KernelError]:
        """Opens stations for those that are new or have changed, and closes those of all others.

        Returns why there are none for some: a namespace has gone, or does not let us.
        """
        wanted = {party.name: party for party in parties}
        for name, party in list(self._parties.items()):
            if wanted.get(name) != party:
                self._leave(name)
        refused = []
        for name, party in wanted.items():
            try:
                if name not in self._parties:
                    self._join(party)
            except KernelError as error:
                refused.append(error)
        return refused

    def attends(self, name: str) -> bool:
        """Whether there are stations for a party."""
        return name in self._parties

    async def run(self, probes: Iterable[Probe], pace: Pace = PATIENT) -> list[Observation]:
        """Sends the probes, a bounded number at a time, and tells what became of each, in their order."""
        return await Volley(probes, pace, self._open, self._send, self._close).fly()

    def _join(self, party: Party) -> None:
        with ExitStack() as stack:
            opened = {}
            for family in Family:
                if party.address(family) is not None:
                    opened[party.name, family] = station = Station(party, family, self._exchanges)
                    stack.callback(station.close)
            stack.pop_all()
        self._stations |= opened
        self._parties[party.name] = party

    def _leave(self, name: str) -> None:
        del self._parties[name]
        for family in Family:
            station = self._stations.pop((name, family), None)
            if station is not None:
                station.close()

    def _open(self, probe: Probe, on_settled: Callable[[Exchange], None]) -> Exchange:
        self._sent += 1
        nonce = self._token + _NUMBER.pack(self._sent)
        exchange = self._exchanges[nonce] = Exchange(nonce, probe.pair.source.name, on_settled)
        return exchange

    def _send(self, probe: Probe, exchange: Exchange) -> None:
        pair = probe.pair
        asker = self._stations[pair.source.name, pair.family]
        answerer = self._stations[pair.destination.name, pair.family]
        match probe.protocol:
            case Protocol.ICMP:
                asker.send_echo(exchange, answerer, probe.size)
            case Protocol.UDP:
                asker.send_datagram(exchange, answerer)
            case Protocol.TCP:
                self._connections[exchange.nonce] = connection = asker.connection(exchange)
                connection.open(answerer)

    def _close(self, exchange: Exchange) -> None:
        del self._exchanges[exchange.nonce]
        connection = self._connections.pop(exchange.nonce, None)
        if connection is not None:
            connection.close()


def _allow_many_descriptors() -> None:
    """Raises the soft limit of open files to the hard one: every party has four sockets in each family."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
