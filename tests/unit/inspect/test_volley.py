"""Many probes under way at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from nankeen.inspect.exchange import Exchange
from nankeen.inspect.outcome import Answered, Observation, Refused, Silent
from nankeen.inspect.plan import Probe, Protocol, pairs, reach_probes
from nankeen.inspect.volley import Pace, Volley
from tests.unit.inspect.parties import cluster, pod

ONCE = Pace(waits=(0.01,))
TWICE = Pace(waits=(0.01, 0.01))


class Sky:
    """Where exchanges fly. What is done when a probe is sent is for each test to say."""

    def __init__(self, on_send: Callable[[Probe, Exchange], None]) -> None:
        self.flying: dict[bytes, Exchange] = {}
        self.most = 0
        self.sendings: Counter[Protocol] = Counter()
        self._on_send = on_send
        self._number = 0

    async def fly(self, probes: list[Probe], pace: Pace) -> list[Observation]:
        return await Volley(probes, pace, self._open, self._send, self._close).fly()

    def _open(self, probe: Probe, on_settled: Callable[[Exchange], None]) -> Exchange:
        self._number += 1
        nonce = self._number.to_bytes(4, "big")
        exchange = self.flying[nonce] = Exchange(nonce, probe.pair.source.name, on_settled)
        self.most = max(self.most, len(self.flying))
        return exchange

    def _send(self, probe: Probe, exchange: Exchange) -> None:
        self.sendings[probe.protocol] += 1
        self._on_send(probe, exchange)

    def _close(self, exchange: Exchange) -> None:
        del self.flying[exchange.nonce]


def probes(count: int = 2) -> list[Probe]:
    return reach_probes(pairs(cluster(*(pod(number + 1) for number in range(count)))))


def nothing(_probe: Probe, _exchange: Exchange) -> None:
    """Nobody answers."""


async def test_what_is_settled_while_it_is_sent_is_observed_in_the_order_of_the_probes() -> None:
    sky = Sky(lambda probe, exchange: exchange.refused(probe.pair.source.name, Refused(str(probe))))
    asked = probes(5)
    seen = await sky.fly(asked, ONCE)
    assert [(each.probe, each.outcome) for each in seen] == [(probe, Refused(str(probe))) for probe in asked]
    assert sky.flying == {}


async def test_more_probes_than_have_room_wait_for_those_before_them() -> None:
    sky = Sky(nothing)
    seen = await sky.fly(probes(3), Pace(waits=(0.01,), window=4, eager=2))
    assert len(seen) == 18
    assert sky.most == 2


async def test_those_past_their_first_wait_make_room_for_others() -> None:
    sky = Sky(nothing)
    await sky.fly(probes(3), Pace(waits=(0.01, 0.5), window=4, eager=2))
    assert sky.most == 4


async def test_a_probe_without_answer_is_sent_again_but_tcp_does_that_by_itself() -> None:
    sky = Sky(nothing)
    seen = await sky.fly(probes(), TWICE)
    assert all(isinstance(each.outcome, Silent) for each in seen)
    assert sky.sendings == {Protocol.ICMP: 4, Protocol.UDP: 4, Protocol.TCP: 2}


async def test_an_answer_to_the_second_sending_counts() -> None:
    seen_before: set[bytes] = set()

    def answer_the_second(_probe: Probe, exchange: Exchange) -> None:
        if exchange.nonce in seen_before:
            exchange.received("pod2", "10.244.1.1")
            exchange.replied()
        seen_before.add(exchange.nonce)

    [probe, *_] = probes()
    [seen] = await Sky(answer_the_second).fly([probe], TWICE)
    assert isinstance(seen.outcome, Answered)


async def test_no_probes_are_no_observations() -> None:
    assert await Sky(nothing).fly([], ONCE) == []


@pytest.mark.parametrize("eager", [8, 1], ids=["at the beginning", "when one has landed"])
async def test_an_error_of_sending_ends_all_and_leaves_nothing_open(eager: int) -> None:
    def fail_for_tcp(probe: Probe, _exchange: Exchange) -> None:
        if probe.protocol is Protocol.TCP:
            raise ValueError("a defect")

    sky = Sky(fail_for_tcp)
    with pytest.raises(ValueError, match="a defect"):
        await sky.fly(probes(), Pace(waits=(0.01,), eager=eager))
    assert sky.flying == {}
