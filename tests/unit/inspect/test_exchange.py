"""A probe under way."""

from __future__ import annotations

from nankeen.inspect.exchange import Exchange
from nankeen.inspect.outcome import Answered, Refused, Silent


async def test_an_exchange_is_settled_when_the_answer_and_who_received_the_request_are_known() -> None:
    exchange = Exchange(b"nonce", "pod1")
    exchange.replied()
    assert not exchange.settled.done()
    exchange.received("pod2", "10.244.1.1")
    assert exchange.settled.done()
    outcome = exchange.outcome()
    assert isinstance(outcome, Answered)
    assert (outcome.by, str(outcome.source)) == ("pod2", "10.244.1.1")


async def test_the_order_of_request_and_answer_does_not_matter() -> None:
    exchange = Exchange(b"nonce", "pod1")
    exchange.received("pod2", "10.244.1.1")
    assert not exchange.settled.done()
    exchange.replied()
    assert exchange.settled.done()


async def test_what_comes_after_the_exchange_was_settled_changes_nothing() -> None:
    exchange = Exchange(b"nonce", "pod1")
    exchange.refused("pod1", Refused("no"))
    exchange.received("pod2", "10.244.1.1")
    exchange.replied()
    exchange.refused("pod1", Refused("yes"))
    assert exchange.outcome() == Refused("no")


async def test_a_refusal_told_to_the_other_party_is_one_of_its_answer() -> None:
    exchange = Exchange(b"nonce", "pod1")
    exchange.refused("pod2", Refused("no"))
    assert exchange.outcome() == Refused("no", answerer="pod2")


async def test_a_request_that_arrived_but_was_not_answered_is_silence_that_tells_so() -> None:
    exchange = Exchange(b"nonce", "pod1")
    exchange.received("pod2", "10.244.1.9")
    outcome = exchange.outcome()
    assert isinstance(outcome, Silent)
    assert (outcome.by, str(outcome.source)) == ("pod2", "10.244.1.9")


async def test_a_request_that_could_never_be_sent_ends_with_the_reason() -> None:
    exchange = Exchange(b"nonce", "pod1")
    exchange.delayed(Refused("no buffer space available (ENOBUFS)"))
    assert exchange.outcome() == Refused("no buffer space available (ENOBUFS)")


async def test_an_answer_to_a_request_that_nobody_of_the_cluster_received_is_told_so() -> None:
    exchange = Exchange(b"nonce", "pod1")
    exchange.replied()
    outcome = exchange.outcome()
    assert isinstance(outcome, Answered)
    assert outcome.by is None
