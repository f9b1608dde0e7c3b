"""The loop of a watch, where nobody can be asked: what needs packets is tested with the kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from nankeen.inspect.history import History
from nankeen.inspect.party import Cluster
from nankeen.inspect.selection import Selection
from nankeen.inspect.watch import Round, Summary, Watch, Wish
from nankeen.model.errors import InputError, LabError
from tests.unit.inspect.parties import cluster, pod

EMPTY = cluster()
SOON = 0.001


@dataclass
class Listener:
    """An audience that remembers."""

    on_round: Callable[[Round], None] = lambda _: None
    rounds: list[Round] = field(default_factory=list)
    ends: list[Summary] = field(default_factory=list)

    def tell(self, found: Round, _history: History) -> None:
        self.rounds.append(found)
        self.on_round(found)

    def end(self, summary: Summary) -> None:
        self.ends.append(summary)


async def follow(listener: Listener, wish: Wish, whole: Cluster = EMPTY, gone: tuple[str, ...] = ()) -> None:
    await Watch(wish, lambda: (whole, gone), listener).follow()


async def test_it_makes_as_many_rounds_as_are_wished() -> None:
    listener = Listener()
    await follow(listener, Wish(seconds=SOON, rounds=3))
    assert [each.number for each in listener.rounds] == [1, 2, 3]
    [summary] = listener.ends
    assert summary.rounds == 3


async def test_nothing_tested_does_not_hold() -> None:
    listener = Listener()
    await follow(listener, Wish(seconds=SOON, rounds=2))
    assert not any(each.holds for each in listener.rounds)
    assert (listener.ends[0].holds, listener.ends[0].failed) == (False, 2)


async def test_a_watch_that_is_cancelled_tells_its_end() -> None:
    first = asyncio.Event()
    listener = Listener(on_round=lambda _: first.set())
    following = asyncio.create_task(follow(listener, Wish(seconds=3600)))
    await first.wait()
    following.cancel()
    await asyncio.wait([following])
    assert [summary.rounds for summary in listener.ends] == [1]


async def test_who_cannot_be_asked_is_missing_and_a_failure_the_second_time() -> None:
    listener = Listener()
    await follow(listener, Wish(seconds=SOON, rounds=2), cluster(pod(1)), gone=("pod2",))
    assert [each.missing for each in listener.rounds] == [("pod2", "pod1")] * 2
    assert [each.is_missed for each in listener.rounds] == [False, True]


async def test_a_lab_that_goes_away_is_an_error_and_the_end_is_told() -> None:
    def look() -> tuple[Cluster, tuple[str, ...]]:
        if listener.rounds:
            raise LabError("went away")
        return EMPTY, ()

    listener = Listener()
    with pytest.raises(LabError, match="went away"):
        await Watch(Wish(seconds=SOON), look, listener).follow()
    assert [summary.rounds for summary in listener.ends] == [1]


async def test_an_unknown_name_is_an_error_at_once() -> None:
    with pytest.raises(InputError, match="did you mean pod1"):
        await follow(Listener(), Wish(Selection(frozenset({"pdo1"}))), cluster(pod(1)))


async def test_a_pod_that_was_named_and_went_is_missing() -> None:
    clusters = iter([cluster(pod(1), pod(2)), cluster(pod(2)), cluster(pod(2))])
    listener = Listener()
    wish = Wish(Selection(frozenset({"pod1"})), SOON, rounds=3)
    await Watch(wish, lambda: (next(clusters), ()), listener).follow()
    assert ["pod1" in each.missing for each in listener.rounds] == [True] * 3


async def test_who_went_is_not_missed_where_others_were_named() -> None:
    listener = Listener()
    whole = cluster(pod(1), pod(2))
    wish = Wish(Selection(frozenset({"pod1"}), frozenset({"pod2"})), SOON, rounds=1)
    await follow(listener, wish, whole, gone=("pod7",))
    assert "pod7" not in listener.rounds[0].missing


async def test_nobody_who_hears_the_end_is_no_error() -> None:
    class Deaf(Listener):
        def end(self, summary: Summary) -> None:  # noqa: ARG002
            raise BrokenPipeError

    watch = Watch(Wish(seconds=SOON, rounds=1), lambda: (EMPTY, ()), Deaf())
    await watch.follow()
    assert watch.summary.unheard


async def test_where_nobody_reads_any_more_it_ends_without_a_word() -> None:
    def unheard(_found: Round) -> None:
        raise BrokenPipeError

    listener = Listener(on_round=unheard)
    watch = Watch(Wish(seconds=SOON), lambda: (EMPTY, ()), listener)
    await watch.follow()
    assert listener.ends == []
    assert watch.summary.unheard
