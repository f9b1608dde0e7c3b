"""A probe under way."""

from __future__ import annotations

import time

from nankeen.inspect.exchange import Exchange
from nankeen.inspect.outcome import Answered, Refused, Silent

SECOND = 1_000_000_000
"""In nanoseconds."""


def begun() -> Exchange:
    return Exchange(b"nonce", "pod1", lambda _: None)


def is_settled(exchange: Exchange) -> bool:
    return exchange.is_settled


def test_an_exchange_is_settled_when_the_answer_and_who_received_the_request_are_known() -> None:
    exchange = begun()
    exchange.replied()
    assert not is_settled(exchange)
    exchange.received("pod2", "10.244.1.1")
    assert is_settled(exchange)
    outcome = exchange.outcome()
    assert isinstance(outcome, Answered)
    assert (outcome.by, str(outcome.source)) == ("pod2", "10.244.1.1")


def test_the_order_of_request_and_answer_does_not_matter() -> None:
    exchange = begun()
    exchange.received("pod2", "10.244.1.1")
    assert not is_settled(exchange)
    exchange.replied()
    assert is_settled(exchange)


def test_what_comes_after_the_exchange_was_settled_changes_nothing() -> None:
    exchange = begun()
    exchange.refused("pod1", Refused("no"))
    exchange.received("pod2", "10.244.1.1")
    exchange.replied()
    exchange.refused("pod1", Refused("yes"))
    assert exchange.outcome() == Refused("no")


def test_a_refusal_told_to_the_other_party_is_one_of_its_answer() -> None:
    exchange = begun()
    exchange.refused("pod2", Refused("no"))
    assert exchange.outcome() == Refused("no", answerer="pod2")


def test_a_request_that_arrived_but_was_not_answered_is_silence_that_tells_so() -> None:
    exchange = begun()
    exchange.received("pod2", "10.244.1.9")
    outcome = exchange.outcome()
    assert isinstance(outcome, Silent)
    assert (outcome.by, str(outcome.source)) == ("pod2", "10.244.1.9")


def test_a_request_that_could_never_be_sent_ends_with_the_reason() -> None:
    exchange = begun()
    exchange.delayed(Refused("no buffer space available (ENOBUFS)"))
    assert exchange.outcome() == Refused("no buffer space available (ENOBUFS)")


def test_an_answer_to_a_request_that_nobody_of_the_cluster_received_is_told_so() -> None:
    exchange = begun()
    exchange.replied()
    outcome = exchange.outcome()
    assert isinstance(outcome, Answered)
    assert outcome.by is None


def test_who_waits_for_an_exchange_is_told_once_that_it_is_settled() -> None:
    told: list[Exchange] = []
    exchange = Exchange(b"nonce", "pod1", told.append)
    exchange.refused("pod1", Refused("no"))
    exchange.refused("pod1", Refused("again"))
    exchange.replied()
    assert told == [exchange]


def test_a_round_trip_is_from_the_sending_to_what_the_kernel_says_of_the_arrival() -> None:
    exchange = begun()
    exchange.sending()
    exchange.replied(time.time_ns() + SECOND)
    outcome = exchange.outcome()
    assert isinstance(outcome, Answered)
    assert outcome.round_trip is not None
    assert outcome.round_trip >= 1.0


def test_of_a_request_that_was_sent_twice_nobody_knows_the_round_trip() -> None:
    exchange = begun()
    exchange.sending()
    exchange.sending()
    exchange.replied(time.time_ns() + SECOND)
    outcome = exchange.outcome()
    assert isinstance(outcome, Answered)
    assert outcome.round_trip is None


def test_a_clock_that_was_set_back_meanwhile_gives_no_round_trip() -> None:
    exchange = begun()
    exchange.sending()
    exchange.replied(time.time_ns() - SECOND)
    outcome = exchange.outcome()
    assert isinstance(outcome, Answered)
    assert outcome.round_trip is None
